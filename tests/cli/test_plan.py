"""`e2s plan` of a flow that has run before, and its chart."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from e2s_tasks.core.planning import Slot
from e2s_tasks.core.records import DecisionRecord, Kind, SpanRecord
from e2s_tasks.integrations.cli.chart import chart
from e2s_tasks.ledger import Ledger
from e2s_tasks.settings import settings

HOUR = timedelta(hours=1)
POLICY = {"zone": "GB", "max_delay_s": 43200.0, "expected_duration_s": 3600.0, "strategy": "window"}


@pytest.fixture
def nights(tmp_path, monkeypatch):
    """A trace whose fourth hour from now is clean."""
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    path = tmp_path / "trace.csv"
    rows = [f"{(begin + hour * HOUR).isoformat()},{50 if 4 <= hour < 6 else 200}" for hour in range(48)]
    path.write_text("ts_utc,ci_g_per_kwh\n" + "\n".join(rows))
    monkeypatch.setenv("E2S_TRACE", str(path))
    settings.cache_clear()
    return begin


def run_of(name, number, seconds, joules, policy=None):
    run = f"run {name} {number}"
    span = SpanRecord(
        id=run, seq=1, process_id="p", run_id=run, kind=Kind.FLOW, name=name, status="completed",
        started_at=1000.0 * number, ended_at=1000.0 * number + seconds, flow_run_id=run, cpu_j=joules,
    )  # fmt: skip
    plan = {"policy": policy} if policy else {"rung": "trace"}
    return [span, DecisionRecord(f"of {run}", run, 1000.0 * number, "average", "trace", "why", "GB", plan=plan)]


def remember(*records):
    Ledger.open(settings().ledger).ingest([one for some in records for one in some])


def test_a_flow_is_planned_by_its_latest_policy_and_what_its_runs_took(e2s, nights):
    remember(*(run_of("heavy", number, 7200.0, 3.6e6, POLICY | {"max_delay_s": 600.0}) for number in range(5)))
    remember(run_of("heavy", 5, 7200.0, 3.6e6, POLICY))
    found = json.loads(e2s("plan", "heavy", "--json")[1])
    assert found["start"] == (nights + 4 * HOUR).isoformat()
    assert (found["duration_s"], found["slack_s"], found["learned"]["runs"]) == (7200, 43200, 6)
    assert (found["expected_g"], found["run_now_g"]) == (pytest.approx(50), pytest.approx(200))
    code, out, _ = e2s("plan", "heavy")
    assert code == 0
    assert "from 6 runs: 2 h" in out
    assert "50.0 gCO2eq/kWh, 50.0 g" in out
    assert "the run" in out


def test_what_is_given_wins_over_what_was_learned_and_the_energy_of_another_length_is_not_known(e2s, nights):
    remember(*(run_of("heavy", number, 7200.0, 3.6e6, POLICY) for number in range(5)))
    found = json.loads(e2s("plan", "heavy", "--duration", "1h", "--slack", "1h", "--zone", "GB", "--json")[1])
    assert (found["duration_s"], found["slack_s"]) == (3600, 3600)
    assert found["start"] < (nights + 3 * HOUR).isoformat()
    assert (found["expected_g"], found["learned"]) == (None, None)


def test_a_flow_is_planned_within_its_deadline_and_what_its_runs_may_take(e2s, nights):
    deadline = (datetime.now(UTC) + 3 * HOUR).timestamp()
    remember(run_of("due", 1, 60.0, 1.0, POLICY | {"deadline": deadline}))
    found = json.loads(e2s("plan", "due", "--json")[1])
    assert found["start"] < (nights + 3 * HOUR).isoformat()
    assert datetime.fromisoformat(found["latest_end"]).timestamp() == pytest.approx(deadline)
    remember(run_of("long", 1, 60.0, 1.0, POLICY | {"deadline": deadline + 5 * 3600, "p95_duration_s": 4 * 3600.0}))
    assert json.loads(e2s("plan", "long", "--json")[1])["start"] < (nights + 2 * HOUR).isoformat()
    remember(run_of("late", 1, 60.0, 1.0, POLICY | {"deadline": 1000.0}))
    code, _, err = e2s("plan", "late")
    assert code == 1
    assert "The deadline 1970-01-01 00:16 UTC has passed" in err


def test_a_flow_that_has_run_too_seldom_needs_a_length_or_a_policy(e2s, nights):
    remember(run_of("rare", 1, 60.0, 1.0))
    assert "fewer than five runs of rare have completed" in e2s("plan", "rare", "--zone", "GB")[2]
    remember(run_of("rare", 2, 60.0, 1.0, POLICY))
    assert json.loads(e2s("plan", "rare", "--json")[1])["duration_s"] == 3600


def test_a_flow_without_a_policy_is_planned_for_the_zone_that_its_latest_run_looked_at(e2s, nights):
    span, decision = run_of("free", 1, 60.0, 1.0)
    remember([span, replace(decision, zone="DE")], run_of("free", 2, 60.0, 1.0))
    arguments = ("plan", "free", "--duration", "1h", "--json")
    assert json.loads(e2s(*arguments)[1])["zone"] == "GB"
    remember([run_of("nowhere", 1, 60.0, 1.0)[0]])
    code, _, err = e2s("plan", "nowhere", "--duration", "1h")
    assert (code, err.startswith("e2s: No zone: give one with --zone")) == (1, True)
    assert "No run of nowhere had one, for which tags beside e2s:no-carbon do not count" in err


def test_a_policy_that_could_not_be_used_is_told_with_why(e2s, tmp_path):
    remember(run_of("unlearned", 1, 60.0, 1.0, {"zone": "GB", "max_delay_s": 3600.0, "deadline": None}))
    assert "and its policy says no expected_duration): give --duration" in e2s("plan", "unlearned")[2]
    remember(run_of("lost", 1, 60.0, 1.0, POLICY | {"zone": "Atlantis"}))
    assert "Unknown grid zone 'Atlantis': use a country code" in e2s("plan", "lost")[2]


def test_an_unknown_flow_is_told_with_those_that_have_run(e2s, nights):
    remember(run_of("heavy", 1, 60.0, 1.0))
    assert e2s("plan", "haevy")[2].endswith("Did you mean heavy?\n")
    assert "These have run: heavy." in e2s("plan", "zzz")[2]


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SLOTS = [Slot(NOON + index * HOUR, NOON + (index + 1) * HOUR, value) for index, value in enumerate((400, 100, 200))]


def drawn(begin=NOON, end=NOON + 3 * HOUR, window=(NOON + HOUR, NOON + 2 * HOUR), width=20, slots=SLOTS):
    return chart(slots, begin, end, window, width).plain.split("\n")


def test_columns_are_as_high_as_the_intensity_and_the_window_is_marked():
    rows = drawn()
    assert [row[7:] for row in rows[:5]] == [
        "████" + " " * 8, "████" + " " * 8, "████    ▄▄▄▄", "████▂▂▂▂████", "█" * 12,
    ]  # fmt: skip
    assert rows[5].rstrip() == " " * 11 + "▔▔▔▔"
    assert rows[6].startswith(" " * 7 + "12:00")
    assert rows[0].startswith("  400 ┤")
    assert rows[4].startswith("    0 ┤")


def test_a_window_shorter_than_a_column_is_marked_and_named_where_there_is_room():
    rows = drawn(width=80, window=(NOON + 2.9 * HOUR, NOON + 2.9 * HOUR + timedelta(seconds=1)))
    assert rows[5].count("▔") == 1
    wide = [Slot(NOON + index * HOUR, NOON + (index + 1) * HOUR, 100.0) for index in range(24)]
    late = drawn(end=NOON + 24 * HOUR, width=80, slots=wide, window=(NOON + 23 * HOUR, NOON + 24 * HOUR))
    assert late[5].strip() == "the run ▔▔▔"
    assert all(len(row) <= 80 for row in late)


def test_a_gap_is_a_dot_at_the_bottom():
    rows = drawn(slots=[SLOTS[0], SLOTS[2]])
    assert rows[4][11:15] == "····"
    assert rows[0][11:15] == "    "
