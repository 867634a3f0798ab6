"""Publishes the summaries of flow runs whose process was killed, which no hook of theirs could.

Run as a process of its own (`python -m e2s_tasks.integrations.prefect.orphans`), so that nobody waits for Prefect.
"""

from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from e2s_tasks.integrations.prefect.publish import ARTIFACT_KEY, create_artifact
from e2s_tasks.ledger import Ledger
from e2s_tasks.ledger.orphans import claimed, waiting
from e2s_tasks.reporter import summarise_run
from e2s_tasks.settings import settings


def publish(path: Path, ledger: Ledger) -> bool:
    """Put the summary of a waiting run on its page; False if another process is at it."""
    with claimed(path) as api_url:
        if not api_url:
            return False
        run_id = path.name
        with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
            wanted = {"artifacts": {"key": {"any_": [ARTIFACT_KEY]}, "flow_run_id": {"any_": [run_id]}}}
            there = client.request("POST", "/artifacts/filter", json=wanted).json()
            if not there:
                create_artifact(client, summarise_run(ledger, run_id), run_id)
        path.unlink()
        return True


def main() -> None:
    """Publish what waits; what fails waits for the next time."""
    options = settings()
    ledger = Ledger.open(options.ledger)
    for path in waiting(options.journals):
        try:
            publish(path, ledger)
        except Exception as error:  # noqa: BLE001 - the server may be away; the others may be elsewhere
            print(f"e2s: the summary of {path.name} could not be published: {error}")  # noqa: T201 - for who runs this


if __name__ == "__main__":
    main()
