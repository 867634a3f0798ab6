"""What a person finds on the flow run's page, and what is left of a run that was killed."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import FlowRunSort
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, get_current_settings, temporary_settings
from prefect.states import Cancelled, Cancelling

from e2s_tasks import CarbonPolicy, e2s_flow, e2s_task, record_outcome
from e2s_tasks.core.records import SpanRecord
from e2s_tasks.integrations.prefect import live
from e2s_tasks.integrations.prefect.orphans import publish
from e2s_tasks.integrations.prefect.publish import _page, e2s_publish_summary, is_final
from e2s_tasks.io import read_parquet, write_parquet
from e2s_tasks.ledger import Ledger, this_process
from e2s_tasks.ledger.orphans import note, waiting
from e2s_tasks.recorder import process_recorder
from tests.mixes.burning import burn

E2S = Path(sys.executable).parent / "e2s"


def artifacts_of(flow_run_id):
    with get_client(sync_client=True) as client:
        wanted = {"artifacts": {"flow_run_id": {"any_": [str(flow_run_id)]}}}
        found = client.request("POST", "/artifacts/filter", json=wanted).json()
    return [artifact for artifact in found if artifact["key"] == "energy-summary"]


@e2s_task
def make(folder):
    import pandas as pd

    frame = pd.DataFrame({"x": range(1000)})
    write_parquet(frame, folder / "made.parquet")
    record_outcome(units=10, accurate=8, name="prediction")
    return folder / "made.parquet"


@e2s_task
def use(path):
    frame = read_parquet(path)
    write_parquet(frame * 2, path.with_name("used.parquet"))


@e2s_flow(solution="demo", carbon=CarbonPolicy(zone="GB", max_delay="2h", expected_duration="5m"))
def making(folder):
    use(make(folder))


def test_the_summary_says_how_to_see_the_page_with_and_without_a_lasting_server():
    server = {PREFECT_API_URL: "http://127.0.0.1:4288/api", PREFECT_UI_URL: None}
    with temporary_settings(server):
        assert _page("an-id") == "http://127.0.0.1:4288/runs/flow-run/an-id"
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        start, page = _page("an-id").splitlines()
    assert start.endswith("prefect server start, and open")
    assert page == "http://127.0.0.1:4200/runs/flow-run/an-id"


def show(run_id):
    done = subprocess.run([E2S, "show", str(run_id), "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_flow_runs_page_gets_one_summary_with_its_results_and_their_energy(tmp_path):
    run_id = making(tmp_path, return_state=True).state_details.flow_run_id
    (artifact,) = artifacts_of(run_id)
    assert artifact["type"] == "markdown"
    for word in ("make", "use", "made.parquet", "used.parquet", "data:image/svg+xml;base64,", "modelled", "GB"):
        assert word in artifact["data"]


def test_show_json_tells_the_same_run(tmp_path):
    run_id = making(tmp_path, return_state=True).state_details.flow_run_id
    summary = show(run_id)
    assert summary["flow_run"]["id"] == str(run_id)
    assert summary["flow_run"]["solution"] == "demo"
    total = summary["energy_j"]["total"]
    assert sum(s["exclusive_j"] for s in summary["spans"]) == pytest.approx(total)
    made, used = sorted(summary["artifacts"], key=lambda a: a["uri"])
    assert made["uri"].endswith("made.parquet")
    assert 0 < made["in_run_j"] < used["in_run_j"] <= total * (1 + 1e-9)
    assert made["attributed_j"] is None
    assert used["attributed_j"] == pytest.approx(total - summary["unclaimed_j"])
    kpi = summary["kpis"]["joules_per_accurate_prediction"]
    assert kpi["value"] == pytest.approx(kpi["numerator"] / 8)
    assert summary["emissions_g"]["zone"] == "GB"
    assert summary["provenance"]["cpu"] == "modelled"
    assert summary["energy_j"]["gpu"] is None


def test_a_run_loads_what_its_page_is_made_with_while_it_works(monkeypatch):
    assert [import_module(name).__name__ for name in live.NEEDED] == list(live.NEEDED)
    monkeypatch.setattr(live, "READY_S", 0.1)
    monkeypatch.setattr(live, "NEEDED", ("colorsys",))
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    loaded = []

    @e2s_flow
    def long():
        end = time.monotonic() + 20
        while "colorsys" not in sys.modules and time.monotonic() < end:
            time.sleep(0.05)
        loaded.append("colorsys" in sys.modules)

    long()
    assert loaded == [True]


def test_the_page_of_a_run_that_goes_on_shows_what_it_has_used_and_at_the_end_all(monkeypatch):
    recorder = process_recorder()
    monkeypatch.setattr(recorder, "settings", replace(recorder.settings, live_s=0.2))
    seen = []

    @e2s_task
    def early():
        burn(0.1)

    @e2s_flow
    def long():
        early()
        run_id, end = flow_run.id, time.monotonic() + 20
        while not seen and time.monotonic() < end:
            time.sleep(0.1)
            seen.extend(artifacts_of(run_id))

    run_id = long(return_state=True).state_details.flow_run_id
    (shown,), (final,) = seen, artifacts_of(run_id)
    assert shown["id"] == final["id"]
    assert not is_final(shown)
    assert ": running" in shown["data"]
    assert "early" in shown["data"]
    assert is_final(final)
    assert ": completed" in final["data"]
    time.sleep(0.5)
    assert artifacts_of(run_id) == [final]


def test_a_failed_flow_run_gets_its_summary_too():
    @e2s_flow
    def failing():
        raise RuntimeError("no")

    run_id = failing(return_state=True).state_details.flow_run_id
    (artifact,) = artifacts_of(run_id)
    assert "failed" in artifact["data"]


def test_a_subflow_is_part_of_its_roots_summary():
    @e2s_flow
    def inner():
        return 1

    @e2s_flow
    def outer():
        return inner(return_state=True).state_details.flow_run_id

    state = outer(return_state=True)
    assert len(artifacts_of(state.state_details.flow_run_id)) == 1
    assert artifacts_of(state.result()) == []


FLOW = """
    import os, time
    from e2s_tasks import e2s_flow, e2s_task

    @e2s_task
    def finished():
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass

    @e2s_task
    def killed():
        end = time.thread_time() + 0.4
        while time.thread_time() < end:
            pass
        print("ready", flush=True)
        time.sleep(60)

    @e2s_flow
    def doomed():
        finished()
        killed()

    doomed()
