"""A flow run that `run_deployment` starts, in a process of its own, is a part of the run of the flow that starts it."""

import os
import subprocess
import sys
import tempfile
import textwrap
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.settings import get_current_settings

from e2s_tasks import e2s_flow, e2s_task, span
from e2s_tasks.ledger import Ledger
from e2s_tasks.settings import settings
from tests.prefect.test_publish import artifacts_of

pytestmark = pytest.mark.slow  # each starts processes

CHILD = """
    from e2s_tasks import e2s_flow, e2s_task, record_outcome
    from tests.mixes.burning import burn

    @e2s_task
    def score(given):
        burn(0.2)
        record_outcome(units=len(given), name="score")
        return given

    @e2s_flow(name="called-child", log_prints=False)
    def child(given: list = ()):
        return score(given)
"""


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """A folder with a flow that is deployed as called-child/here."""
    folder = tmp_path_factory.mktemp("deployed")
    (folder / "child.py").write_text(textwrap.dedent(CHILD))

    @flow(name="called-child")
    def child(given: list = ()):
        return given

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(child)
        client.create_deployment(flow_id, "here", path=str(folder), entrypoint="child.py:child")
    return folder


def as_a_worker_does(flow_run):
    """Execute a flow run in a process of its own; it must end well."""
    environment = os.environ | get_current_settings().to_environment_variables(exclude_unset=True)
    environment |= {"PREFECT__FLOW_RUN_ID": str(flow_run.id), "PYTHONPATH": os.getcwd()}  # noqa: PTH109
    command = [sys.executable, "-m", "prefect.engine"]
    with tempfile.TemporaryDirectory() as folder:  # into which Prefect copies the deployment's files
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=100, check=False
        )
    assert done.returncode == 0, done.stderr
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(UUID(str(flow_run.id))).state.is_completed()


@e2s_task
def numbers():
    return [7] * 7


def summed(run):
    return sum(part for one in run.spans for part in (one.cpu_j, one.dram_j, one.static_j) if part)


def test_its_energy_its_outcome_and_its_page_are_those_of_the_run_that_started_it(deployed, ledger_run):
    started = []

    @e2s_flow(solution="calling")
    def caller():
        with span("elsewhere"):
            given = numbers()
            started.append(run_deployment("called-child/here", parameters={"given": given}, timeout=0))
            as_a_worker_does(started[0])
        return prefect_run_id()

    root = caller()
    run, ledger = ledger_run(root), Ledger.open(settings().ledger)
    child = str(started[0].id)
    assert ledger.root_run(child) == root
    assert {one.run_id for one in ledger.runs(limit=5)}.isdisjoint({child})
    scored = next(one for one in run.spans if one.name == "score")
    assert scored.cpu_ns / 1e9 == pytest.approx(0.2, abs=0.1)
    assert next(one.energy for one in ledger.runs(limit=5) if one.run_id == root).host == pytest.approx(summed(run))
    assert [one.units for one in run.outcomes] == [7]
    task = next(one for one in run.spans if one.name == "numbers")
    assert (task.task_run_id, child) in {(edge.upstream, edge.downstream) for edge in run.edges}
    assert artifacts_of(child) == []
    assert len(artifacts_of(root)) == 1


def test_one_that_goes_on_after_its_starter_is_added_to_the_summary_that_is_there(deployed, ledger_run):
    started = []

    @e2s_task
    def start():
        started.append(run_deployment("called-child/here", timeout=0))

    @e2s_flow
    def caller():
        start()
        return prefect_run_id()

    root = caller()
    before = artifacts_of(root)[0]
    as_a_worker_does(started[0])
    run = ledger_run(root)
    (after,) = artifacts_of(root)
    assert after["id"] == before["id"]
    assert "score" in after["data"]
    assert "score" not in before["data"]
    inside = {one.id: one for one in run.spans}
    child = next(one for one in run.spans if one.flow_run_id == str(started[0].id) and one.kind == "flow")
    assert inside[child.parent_id].name == "start"


def test_one_that_an_unmeasured_flow_starts_or_that_is_no_subflow_is_a_run_of_its_own(deployed, ledger_run):
    started = []

    @flow
    def unmeasured():
        started.append(run_deployment("called-child/here", timeout=0))

    @e2s_flow
    def caller():
        started.append(run_deployment("called-child/here", timeout=0, as_subflow=False))

    unmeasured()
    caller()
    for one in started:
        as_a_worker_does(one)
        assert ledger_run(one.id).run_id == str(one.id)
        assert Ledger.open(settings().ledger).root_run(str(one.id)) == str(one.id)
        assert len(artifacts_of(one.id)) == 1


def prefect_run_id():
    from prefect.runtime import flow_run

    return flow_run.id
