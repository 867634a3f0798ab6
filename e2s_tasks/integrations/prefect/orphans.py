"""Publishes the summaries that wait: of flow runs whose process was killed, or whose ledger did not answer at the end.

Run as a process of its own (`python -m e2s_tasks.integrations.prefect.orphans`), so that nobody waits for Prefect.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from e2s_tasks.core.records import RunRecords
from e2s_tasks.errors import NotFoundError
from e2s_tasks.integrations.mlflow.sender import send_waiting
from e2s_tasks.ledger import Ledger
from e2s_tasks.ledger.endings import goes_on, has_ended
from e2s_tasks.ledger.orphans import API_URL, claimed, waiting
from e2s_tasks.settings import settings

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

PATIENCE_S = 7 * 24 * 3600.0  # for what another host does, or an orchestrator that is away


def publish(path: Path, ledger: Ledger) -> bool:
    """Put the summary of a waiting run on its page; False if it has to wait, or another process is at it.

    The run waits while any of its processes still works: what they use belongs to it.
    """
    with claimed(path) as noted:
        if noted is None:
            return False
        run = ledger.as_written(path.name)
        api_url = noted or _orchestrator(run)
        if not api_url or (goes_on(run) and not _is_old(path)):
            return False
        _publish(ledger, run.run_id, api_url)
        path.unlink(missing_ok=True)
        return True


def _publish(ledger: Ledger, run_id: str, api_url: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Crashed

    from e2s_tasks.integrations.prefect.awaiting import waits
    from e2s_tasks.integrations.prefect.publish import believe, is_final, put_summary, summaries
    from e2s_tasks.reporter import summarise_run

    with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
        try:
            found = client.read_flow_run(UUID(run_id))
        except ObjectNotFound:  # it has been deleted, and its page with it
            return
        if found.deployment_id is None and waits(found.state):  # nothing else would ever start it
            lost: State[Any] = Crashed(message="Its process ended while it waited for a cleaner grid.")
            client.set_flow_run_state(found.id, lost, force=True)
        believe(ledger, run_id, found.state)
        root_id = ledger.root_run(run_id)
        if run_id != root_id:
            if has_ended(ledger.as_written(root_id)):
                put_summary(client, summarise_run(ledger, root_id), root_id)
        elif not any(map(is_final, summaries(client, run_id))):
            put_summary(client, summarise_run(ledger, run_id), run_id)


def _orchestrator(run: RunRecords) -> str | None:
    """Where the run's page is, if its file is empty because the disk was full."""
    return next((str(span.attributes[API_URL]) for span in run.spans if span.attributes.get(API_URL)), None)


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > PATIENCE_S


def main() -> None:
    """Publish what waits; what fails waits for the next time, a week at most."""
    options = settings()
    ledger = Ledger.open(options.ledger)
    for path in waiting(options.journals):
        try:
            publish(path, ledger)
        except NotFoundError:  # nothing of it has arrived yet
            _give_up(path)
        except Exception as error:  # noqa: BLE001 - the server may be away; the others may be elsewhere
            print(f"e2s: the summary of {path.name} could not be published: {error}")  # noqa: T201 - for who runs this
            _give_up(path)
    send_waiting()


def _give_up(path: Path) -> None:
    if path.exists() and _is_old(path):
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
