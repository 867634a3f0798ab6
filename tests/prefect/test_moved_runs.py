"""Runs of a deployment that move themselves to a cleaner hour: each start is a process, as under a worker."""

import os
import subprocess
import sys
import tempfile
import textwrap
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

from e2s_tasks.integrations.prefect.awaiting import AWAITING, start_of
from e2s_tasks.integrations.prefect.rescheduling import release
from e2s_tasks.reporter import summarise_run
from tests.planning.traces import write_trace

pytestmark = pytest.mark.slow  # each starts processes

HEAVY = """
    from e2s_tasks import CarbonPolicy, e2s_flow, e2s_task
    from tests.mixes.burning import burn

    @e2s_task
    def work():
        burn(0.1)

    @e2s_flow(name="{kind}-heavy", retries=1, carbon=CarbonPolicy("GB", max_delay="30m", expected_duration="1m"))
    {kind} heavy(fail: bool = False):
        from prefect.runtime import flow_run

        work()
        if fail and flow_run.run_count == 1:
            raise ValueError("once")
"""


@pytest.fixture(scope="module", params=["def", "async def"])
def deployed(request, tmp_path_factory):
    """A folder with a flow that is deployed, and its deployment's id."""
    folder = tmp_path_factory.mktemp("deployed")
    (folder / "heavy.py").write_text(textwrap.dedent(HEAVY).replace("{kind}", request.param))

    @flow(name=f"{request.param}-heavy")
    def heavy(fail: bool = False):
        return fail

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(heavy)
        return client.create_deployment(flow_id, "here", path=str(folder), entrypoint="heavy.py:heavy"), folder


def execute(run_id, trace):
    """Start a flow run in a process of its own; its exit code."""
    environment = os.environ | get_current_settings().to_environment_variables(exclude_unset=True)
    environment |= {"PREFECT__FLOW_RUN_ID": str(run_id), "PYTHONPATH": os.getcwd(), "E2S_TRACE": str(trace)}  # noqa: PTH109
    with tempfile.TemporaryDirectory() as folder:  # into which Prefect copies the deployment's files
        command = [sys.executable, "-m", "prefect.engine"]
        return subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, timeout=100, check=False
        ).returncode


def test_a_run_moves_itself_and_is_the_same_attempt_when_it_begins(deployed, tmp_path, ledger_run):
    deployment, _ = deployed
    step = timedelta(minutes=5)
    trace = write_trace(tmp_path / "grid.csv", datetime.now(UTC), [200, 200, 100, 200, 200, 200, 200, 200], step)
    with get_client(sync_client=True) as client:
        run_id = client.create_flow_run_from_deployment(deployment, parameters={"fail": True}).id
        assert execute(run_id, trace) == 0
        moved = client.read_flow_run(run_id)
        assert (moved.state.name, moved.run_count) == (AWAITING, 1)
        assert start_of(moved.state) - datetime.now(UTC) > timedelta(minutes=8)
        assert "e2s:zone=GB" in moved.tags
        assert [span.status for span in ledger_run(run_id).spans] == ["suspended"]
        release(client, str(run_id), datetime.now(UTC))
        assert execute(run_id, trace) == 0
        ended = client.read_flow_run(UUID(str(run_id)))
        assert (ended.state.name, ended.run_count) == ("Completed", 2)  # its one retry was still there
    run = ledger_run(run_id)
    assert [span.status for span in run.spans if span.kind == "flow"] == ["suspended", "failed", "completed"]


def test_a_moved_run_that_begins_in_its_hour_says_what_that_avoided(deployed, tmp_path, ledger_run):
    deployment, _ = deployed
    step = timedelta(minutes=5)
    start = datetime.now(UTC)
    trace = write_trace(tmp_path / "grid.csv", start, [200, 200, 100, 200, 200, 200, 200, 200], step)
    with get_client(sync_client=True) as client:
        run_id = client.create_flow_run_from_deployment(deployment).id
        execute(run_id, trace)
        waiting = client.read_flow_run(run_id)
        # its hour has come: the same grid, ten minutes later
        write_trace(trace, start - 2 * step, [200, 200, 100, 200, 200, 200, 200, 200], step)
        release(client, str(run_id), datetime.now(UTC))
        client.update_flow_run(run_id, tags=waiting.tags)  # not released after all: it decides again
        execute(run_id, trace)
        assert client.read_flow_run(run_id).state.is_completed()
    from e2s_tasks.ledger import Ledger
    from e2s_tasks.settings import settings

    ledger_run(run_id)
    summary = summarise_run(Ledger.open(settings().ledger), str(run_id))
    waited = summary["waited"]
    assert 0 < summary["waiting_j"] < summary["energy_j"]["total"]  # the process that moved it, and no other
    assert waited["waiting_g"] > 0
    assert waited["predicted_run_now_gco2eq_per_kwh"] == pytest.approx(200)
    assert waited["predicted_gco2eq_per_kwh"] == pytest.approx(100)
    assert waited["avoided_g"] is not None
