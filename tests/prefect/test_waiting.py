"""Flows that wait for a cleaner grid, on a real Prefect server."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import Abort
from prefect.runtime import flow_run
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    get_current_settings,
    temporary_settings,
)
from prefect.states import Cancelled

from e2s_tasks import CarbonPolicy, e2s_flow, e2s_task
from e2s_tasks.errors import NotFoundError
from e2s_tasks.integrations.prefect import gate, progress
from e2s_tasks.integrations.prefect.awaiting import AWAITING, NOW
from e2s_tasks.integrations.prefect.rescheduling import release
from e2s_tasks.recorder import process_recorder
from e2s_tasks.recorder.guard import MeteringWarning
from e2s_tasks.scheduler import Decision
from tests.planning.traces import write_trace

POLICY = CarbonPolicy("GB", max_delay="10m", expected_duration="3s")


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """Says which intensities follow one another in steps of so many seconds from now on."""

    def forecast(*intensities, step_s=3.0):
        trace = write_trace(tmp_path / "grid.csv", datetime.now(UTC), intensities, timedelta(seconds=step_s))
        options = replace(process_recorder().settings, trace=trace, wait="auto")
        monkeypatch.setattr(process_recorder(), "settings", options)

    return forecast


def waiting_runs():
    from e2s_tasks.integrations.prefect.rescheduling import _waiting

    with get_client(sync_client=True) as client:
        return list(_waiting(client))


def states_of(run_id):
    with get_client(sync_client=True) as client:
        return sorted(client.read_flow_run_states(run_id), key=lambda state: state.timestamp)


def when_one_waits(act):
    """A thread that does something to the run once it waits."""

    def look():
        end = time.monotonic() + 20
        while not (found := waiting_runs()) and time.monotonic() < end:
            time.sleep(0.1)
        act(found[0])

    thread = threading.Thread(target=look)
    thread.start()
    return thread


def released(run):
    with get_client(sync_client=True) as client:
        release(client, str(run.id)[:8], datetime.now(UTC))


@e2s_task
def one():
    return 1


@e2s_flow(carbon=POLICY, retries=1)
def heavy(seen, fail=False):
    seen.append((flow_run.id, flow_run.run_count, time.monotonic()))
    one()
    if fail and flow_run.run_count == 1:
        raise ValueError("once")


def test_a_flow_that_is_started_by_hand_waits_in_its_process_and_that_answers_for_idle_power(grid, ledger_run, capfd):
    grid(200, 100, *[100] * 20)
    seen, began = [], time.monotonic()
    heavy(seen)
    run_id, run_count, at = seen[0]
    assert run_count == 1
    assert at - began > 1
    assert AWAITING in [state.name for state in states_of(run_id)]
    assert "100 instead of " in next(state.message for state in states_of(run_id) if state.name == AWAITING)
    spans = {span.name: span for span in ledger_run(run_id).spans}
    waiting = spans["waiting for a cleaner grid"]
    assert waiting.kind == "wait"
    assert waiting.ended_at - waiting.started_at > 1
    assert "runs it now" in capfd.readouterr().err
    flow, waited_s = spans["heavy"], waiting.ended_at - waiting.started_at
    assert waiting.static_j > 0
    assert flow.static_j < 1.5 * waiting.static_j / waited_s * (flow.ended_at - flow.started_at - waited_s)


@pytest.mark.slow
def test_coroutines_go_on_while_a_flow_waits(grid):
    grid(200, 100, *[100] * 20)
    seen, ticks = [], []

    @e2s_flow(carbon=POLICY)
    async def heavy_async():
        seen.append(time.monotonic())

    async def ticking():
        while not seen:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.05)

    async def main():
        await asyncio.gather(heavy_async(), ticking())

    began = time.monotonic()
    asyncio.run(main())
    assert seen[0] - began > 1
    assert len(ticks) > 10


@pytest.mark.slow
def test_a_generator_flow_waits_before_its_first_item(grid):
    grid(200, 100, *[100] * 20)

    @e2s_flow(carbon=POLICY)
    def items():
        yield time.monotonic()

    began = time.monotonic()
    assert next(iter(items())) - began > 1


@pytest.mark.slow
def test_a_released_run_begins_at_once(grid):
    grid(200, 100, *[100] * 20, step_s=60)
    seen, began = [], time.monotonic()
    thread = when_one_waits(released)
    heavy(seen)
    thread.join()
    assert seen[0][2] - began < 30
    assert seen[0][1] == 1
    assert waiting_runs() == []


@pytest.mark.slow
def test_a_run_that_is_cancelled_while_it_waits_never_begins(grid, ledger_run):
    grid(200, 100, *[100] * 20, step_s=60)

    def cancel(run):
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Cancelled(), force=True)

    cancelled = []
    thread = when_one_waits(lambda run: cancelled.append(run.id) or cancel(run))
    seen = []
    with pytest.raises(Abort, match="cancelled while it waited"):
        heavy(seen)
    thread.join()
    assert seen == []
    process_recorder().flush()
    assert {span.status for span in ledger_run(cancelled[0]).spans} == {"cancelled"}


def test_only_a_waiting_run_can_be_released():
    with get_client(sync_client=True) as client, pytest.raises(NotFoundError, match="None waits at all"):
        release(client, "nobody", datetime.now(UTC))


@pytest.mark.slow
def test_a_retry_and_a_subflow_never_wait(grid):
    grid(200, 100, *[100] * 20, step_s=300)
    seen, inner = [], []

    @e2s_flow(carbon=POLICY)
    def parent():
        grid(200, 100, *[100] * 20, step_s=300)
        heavy(inner)

    grid(100, 100, 100)
    heavy(seen, fail=True)
    assert [count for _, count, _ in seen] == [1, 2]
    grid(100, 100, 100)
    parent()
    assert len(inner) == 1


@pytest.mark.parametrize("how", ["tag", "setting"])
def test_a_run_that_is_told_not_to_wait_begins_at_once(grid, monkeypatch, how):
    from prefect import tags

    grid(200, 100, *[100] * 20, step_s=60)
    seen, began = [], time.monotonic()
    if how == "setting":
        monkeypatch.setattr(process_recorder(), "settings", replace(process_recorder().settings, wait="never"))
    with tags(*[NOW] if how == "tag" else []):
        heavy(seen)
    assert seen[0][2] - began < 30
    assert AWAITING not in [state.name for state in states_of(seen[0][0])]


def test_a_flow_whose_own_time_limit_would_end_it_while_it_waits_begins_at_once(grid):
    grid(200, 100, *[100] * 20, step_s=60)
    seen = []
    with pytest.warns(MeteringWarning, match="own timeout would end it"):
        heavy.with_options(timeout_seconds=20)(seen)
    assert len(seen) == 1


@pytest.mark.slow
def test_a_better_hour_that_becomes_known_while_a_run_waits_is_taken(grid, monkeypatch):
    monkeypatch.setattr(gate, "REPLAN_S", 1.0)
    monkeypatch.setattr(gate, "LEAST", timedelta(seconds=1))
    grid(200, 200, *[100] * 20, step_s=30)
    seen, began = [], time.monotonic()
    thread = when_one_waits(lambda _: grid(200, *[50] * 6, *[100] * 60, step_s=4))
    heavy(seen)
    thread.join()
    assert seen[0][2] - began < 40


@pytest.mark.slow
def test_a_grid_that_tells_nothing_any_more_leaves_the_plan_as_it_is(grid, monkeypatch, tmp_path):
    monkeypatch.setattr(gate, "REPLAN_S", 0.5)
    grid(200, *[100] * 20, step_s=8)
    seen, began, long_ago = [], time.monotonic(), datetime.now(UTC) - timedelta(days=30)
    thread = when_one_waits(lambda _: write_trace(tmp_path / "grid.csv", long_ago, [1, 2], timedelta(seconds=8)))
    heavy(seen)
    thread.join()
    assert seen[0][2] - began > 5


def test_a_prefect_that_does_not_answer_leaves_a_run_that_cannot_be_moved_to_begin_now():
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(heavy, parameters={"seen": []})
    now = datetime.now(UTC)
    decision = Decision(now, "GB", "average", "x", "why", 200.0, now + timedelta(hours=4), None, 120.0, 200.0)
    away = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(away), pytest.warns(MeteringWarning, match="moving the run to a cleaner hour"):
        gate._move(process_recorder().span("alone"), run, POLICY, decision)
    assert AWAITING not in [state.name for state in states_of(run.id)]


ALONE = """
    import sys
    from e2s_tasks import CarbonPolicy, e2s_flow

    @e2s_flow(carbon=CarbonPolicy("GB", max_delay="10m", expected_duration="3s"))
    def alone():
        print("begun")

    alone()
