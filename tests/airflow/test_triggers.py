"""What a trigger that has tasks wait does, without any daemon."""

import asyncio
import contextlib
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from serving import serving

from e2s_tasks import CarbonPolicy
from e2s_tasks.core.policy_tags import tags_of
from e2s_tasks.core.records import DecisionRecord, Kind, SpanRecord
from e2s_tasks.integrations.airflow import moved
from e2s_tasks.integrations.airflow.trigger import CleanerGridTrigger, _thread
from e2s_tasks.ledger import Ledger
from e2s_tasks.settings import settings

HALF_HOUR, GB_TIME = timedelta(minutes=30), "%Y-%m-%dT%H:%MZ"
POLICY = CarbonPolicy("GB", max_delay="1h", expected_duration="2s")


def trigger(start, latest, **fields):
    given = {"arrived": time.time(), "policy": tags_of(POLICY), "run": "run", "step": "step"} | fields
    return CleanerGridTrigger(start=start, latest=latest, **given)


def fired(*triggers, within=15.0):
    """The payload of each trigger's event, and when it came."""

    async def one(waits):
        found = [(event.payload, time.time()) async for event in waits.run()]
        assert len(found) == 1
        return found[0]

    async def together():
        return await asyncio.wait_for(asyncio.gather(*map(one, triggers)), within)

    return asyncio.run(together())


def test_a_trigger_fires_once_at_its_start(grid):
    grid(0)
    start = time.time() + 1
    ((payload, at),) = fired(trigger(start, start + 60))
    assert (payload["start"], payload["decision"]) == (start, None)
    assert start <= at < start + 0.5


def test_a_trigger_never_fires_after_its_latest_start(grid):
    grid(0)
    ((_, at),) = fired(trigger(time.time() + 60, time.time() + 1))
    assert at < time.time() + 1.5
    ((_, at),) = fired(trigger(time.time() - 60, time.time() - 30))
    assert at <= time.time()


def test_made_anew_by_another_triggerer_it_waits_for_the_same_moment(grid):
    grid(0)
    first = trigger(
        time.time() + 1.5, time.time() + 60, lesson={"runs": 5, "p50_s": 1.0, "p95_s": 2.0, "energy_j": 9.0}
    )
    path, given = first.serialize()
    assert path == "e2s_tasks.integrations.airflow.trigger.CleanerGridTrigger"
    again = CleanerGridTrigger(**given)
    assert again.serialize() == first.serialize()
    ((payload, _),) = fired(again)
    assert payload["start"] == first.start


def test_a_new_forecast_moves_the_start_and_the_event_tells_the_decision(grid):
    clean = grid(5)
    ((payload, at),) = fired(trigger(time.time() + 3, time.time() + 300, every_s=1.0))
    assert clean <= at < clean + 1
    assert payload["decision"]["plan"]["step"] == "step"
    assert payload["decision"]["start"] == payload["start"]


def test_a_start_that_is_moved_is_in_the_ledger_before_it_has_come(grid):
    grid(30)
    start, ledger = time.time() + 3, Ledger.open(settings().ledger)
    ledger.ingest([SpanRecord("run", 1, "run", "run", Kind.FLOW, "dag", "running", start, flow_run_id="run")])

    async def waits():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(6):
                await anext(trigger(start, start + 300, every_s=1.0).run())

    asyncio.run(waits())
    told = ledger.run("run").decisions[-1]
    assert told.start > start + 20
    assert (told.plan["step"], told.plan["waits"]) == ("step", True)


def test_a_ledger_that_is_away_holds_up_no_move(grid, tmp_path, monkeypatch):
    clean = grid(5)
    monkeypatch.setenv("E2S_LEDGER_URL", f"sqlite:///{tmp_path}/trace.csv/ledger.db")
    settings.cache_clear()
    with pytest.warns(UserWarning, match="_write failed"):
        ((payload, at),) = fired(trigger(time.time() + 3, time.time() + 300, every_s=1.0))
    assert clean <= at < clean + 1
    assert payload["decision"]["start"] == payload["start"]


def restarted(*triggers, lives_s):
    """As `fired`, where another triggerer has had the triggers, and was stopped after so many seconds."""

    async def first_life():
        waiting = [asyncio.create_task(anext(one.run())) for one in triggers]
        await asyncio.sleep(lives_s)
        for one in waiting:
            one.cancel()

    asyncio.run(first_life())
    return fired(*(CleanerGridTrigger(**one.serialize()[1]) for one in triggers))


def told(ledger, **fields):
    """A decision that the ledger has: an earlier life of the trigger has moved the start."""
    given = {
        "id": "d",
        "run_id": "run",
        "at": time.time() - 1,
        "signal": "average",
        "source": "service",
        "reason": "so",
    }
    ledger.ingest([DecisionRecord(**given | fields, plan={"step": "step", "waits": True})])