"""


def killed_at_work(folder, **variables):
    """The environment of a flow run that was killed with 9 while it worked."""
    environment = os.environ | {"E2S_TICK_S": "0.1", "PREFECT_API_URL": str(get_current_settings().api.url)} | variables
    script = folder / "doomed.py"
    script.write_text(textwrap.dedent(FLOW))
    process = subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return environment


def shown(environment):
    done = subprocess.run([E2S, "show", "--json"], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def status_by_name(summary):
    return {span["name"]: span["status"] for span in summary["spans"]}


@pytest.mark.slow
def test_a_flow_killed_with_9_is_shown_as_crashed_with_what_it_had_used(tmp_path):
    environment = killed_at_work(tmp_path, E2S_DATA_DIR=str(tmp_path))
    summary = shown(environment)
    by_name = {span["name"]: span for span in summary["spans"]}
    assert summary["flow_run"]["status"] == "crashed"
    assert status_by_name(summary) == {"doomed": "crashed", "finished": "completed", "killed": "crashed"}
    assert by_name["killed"]["cpu_s"] >= 0.4
    assert by_name["killed"]["inclusive_j"] > 0
    assert shown(environment) == summary
    assert published_summaries(summary["flow_run"]["id"], within_s=60) == 1
    assert list((tmp_path / "unpublished").iterdir()) == []


CANCELLED = {"doomed": "cancelled", "finished": "completed", "killed": "cancelled"}


@pytest.mark.slow
def test_a_flow_run_that_was_cancelled_is_shown_as_cancelled_after_its_runner_has_run_the_hooks(tmp_path):
    environment = killed_at_work(tmp_path)
    with get_client(sync_client=True) as client:
        (flow_run,) = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
    e2s_publish_summary(None, flow_run, Cancelling())
    assert status_by_name(shown(environment)) == CANCELLED
    assert published_summaries(flow_run.id, within_s=5) == 1
    assert "crashed" not in artifacts_of(flow_run.id)[0]["data"]


@pytest.mark.slow
def test_a_flow_run_that_was_cancelled_without_hooks_is_so_once_the_next_command_has_asked_prefect(tmp_path):
    environment = killed_at_work(tmp_path, E2S_DATA_DIR=str(tmp_path))
    with get_client(sync_client=True) as client:
        (flow_run,) = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
        client.set_flow_run_state(flow_run.id, Cancelled(), force=True)
    assert shown(environment)["flow_run"]["status"] == "crashed"  # nobody has asked Prefect yet
    assert published_summaries(flow_run.id, within_s=60) == 1
    assert status_by_name(shown(environment)) == CANCELLED
    assert "crashed" not in artifacts_of(flow_run.id)[0]["data"]


def test_the_summary_of_a_killed_run_waits_while_another_process_still_works_for_it(tmp_path):
    run_id, here = str(uuid4()), this_process()
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    root = SpanRecord("f", 1, "gone", run_id, "flow", "doomed", "crashed", 1.0, ended_at=2.0, flow_run_id=run_id)
    work = SpanRecord("a", 1, here.id, run_id, "attempt", "slow", "running", 1.5, flow_run_id=run_id)
    ledger.ingest([here, root, work])
    note(tmp_path / "journal", run_id, str(get_current_settings().api.url))
    (waits,) = waiting(tmp_path / "journal")
    assert not publish(waits, ledger)
    ledger.ingest([replace(work, seq=2, status="completed", ended_at=3.0)])
    assert publish(waits, ledger)
    assert waiting(tmp_path / "journal") == []


LOCKING = """
    import sqlite3, sys
    from e2s_tasks import e2s_flow, e2s_task
    from e2s_tasks.ledger import Ledger
    from e2s_tasks.settings import settings

    @e2s_task
    def work():
        return 7

    @e2s_flow
    def working():
        work()
        other.execute("BEGIN EXCLUSIVE")

    Ledger.open(settings().ledger)
    other = sqlite3.connect(settings().ledger.removeprefix("sqlite:///"), isolation_level=None)
    print(working(return_state=True).state_details.flow_run_id)
