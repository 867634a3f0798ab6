import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.core.records import DecisionRecord, from_dict, to_dict
from e2s_tasks.errors import PolicyError, SettingError, ZoneError
from e2s_tasks.scheduler import Decision, decide, intensity_now, plan, to_record
from e2s_tasks.settings import Settings
from tests.fakes.grid_server import Answer, GridServer, half_hours

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
NOW = NOON + timedelta(minutes=5)
HOUR = timedelta(hours=1)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GridServer]:
    monkeypatch.setenv("NO_PROXY", "*")
    shutil.rmtree(Settings().data_dir / "grid", ignore_errors=True)
    with GridServer() as fake:
        yield fake


def test_a_decision_names_the_cleaner_start_and_what_it_was_made_from(server: GridServer) -> None:
    server.say(half_hours(NOON, [187] * 8 + [112] * 4 + [187] * 84))
    decision = decide(CarbonPolicy("GB", "12h", "1h"), NOW, Settings(gb_api_url=server.url))
    assert decision.reason == "start at 16:00 UTC instead of 12:05: 112 instead of 187 gCO2eq/kWh (-40 %)"
    assert (decision.start, decision.end) == (NOON + 4 * HOUR, NOON + 5 * HOUR)
    assert (decision.expected, decision.run_now, decision.intensity) == (112, 187, 187)
    assert (decision.zone, decision.signal, decision.source) == ("GB", "average, direct", "GB Carbon Intensity API")
    assert decision.plan["policy"] == {
        "zone": "GB",
        "max_delay_s": 43200,
        "expected_duration_s": 3600,
        "deadline": None,
    }
    assert decision.plan["slots"][0] == [NOON.timestamp(), (NOON + HOUR / 2).timestamp(), 187]
    assert decision.plan["slots"][-1][0] == (NOON + 13 * HOUR).timestamp()


def test_the_deadline_bounds_the_end(server: GridServer) -> None:
    server.say(half_hours(NOON, [187] * 8 + [112] * 4 + [187] * 84))
    policy = CarbonPolicy("GB", "12h", "1h", deadline=NOON + timedelta(hours=4, minutes=30))
    decision = decide(policy, NOW, Settings(gb_api_url=server.url))
    assert decision.end == policy.deadline
    assert decision.expected == pytest.approx(149.5)


def test_a_dead_service_means_run_now_and_says_why(server: GridServer) -> None:
    server.say(Answer("{}", stall_s=30))
    begin = time.monotonic()
    decision = plan("GB", "2h", "12h", NOW, Settings(gb_api_url=server.url, grid_timeout_s=0.2))
    assert time.monotonic() - begin < 10.0
    assert decision.start == NOW
    assert decision.end == NOW + 2 * HOUR
    assert decision.expected == decision.run_now == decision.intensity
    assert decision.reason.startswith("start now: no forecast for GB (the service timed out")
    assert decision.reason.endswith("says nothing about timing")
    assert decision.source.startswith("country average (CodeCarbon")


def test_many_runs_ask_a_dead_service_once(server: GridServer) -> None:
    server.say(Answer("{}", 503))
    settings = Settings(gb_api_url=server.url, grid_timeout_s=0.2)
    decisions = [intensity_now("GB", NOW + timedelta(seconds=second), settings) for second in range(20)]
    assert len(server.paths) <= 3
    assert all("answered 503" in decision.reason for decision in decisions)


def test_a_run_longer_than_the_forecast_starts_now(server: GridServer) -> None:
    server.say(half_hours(NOON, [187] * 96))
    decision = plan("GB", "60h", "12h", NOW, Settings(gb_api_url=server.url))
    assert decision.start == NOW
    assert "has no figures for all of 12:05 to 2026-03-05 00:05 UTC" in decision.reason
    assert decision.plan["rung"] == "average"


def test_a_country_without_a_service_starts_now_on_its_average() -> None:
    decision = plan("US", "2h", "12h", NOW, Settings())
    assert decision.start == NOW
    assert decision.reason.startswith("start now: no forecast for US; the country average (CodeCarbon")
    assert decision.signal == "average, life-cycle"


def test_a_deadline_that_has_passed_is_an_error() -> None:
    with pytest.raises(PolicyError, match="has passed"):
        decide(CarbonPolicy("FR", "12h", "1h", deadline=NOON), NOW, Settings())


def test_what_cannot_be_planned_is_an_error() -> None:
    with pytest.raises(ZoneError):
        plan("Atlantis", "2h", "12h", NOW, Settings())
    for length, slack in (("0h", "12h"), ("2h", "-1"), ("soon", "12h"), (-5, 0)):
        with pytest.raises(SettingError):
            plan("FR", length, slack, NOW, Settings())
    with pytest.raises(SettingError, match="time zone"):
        plan("FR", "2h", "12h", NOW.replace(tzinfo=None), Settings())


def test_without_a_policy_the_intensity_of_the_moment_counts(server: GridServer) -> None:
    server.say(half_hours(NOON, [187, 112]))
    decision = intensity_now("GB", NOW, Settings(gb_api_url=server.url))
    assert (decision.intensity, decision.signal, decision.start) == (187, "average, direct", None)
    assert decision.reason == "no policy: the run starts at once"


def test_without_a_figure_for_the_moment_the_average_counts(server: GridServer) -> None:
    server.say(half_hours(NOON, [None, 112]))
    decision = intensity_now("GB", NOW, Settings(gb_api_url=server.url))
    assert decision.source.startswith("country average")
    assert "has no figure for 2026-03-02 12:05" in decision.reason


def test_without_a_zone_the_worlds_average_counts() -> None:
    decision = intensity_now(None, NOW, Settings())
    assert (decision.intensity, decision.zone, decision.signal) == (475, None, "average, direct")


def test_a_trace_without_a_zone_serves_any_run(tmp_path: Path) -> None:
    path = tmp_path / "grid.csv"
    path.write_text("ts_utc,ci_g_per_kwh\n2026-03-02T12:00Z,300\n2026-03-02T13:00Z,100\n2026-03-02T14:00Z,200\n")
    settings = Settings(trace=path)
    assert intensity_now(None, NOW, settings).intensity == 300
    assert plan("GB", "30m", "90m", NOW, settings).start == NOON + HOUR


@pytest.mark.parametrize("zone", ["FR", "GB"])
def test_a_decision_is_written_down_and_read_back(server: GridServer, zone: str) -> None:
    server.say(half_hours(NOON, [187] * 8 + [112] * 4 + [187] * 84))
    decision = plan(zone, "2h", "12h", NOW, Settings(gb_api_url=server.url))
    record = to_record(decision, "run-1")
    assert from_dict(json.loads(json.dumps(to_dict(record)))) == record
    assert record == to_record(decision, "run-1")
    assert record.id != to_record(decision, "run-2").id
    assert record.start == decision.start.timestamp()
    names = {field.name for field in fields(DecisionRecord)} - {"id", "run_id"}
    assert {field.name for field in fields(Decision)} == names
