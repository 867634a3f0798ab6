"""What the commands answer that move flow runs of Prefect: `e2s release` and `e2s scheduler`."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from e2s_tasks.core.records import SpanRecord, Status
from e2s_tasks.errors import LedgerError, NotFoundError, SettingError

Tell = Callable[[str], None]


def release(text: str) -> dict[str, Any]:
    """The run that waits no more, and when it would have started.

    Raises:
        SettingError: it is a DAG run, or Prefect is not installed.
        NotFoundError: no run waits by that name.
    """
    _check_installed("e2s release has flow runs of Prefect start", text)
    from e2s_tasks.integrations.prefect.service import release_run

    try:
        return release_run(text)
    except NotFoundError:
        _check_no_dag_run(text)
        raise


def scheduler_round(*, dry_run: bool, tell: Tell) -> list[dict[str, Any]]:
    """The moves of one round.

    Raises:
        SettingError: Prefect is not installed.
    """
    _check_installed("e2s scheduler moves flow runs of Prefect")
    from e2s_tasks.integrations.prefect.service import once

    return once(dry_run=dry_run, tell=tell)


def scheduler_service(every_s: float, *, dry_run: bool, tell: Tell) -> None:
    """Rounds until somebody stops them.

    Raises:
        SettingError: Prefect is not installed.
    """
    _check_installed("e2s scheduler moves flow runs of Prefect")
    from e2s_tasks.integrations.prefect.service import Service

    Service(every_s, tell, dry_run=dry_run).run()


def _check_installed(what: str, run: str | None = None) -> None:
    """See that Prefect is there for what the command does. run: what it is asked to do that for, if for one run."""
    if find_spec("prefect") is not None:
        return
    if run is not None:
        _check_no_dag_run(run)
    raise SettingError(
        f"{what}, which is not installed here: pip install 'e2s-tasks[prefect]', in another environment than Airflow's."
        " Tasks of Airflow wait in its triggerer, without that: clear one there, and it starts at once."
    )


def _check_no_dag_run(text: str) -> None:
    """Say how Airflow releases a run, if that is what it names; of one that has ended nothing waits."""
    found = _dag_run(text)
    if found is not None:
        which = f"{found.attributes.get('flow_run_name', text)} is a run of the DAG {found.name}"
        if found.status != Status.RUNNING:  # to clear one of its tasks would have it work again
            raise SettingError(f"{which} that has ended, so that nothing of it waits.")
        raise SettingError(f"{which}: clear the waiting task in Airflow, and it starts at once.")


def _dag_run(text: str) -> SpanRecord | None:
    """The DAG run that the text names; None where it names none, or the ledger is away."""
    from e2s_tasks.ledger import Ledger

    try:
        ledger = Ledger.open()
        spans = ledger.run(ledger.find_run(text)).spans
    except (LedgerError, NotFoundError):
        return None
    return next((one for one in spans if one.is_of_no_process), None)
