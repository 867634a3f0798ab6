"""One real Prefect server for all tests of the integration."""

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from e2s_tasks.core.records import RunRecords
from e2s_tasks.ledger import Ledger
from e2s_tasks.recorder import process_recorder
from e2s_tasks.settings import settings
from tests.prefect.future_runs import World


@pytest.fixture(scope="session", autouse=True)
def prefect_server():
    # Prefect's flow runs wait up to a second for their heartbeat's thread to end: a third of the suite's time.
    without = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    with prefect_test_harness(server_startup_timeout=90), temporary_settings(updates=without):
        yield


@pytest.fixture
def ledger_run():
    """What the ledger knows of a root run, everything of this process flushed."""

    def of(run_id) -> RunRecords:
        process_recorder().flush()
        return Ledger.open(settings().ledger).run(str(run_id))

    return of


@pytest.fixture
def world(tmp_path):
    """Runs for later on the server, and a grid."""
    with get_client(sync_client=True) as client:
        made = World(tmp_path, client)
        yield made
        for run_id in made.mine:
            client.delete_flow_run(run_id)


@pytest.fixture(autouse=True)
def no_metering_warnings(recwarn):
    """Metering must not have gone wrong in silence."""
    yield
    from e2s_tasks.recorder.guard import MeteringWarning, _warned

    gone_wrong = [str(w.message) for w in recwarn.list if issubclass(w.category, MeteringWarning)]
    _warned.clear()
    assert gone_wrong == []
