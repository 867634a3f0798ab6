"""What follows a run's summary: an event with its figures, for automations, and its deployment's history."""

import os
import re
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

from e2s_tasks import e2s_flow, record_outcome
from e2s_tasks.integrations.prefect.history import EVENT
from tests.prefect.test_publish import artifacts_of

ROOT = Path(__file__).parents[2]
AUTOMATIONS = (ROOT / "docs" / "automations.md").read_text()


def events_of(client, run_id):
    wanted = {"filter": {"event": {"name": [EVENT]}, "resource": {"id": [f"prefect.flow-run.{run_id}"]}}}
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = client.request("POST", "/events/filter", json=wanted).json()["events"]
        if found:
            return found
        time.sleep(0.2)
    return []


@e2s_flow(solution="demo")
def scored(units=10):
    record_outcome(units=units, name="row")


@pytest.mark.slow
def test_each_run_leaves_an_event_with_its_figures_and_labels_to_match():
    runs = [scored(units, return_state=True).state_details.flow_run_id for units in (10, 10, 10, 1)]
    with get_client(sync_client=True) as client:
        first, last = (events_of(client, run_id)[0] for run_id in (runs[0], runs[-1]))
    assert first["resource"]["e2s.regressed"] == "unknown"
    assert first["payload"]["against_median"] is None
    assert last["resource"] | {"prefect.resource.name": "", "prefect.resource.id": ""} == {
        "prefect.resource.id": "", "prefect.resource.name": "", "e2s.status": "completed", "e2s.solution": "demo",
        "e2s.regressed": "true",
    }  # fmt: skip
    payload = last["payload"]
    assert payload["run_id"] == str(runs[-1])
    assert payload["kpi"] == payload["against_median"]["figure"] == "joules_per_row"
    assert payload["kpi_value"] == pytest.approx(payload["against_median"]["value"])
    assert payload["against_median"]["change"] > 1
    assert {one["prefect.resource.role"] for one in last["related"]} >= {"flow"}
    (artifact,) = artifacts_of(runs[-1])
    assert float(artifact["metadata_"]["e2s_kpi_value"]) == payload["kpi_value"]


@pytest.mark.slow
def test_the_runs_of_a_deployment_have_a_history_that_each_run_adds_to(tmp_path):
    (tmp_path / "nightly.py").write_text(
        "from e2s_tasks import e2s_flow\n\n\n@e2s_flow\ndef nightly_flow():\n    pass\n"
    )
    environment = os.environ | get_current_settings().to_environment_variables(exclude_unset=True)
    with get_client(sync_client=True) as client:
        flow = e2s_flow(name="nightly-flow")(lambda: None)
        deployment = client.create_deployment(
            client.create_flow(flow), "Every Night", path=str(tmp_path), entrypoint="nightly.py:nightly_flow"
        )
        runs = []
        for name in ("first-night", "second-night"):  # a random name may be longer than a line of the table
            run = client.create_flow_run_from_deployment(deployment, name=name)
            done = subprocess.run(
                [sys.executable, "-m", "prefect.engine"],
                env=environment | {"PREFECT__FLOW_RUN_ID": str(run.id), "PYTHONPATH": str(ROOT)},
                cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            runs.append(run)
        key = f"energy-history-nightly-flow-every-night-{str(deployment)[:8]}"
        wanted = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}
        last, first = client.request("POST", "/artifacts/filter", json=wanted).json()
    assert (first["flow_run_id"], last["flow_run_id"]) == tuple(str(run.id) for run in runs)
    assert "its first run" in first["data"]
    assert "its last 2 runs" in last["data"]
    for run in runs:
        assert run.name in last["data"]
    assert "data:image/svg+xml" in last["data"]


@pytest.fixture
def server(tmp_path):
    """A server of its own, whose automations run; the environment of who uses it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {
        "PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    prefect = Path(sys.executable).with_name("prefect")
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            [prefect, "server", "start", "--port", str(port)], env=environment, stdout=log, stderr=log
        )
    end = time.monotonic() + 90
    while time.monotonic() < end:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=1).status_code == 200:
                break
        except httpx.HTTPError:
            time.sleep(0.3)
    yield environment
    process.terminate()
    process.wait(30)


@pytest.mark.slow
def test_the_documented_automation_fires_for_a_regression_alone(server, tmp_path):
    make, *_ = re.findall(r"```python\n(.*?)```", AUTOMATIONS, re.DOTALL)
    (tmp_path / "make.py").write_text(make)
    work = """
        from e2s_tasks import e2s_flow, record_outcome

        @e2s_flow(solution="delay-forecast")
        def scored(units):
            record_outcome(units=units, name="row")

        for units in (10, 10, 10, 12, 1):
            scored(units)
    """
    (tmp_path / "work.py").write_text(textwrap.dedent(work))
    for program in ("make.py", "work.py"):
        subprocess.run([sys.executable, tmp_path / program], env=server, check=True, capture_output=True, timeout=100)
    api, wanted = server["PREFECT_API_URL"], {"filter": {"event": {"name": ["prefect.automation.triggered"]}}}
    end, fired = time.monotonic() + 60, []
    while not fired and time.monotonic() < end:
        time.sleep(0.5)
        fired = httpx.post(f"{api}/events/filter", json=wanted, timeout=10).json()["events"]
    runs = httpx.post(f"{api}/flow_runs/filter", json={"sort": "START_TIME_DESC"}, timeout=10).json()
    assert [one["payload"]["triggering_event"]["resource"]["prefect.resource.name"] for one in fired] == [
        runs[0]["name"]
    ]