"""


@pytest.fixture
def alone(tmp_path):
    """A process of its own in which a flow waits, the run, and what a command then answers."""
    trace = write_trace(tmp_path / "grid.csv", datetime.now(UTC), [200, *[100] * 20], timedelta(minutes=2))
    environment = os.environ | get_current_settings().to_environment_variables(exclude_unset=True)
    environment |= {"E2S_TRACE": str(trace), "E2S_DATA_DIR": str(tmp_path / "data"), "PYTHONPATH": str(Path.cwd())}
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(ALONE)], env=environment, cwd=tmp_path)
    waiting = []
    when_one_waits(waiting.append).join()
    command = Path(sys.executable).with_name("e2s")

    def answer(*words):
        return subprocess.run([command, *words], env=environment, check=True, capture_output=True, text=True).stdout

    yield process, waiting[0], answer
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_run_whose_process_is_killed_while_it_waits_is_crashed_once_somebody_looks(alone):
    process, run, answer = alone
    process.kill()
    process.wait()
    answer("runs")
    end = time.monotonic() + 30
    while waiting_runs() and time.monotonic() < end:
        time.sleep(0.2)
    assert states_of(run.id)[-1].name == "Crashed"


@pytest.mark.slow
def test_a_run_that_is_interrupted_while_it_waits_has_begun_nothing_and_avoided_nothing(alone):
    process, run, answer = alone
    assert " waiting " in answer("runs")
    assert f": waiting {'─'}" in answer("show", str(run.id))
    process.send_signal(signal.SIGINT)
    process.wait()
    assert " cancelled " in answer("runs")
    told = json.loads(answer("show", str(run.id), "--json"))
    assert {row["status"] for row in told["steps"] if row["kind"] == "wait"} == {"cancelled"}
    assert told["waited"]["began_at"] is None
    assert "has not begun: it was to wait" in " ".join(answer("show", str(run.id)).split())


def test_the_bar_names_both_intensities_and_the_time_left():
    now = datetime(2026, 3, 1, tzinfo=UTC)
    decision = Decision(
        now, "GB", "average, direct", "somebody", "why", 200.0, now + timedelta(hours=4), None, 120.0, 200.0
    )
    line = progress.line(decision, now, now + timedelta(hours=4), now + timedelta(hours=1))
    assert line == "[######------------------] 3:00:00 left: 200 -> 120 gCO2eq/kWh in GB"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_is_gone_when_the_waiting_is_over():
    now = datetime.now(UTC)
    decision = Decision(now, "GB", "average, direct", "x", "why", 200.0, now + timedelta(hours=4), None, 120.0, 200.0)
    stream = Terminal()
    with progress.Progress(decision, "0123456789", 10.0, stream) as bar:
        bar.tell(decision, now + timedelta(hours=4))
    assert "release 01234567` runs it now" in stream.getvalue()
    assert "Waiting here takes some 144 kJ of idle power and memory" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")