"""


@pytest.mark.slow
def test_a_ledger_that_is_locked_when_a_flow_ends_has_the_next_command_publish_the_summary_once(tmp_path):
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path), "PREFECT_API_URL": str(get_current_settings().api.url)}
    script = tmp_path / "locking.py"
    script.write_text(textwrap.dedent(LOCKING))
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True)
    run_id = done.stdout.strip()
    assert "delivery to the ledger" in done.stderr
    assert artifacts_of(run_id) == []
    assert shown(environment)["flow_run"] | {"id": run_id, "status": "completed"} == shown(environment)["flow_run"]
    assert published_summaries(run_id, within_s=60) == 1
    assert list((tmp_path / "unpublished").iterdir()) == []


def published_summaries(flow_run_id, within_s):
    """The number of energy summaries on a flow run's page, once there is one."""
    give_up = time.monotonic() + within_s
    while time.monotonic() < give_up:
        if artifacts_of(flow_run_id):
            time.sleep(1)
            return len(artifacts_of(flow_run_id))
        time.sleep(0.5)
    return 0


BROKEN = """
    import sys
    from e2s_tasks import e2s_flow, e2s_task

    @e2s_task
    def work():
        return 7

    @e2s_flow
    def working():
        return work()

    print(working())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken",
    [
        {"E2S_LEDGER_URL": "sqlite:////proc/nowhere/ledger.db"},
        {"E2S_DATA_DIR": "/proc/nowhere"},
        {"E2S_TICK_S": "soon"},
    ],
)
def test_a_ledger_a_directory_or_a_setting_that_cannot_be_used_costs_one_warning_and_no_work(tmp_path, broken):
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path)} | broken
    environment["PREFECT_API_URL"] = str(get_current_settings().api.url)
    script = tmp_path / "broken.py"
    script.write_text(textwrap.dedent(BROKEN))
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "7\n"
    assert len([line for line in done.stderr.splitlines() if "WARNING" in line or "MeteringWarning" in line]) == 1
    assert "e2s_tasks/" not in done.stderr  # no line of ours is blamed
