"""When a task could have begun: where instances of it begin one after the other, each has the slack of all."""

from datetime import UTC, datetime
from typing import Any

from e2s_tasks.errors import E2SError
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.settings import Settings

# What is deferred counts for these from Airflow 3.2 on.
LIMITS = ("max_active_tis_per_dag", "max_active_tis_per_dagrun")


def ready_at(task_instance: Any, now: datetime, options: Settings) -> datetime:
    """The moment from which the slack of a task that arrives now is counted.

    One of which Airflow lets only so many go on at once arrives when others of it have waited and ended: its slack
    counts from when what comes before it in its run had ended, else the waits would add up. Airflow does not tell that
    moment; the run's own start and the ledger do.
    """
    task = task_instance.task
    if task.depends_on_past or not any(getattr(task, limit, None) for limit in LIMITS):
        return now
    before = task.get_flat_relative_ids(upstream=True)
    if before:
        run = dag_run_id(task_instance.dag_id, task_instance.run_id)
        found = _ended(run, [f"{task.dag_id}.{task_id}" for task_id in before], options)
    else:
        found = task_instance._ti_context_from_server.dag_run.start_date  # noqa: SLF001 - Airflow has it nowhere else
    return now if found is None else min(now, found)


def _ended(run: str, task_keys: list[str], options: Settings) -> datetime | None:
    """When the last attempt of these tasks has ended, as far as the ledger has them."""
    from e2s_tasks.ledger import Ledger, replay
    from e2s_tasks.recorder.delivery import PATIENCE_S

    try:
        ledger = Ledger.open(options.ledger, PATIENCE_S)
        replay(options.journals, ledger)
        found = ledger.ended(run, task_keys)
    except E2SError as error:
        warn_once("asking the ledger for what a task had to wait for", error, "its slack counts from now")
        return None
    return None if found is None else datetime.fromtimestamp(found, UTC)