@pytest.fixture
def no_forecast(grid, tmp_path):
    """A grid of which nobody knows what it will be."""
    (tmp_path / "trace.csv").write_text("ts_utc,ci_g_per_kwh\n2020-01-01T00:00Z,1\n2020-01-01T01:00Z,1\n")


def test_made_anew_after_its_old_start_has_passed_it_fires_in_the_hour_to_which_it_was_moved(grid):
    clean = grid(7)
    ((payload, at),) = restarted(trigger(time.time() + 3, time.time() + 300, every_s=1.0), lives_s=4)
    assert clean <= at < clean + 1
    assert payload["decision"]["start"] == payload["start"]


def test_made_anew_after_its_start_has_passed_it_looks_before_it_fires(grid):
    clean = grid(4)
    ((payload, at),) = fired(trigger(time.time() - 1, time.time() + 300, arrived=time.time() - 1000))
    assert clean <= at < clean + 1
    assert payload["decision"]["start"] == payload["start"]


def test_made_anew_it_goes_on_with_an_earlier_start(no_forecast):
    start = time.time() + 1
    told(Ledger.open(settings().ledger), start=start)
    ((payload, at),) = fired(trigger(time.time() + 60, time.time() + 300, arrived=time.time() - 1000))
    assert payload["decision"]["start"] == payload["start"] == start
    assert start <= at < start + 1


def test_made_anew_without_a_forecast_it_goes_on_with_the_start_that_the_ledger_tells(no_forecast):
    start = time.time() + 2
    told(Ledger.open(settings().ledger), start=start)
    ((payload, at),) = fired(trigger(time.time() - 1, time.time() + 300, arrived=time.time() - 1000))
    assert payload["decision"]["start"] == payload["start"] == start
    assert start <= at < start + 1


@pytest.mark.parametrize("of_another", [{"at": 1.0}, {"run_id": "other"}])
def test_what_the_ledger_tells_of_another_wait_moves_nothing(no_forecast, of_another):
    told(Ledger.open(settings().ledger), start=time.time() + 60, **of_another)
    start = time.time() + 1
    ((payload, at),) = fired(trigger(start, time.time() + 300, arrived=time.time() - 1000))
    assert payload == {"start": start, "decision": None}
    assert start <= at < start + 1


def test_made_anew_with_neither_a_ledger_nor_a_forecast_it_keeps_its_start(no_forecast, tmp_path, monkeypatch):
    monkeypatch.setenv("E2S_LEDGER_URL", f"sqlite:///{tmp_path}/trace.csv/ledger.db")
    settings.cache_clear()
    start = time.time() + 2
    with pytest.warns(UserWarning, match="asking the ledger for a start that was moved failed"):
        ((payload, at),) = fired(trigger(start, time.time() + 300, arrived=time.time() - 1000))
    assert payload == {"start": start, "decision": None}
    assert start <= at < start + 1


@contextlib.contextmanager
def others_look(seconds):
    """Triggers of other tasks look for so long, and were first."""
    looks = _thread().submit(time.sleep, seconds)
    yield
    looks.result()


def test_made_anew_where_many_look_it_waits_for_its_turn_until_its_latest_start_at_most(grid):
    grid(2)
    with others_look(6):
        latest = time.time() + 3
        ((payload, at),) = fired(trigger(latest - 10, latest, arrived=time.time() - 1000))
    assert payload["decision"] is None
    assert latest <= at < latest + 1


def test_where_many_look_it_waits_for_its_turn_until_its_start_at_most(grid):
    grid(30)
    with others_look(6):
        start = time.time() + 3
        ((payload, at),) = fired(trigger(start, start + 60, every_s=1.0))
    assert payload == {"start": start, "decision": None}
    assert start <= at < start + 1


def test_made_anew_with_a_ledger_that_answers_late_it_waits_for_it_until_its_start_at_most(grid):
    grid(0)
    answers = moved._thread().submit(time.sleep, 6)
    start = time.time() + 2
    ((payload, at),) = fired(trigger(start, start + 60, arrived=time.time() - 1000))
    answers.result()
    assert payload == {"start": start, "decision": None}
    assert start <= at < start + 1


class Hangs(CleanerGridTrigger):
    """One whose look does not end for long."""

    def _look(self, policy, start, options):
        time.sleep(8)


def test_a_look_that_hangs_holds_up_neither_its_own_start_nor_what_others_find(grid, monkeypatch):
    monkeypatch.setattr("e2s_tasks.integrations.airflow.trigger.HANGS_S", 0.5)
    clean = grid(6)
    start = time.time() + 4
    hangs = Hangs(start=start, latest=start + 60, arrived=time.time() - 1000, policy=tags_of(POLICY), run="r", step="s")

    async def one(waits, after_s):
        await asyncio.sleep(after_s)
        return (await anext(waits.run())).payload, time.time()

    async def together():
        return await asyncio.gather(one(hangs, 0), one(trigger(start, start + 60, every_s=1.0), 1.5))

    (held_up, at), (other, other_at) = asyncio.run(together())
    assert held_up["decision"] is None
    assert start <= at < start + 1
    assert other["decision"]["start"] == other["start"]
    assert clean <= other_at < clean + 1


class LooksForLong(CleanerGridTrigger):
    """One that finds a cleaner hour after it had to begin."""

    def _look(self, policy, start, options):
        found = super()._look(policy, start, options)
        time.sleep(max(0.0, self.latest + 0.5 - time.time()))
        return found


def test_of_a_move_that_was_found_too_late_the_ledger_is_not_told(grid):
    grid(2)
    latest = time.time() + 3
    arrived, policy = time.time() - 1000, tags_of(POLICY)
    ledger = Ledger.open(settings().ledger)
    late = LooksForLong(start=latest - 10, latest=latest, arrived=arrived, policy=policy, run="run", step="step")
    ((payload, _),) = fired(late)
    for thread in (_thread(), moved._thread()):  # all that they were to do
        thread.submit(time.sleep, 0).result()
    assert payload["decision"] is None
    assert ledger.step_decisions("run", "step") == []


def test_what_is_cleaner_only_after_the_latest_start_moves_nothing(grid):
    grid(30)
    start = time.time() + 3
    ((payload, at),) = fired(trigger(start, start + 10, every_s=1.0))
    assert payload == {"start": start, "decision": None}
    assert start <= at < start + 0.5


def test_a_forecast_that_is_hardly_better_moves_nothing(grid):
    grid(300, dirty=101)
    start = time.time() + 3
    ((payload, at),) = fired(trigger(start, start + 60, every_s=1.0))
    assert payload == {"start": start, "decision": None}
    assert at >= start


def test_a_broken_trace_leaves_the_plan_as_it_is(grid, tmp_path):
    (tmp_path / "trace.csv").write_text("nonsense\n")
    start = time.time() + 2.5
    with pytest.warns(UserWarning, match="planning again failed"):
        ((payload, at),) = fired(trigger(start, start + 60, every_s=1.0))
    assert payload["decision"] is None
    assert start <= at < start + 0.5


@pytest.fixture
def slow_service():
    """The GB Carbon Intensity API, which takes two seconds to say that all hours are alike; and what it was asked."""
    asked = []

    def answer(request):
        asked.append(request.path)
        time.sleep(2)
        begin = datetime.now(UTC).replace(minute=0, second=0) - timedelta(hours=1)
        return {
            "data": [
                {"from": f"{begin + i * HALF_HOUR:{GB_TIME}}", "to": f"{begin + (i + 1) * HALF_HOUR:{GB_TIME}}",
                 "intensity": {"forecast": 300}}
                for i in range(100)
            ]
        }  # fmt: skip

    with serving(answer) as url:
        yield url, asked


def test_many_triggers_ask_a_slow_service_once_and_leave_the_event_loop_free(slow_service, tmp_path, monkeypatch):
    url, asked = slow_service
    for name, value in {"GB_API_URL": url, "GRID": "gb", "DATA_DIR": tmp_path, "LEAST_WAIT_S": "0.5"}.items():
        monkeypatch.setenv(f"E2S_{name}", str(value))
    settings.cache_clear()
    longest = 0.0

    async def watch():
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    async def together():
        watching = asyncio.create_task(watch())
        many = [trigger(time.time() + 6, time.time() + 60, step=str(i), every_s=1.0) for i in range(50)]
        await asyncio.gather(*(anext(one.run()) for one in many))
        watching.cancel()

    asyncio.run(together())
    settings.cache_clear()
    assert len(asked) == 1
    assert longest < 1.5


PREPARED = """
import asyncio, gc, sys, time
from types import SimpleNamespace
from airflow.jobs.triggerer_job_runner import TriggererJobRunner
from e2s_tasks.integrations.airflow import listener
from test_triggers import trigger

listener.on_starting(SimpleNamespace(job_type=TriggererJobRunner.job_type))
loaded = set(sys.modules)
gc.collect()
print(len(gc.get_objects()) < gc.get_freeze_count())
asyncio.run(anext(trigger(time.time() + 2, time.time() + 60, arrived=time.time() - 1000).run()))
print(sorted(one for one in set(sys.modules) - loaded if one.startswith(("e2s_tasks", "sqlalchemy", "httpx"))))
"""


def test_a_triggerer_has_loaded_what_a_look_needs_and_collects_none_of_it_when_its_event_loop_begins(grid):
    grid(1)
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", PREPARED], capture_output=True, text=True, check=True, timeout=60, cwd=here
    )
    assert done.stdout.splitlines()[-2:] == ["True", "[]"]
