"""What the grid was like while a run used its energy, and what its waiting avoided."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.core.emissions import Intensities, intensities
from e2s_tasks.core.records import MOVED, DecisionRecord, Kind, OutcomeRecord, VersionRecord
from e2s_tasks.reporter import chart, markdown, phrases, waiting
from e2s_tasks.reporter.summary import summarise
from tests.reporter.runs import RUN, root, run, span

KWH = 3.6e6
HOUR = 3600.0


def decision(at, slots, *, start=None, expected=None, run_now=None, **plan):
    return DecisionRecord(
        f"d{at}", RUN, at, "average, direct", "somebody", "why", "GB", 500.0, start, None, expected, run_now,
        {"slots": slots, **plan},
    )  # fmt: skip


def hours(*values, begin=0.0):
    return [[begin + i * HOUR, begin + (i + 1) * HOUR, value] for i, value in enumerate(values)]


def test_each_span_meets_the_intensity_of_its_own_time_slots():
    spans = [
        root(cpu_j=0.0, started_at=0.0, ended_at=2 * HOUR),
        span("early", cpu_j=KWH, started_at=0.0, ended_at=HOUR),
        span("late", cpu_j=KWH, started_at=HOUR, ended_at=2 * HOUR),
        span("both", cpu_j=2 * KWH, started_at=0.5 * HOUR, ended_at=1.5 * HOUR),
    ]
    summary = summarise(run(*spans, decisions=[decision(0.0, hours(100, 300))]))
    assert summary["emissions_g"]["total"] == pytest.approx(100 + 300 + 2 * 200)


def test_an_artifact_has_the_emissions_of_its_own_steps_at_their_own_times_with_its_share_of_the_flow():
    spans = [
        root(cpu_j=KWH, started_at=0.0, ended_at=2 * HOUR),
        span("early", cpu_j=KWH, started_at=0.0, ended_at=HOUR),
        span("late", cpu_j=3 * KWH, started_at=HOUR, ended_at=2 * HOUR),
    ]
    versions = [VersionRecord(uri, uri, of, RUN, HOUR) for uri, of in (("morning.csv", "early"), ("noon.csv", "late"))]
    summary = summarise(run(*spans, versions=versions, decisions=[decision(0.0, hours(100, 300))]))
    found = {one["uri"]: one["emissions_g"] for one in summary["artifacts"]}
    assert found == {"morning.csv": pytest.approx(100 + 200 / 4), "noon.csv": pytest.approx(900 + 200 * 3 / 4)}
    assert sum(found.values()) == pytest.approx(summary["emissions_g"]["total"])
    loaded = {one["uri"]: one["fully_loaded_g"] for one in summary["artifacts"]}
    assert loaded == found


def test_what_was_observed_counts_before_any_forecast_and_a_later_forecast_before_an_earlier_one():
    known = intensities([
        decision(0.0, hours(1, 2, 3)),
        decision(10.0, hours(20, 30, begin=HOUR)),
        decision(5.0, hours(900), observed=True),
    ])  # fmt: skip
    assert [known.mean((i * HOUR, (i + 1) * HOUR)) for i in range(3)] == [900, 20, 30]
    assert known.observed_part(0.0, 2 * HOUR) == 0.5


UNKNOWN = DecisionRecord(
    "unknown", RUN, 9.0, "missing", "none", "nobody knows it", "XX-NOWHERE", plan={"rung": "nothing"}
)
AVERAGE = DecisionRecord(
    "average",
    RUN,
    8.0,
    "average",
    "yearly average",
    "no forecast",
    "FR",
    50.0,
    plan={"rung": "average", "slots": hours(50)},
)
NO_ZONE = DecisionRecord(
    "no zone", RUN, 7.0, "average, direct", "a trace", "no policy", None, 70.0, plan={"rung": "trace"}
)


def test_the_figures_name_the_zone_and_source_of_the_intensity_that_they_use():
    spans = [root(cpu_j=0.0, started_at=0.0, ended_at=HOUR), span("t", cpu_j=KWH, started_at=0.0, ended_at=HOUR)]
    known = decision(0.0, hours(100), start=0.0)
    for others in ([UNKNOWN], [AVERAGE], [NO_ZONE], [UNKNOWN, AVERAGE, NO_ZONE]):
        summary = summarise(run(*spans, decisions=[known, *others]))
        found = summary["emissions_g"]
        assert (found["zone"], found["source"], found["signal"]) == ("GB", "somebody", "average, direct")
        assert found["total"] == found["intensity_gco2eq_per_kwh"] == pytest.approx(100)
    assert summarise(run(*spans, decisions=[known, UNKNOWN]))["carbon"]["source"] == "somebody"


def test_of_two_zones_the_newest_decision_holds_and_the_hours_of_the_other_do_not_mix_in():
    spans = [root(cpu_j=0.0, started_at=0.0, ended_at=2 * HOUR), span("t", cpu_j=KWH, started_at=0, ended_at=2 * HOUR)]
    other = replace(decision(5.0, hours(300)), zone="FR")
    found = summarise(run(*spans, decisions=[decision(0.0, hours(100, 200)), other]))["emissions_g"]
    assert (found["zone"], found["total"]) == ("FR", pytest.approx(300))


@pytest.mark.parametrize(
    ("decisions", "zone", "grams"),
    [([AVERAGE], "FR", 50), ([AVERAGE, UNKNOWN], "FR", 50), ([UNKNOWN], "XX-NOWHERE", None)],
)
def test_an_average_holds_where_nothing_better_is_known_and_nothing_only_alone(decisions, zone, grams):
    summary = summarise(run(root(cpu_j=KWH, started_at=0.0, ended_at=HOUR), decisions=decisions))
    assert (summary["emissions_g"]["zone"], summary["emissions_g"]["total"]) == (zone, grams)


def test_a_time_that_no_slot_covers_has_the_intensity_of_the_nearest():
    known = intensities([decision(0.0, [[0.0, HOUR, 100.0], [3 * HOUR, 4 * HOUR, 200.0]])])
    assert known.mean((-9 * HOUR, -8 * HOUR)) == 100
    assert known.mean((HOUR, 2 * HOUR)) == 100
    assert known.mean((2 * HOUR, 9 * HOUR)) == 200
    assert Intensities(otherwise=42.0).mean((0.0, 1.0)) == 42
    assert Intensities().mean((0.0, 1.0)) is None


@given(
    st.lists(st.floats(1, 1000), min_size=1, max_size=10),
    st.floats(0, 10 * HOUR),
    st.floats(0, 5 * HOUR),
    st.floats(0, 5 * HOUR),
)
def test_the_mean_of_a_whole_lies_between_those_of_its_parts(values, start, one_s, other_s):
    known = intensities([decision(0.0, hours(*values))])
    whole = known.mean((start, start + one_s + other_s))
    parts = [known.mean((start, start + one_s)), known.mean((start + one_s, start + one_s + other_s))]
    assert min(parts) * (1 - 1e-3) <= whole <= max(parts) * (1 + 1e-3)


def moved_run(**changes):
    """Arrived at 0, would have met 200; moved to the third hour, which had 100 where 90 was expected."""
    given = {"start": 2 * HOUR, "expected": 90.0, "run_now": 210.0, "arrived": 0.0} | changes
    decisions = [
        decision(1.0, hours(210, 210, 90), **given),
        decision(2 * HOUR, hours(100, begin=2 * HOUR), start=2 * HOUR, arrived=0.0),
        decision(3 * HOUR, hours(200, 200, 100), observed=True),
    ]
    spans = [
        span("life 1", Kind.FLOW, cpu_j=KWH / 100, started_at=1.0, ended_at=10.0, status="suspended"),
        span("life 2", Kind.FLOW, cpu_j=KWH, started_at=2 * HOUR, ended_at=3 * HOUR),
    ]
    return summarise(run(*spans, decisions=decisions))


def test_what_waiting_avoided_is_told_beside_what_was_expected():
    summary = moved_run()
    waited = summary["waited"]
    assert waited["waited_s"] == 2 * HOUR
    assert waited["avoided_g"] == pytest.approx(1.01 * (200 - 100))
    assert waited["predicted_avoided_g"] == pytest.approx(1.01 * (210 - 90))
    assert waited["observed_part"] == 1
    text = waiting.carbon(summary)
    for part in ("instead of 00:00 UTC: 100 instead of 200", "as observed", "101 g CO2eq avoided", "121 g"):
        assert part in text
    assert "waited 2 h" in waiting.waited(summary)


def test_a_process_that_only_moved_its_run_is_waiting_and_part_of_no_artifact():
    spans = [
        span(
            "life 1", Kind.FLOW, cpu_j=KWH, started_at=0.0, ended_at=10.0, status="suspended", attributes={MOVED: True}
        ),
        root(cpu_j=KWH, started_at=2 * HOUR, ended_at=3 * HOUR),
        span("work", cpu_j=KWH, started_at=2 * HOUR, ended_at=3 * HOUR),
    ]
    decisions = [decision(0.0, hours(200, 200, 100), start=2 * HOUR, expected=100.0, run_now=200.0, arrived=0.0)]
    versions = [VersionRecord("v", "out.csv", "work", RUN, 3 * HOUR)]
    summary = summarise(run(*spans, decisions=decisions, versions=versions))
    assert summary["waiting_j"] == KWH
    assert summary["energy_j"]["total"] == 3 * KWH
    assert summary["artifacts"][0]["in_run_j"] == 2 * KWH
    assert summary["steps"][0]["name"] == "moving to a cleaner hour"
    assert summary["waited"]["waiting_g"] == pytest.approx(200)
    assert summary["waited"]["avoided_g"] == pytest.approx(2 * (200 - 100) - 200)


def test_a_run_that_was_given_back_to_wait_goes_on_and_waits_until_its_start():
    first = root(cpu_j=KWH, started_at=0.0, ended_at=1.0, status="suspended")
    decisions = [decision(0.0, hours(200, 200, 100), start=2 * HOUR, expected=100.0, run_now=200.0, arrived=0.0)]
    summary = summarise(run(first, decisions=decisions))
    assert waiting.waited(summary).startswith("waits for a cleaner grid until 02:00 UTC")
    assert waiting.carbon(summary).startswith("waits for a cleaner grid until 02:00 UTC, instead of beginning")
    assert phrases.title(summary).endswith(": waiting")
    assert "so far" in phrases.energy(summary)


def test_a_run_that_was_suspended_after_its_wait_waits_for_no_cleaner_grid():
    first = root(cpu_j=KWH, started_at=0.0, ended_at=3 * HOUR, status="suspended")
    waited = span("waiting", Kind.WAIT, cpu_j=KWH, started_at=0.0, ended_at=2 * HOUR)
    decisions = [decision(0.0, hours(200, 200, 100), start=2 * HOUR, expected=100.0, run_now=200.0, arrived=0.0)]
    assert waiting.still_waits(summarise(run(first, waited, decisions=decisions))) is None


@pytest.mark.parametrize("status", ["cancelled", "crashed", "running"])
def test_a_run_that_ended_while_it_waited_has_not_begun_and_avoided_nothing(status):
    spans = [
        root(cpu_j=KWH, started_at=0.0, ended_at=HOUR, status=status),
        span("waiting", Kind.WAIT, cpu_j=KWH, started_at=0.0, ended_at=HOUR, status=status),
    ]
    decisions = [decision(0.0, hours(200, 200, 100), start=2 * HOUR, expected=100.0, run_now=200.0, arrived=0.0)]
    summary = summarise(run(*spans, decisions=decisions))
    waited = summary["waited"]
    assert waited["arrived_at"] == "1970-01-01T00:00:00+00:00"
    assert (waited["began_at"], waited["avoided_g"], waited["waited_s"]) == (None, None, None)
    assert waited.keys() == moved_run()["waited"].keys()
    if status == "running":
        assert waiting.waited(summary).startswith("waits for a cleaner grid until 02:00 UTC")
        assert waiting.carbon(summary).startswith("waits for a cleaner grid until 02:00 UTC, instead of beginning")
    else:
        assert waiting.waited(summary).startswith("has not begun")
        assert "was to begin at 02:00 UTC instead of 00:00 UTC, and has not begun" in waiting.carbon(summary)


def test_a_run_that_did_not_wait_says_nothing_of_it():
    assert moved_run(start=None)["waited"] is None
    plain = summarise(run(root(cpu_j=KWH), decisions=[decision(0.0, hours(100), start=0.0, arrived=0.0)]))
    assert plain["waited"] is None


def test_what_waited_in_its_process_emitted_by_the_grid_of_its_work_and_all_of_it_adds_up():
    spans = [
        root(cpu_j=KWH, started_at=0.0, ended_at=3 * HOUR),
        span("waiting", Kind.WAIT, cpu_j=3 * KWH, started_at=0.0, ended_at=2 * HOUR),
        span("work", cpu_j=KWH, started_at=2 * HOUR, ended_at=3 * HOUR),
    ]
    decisions = [decision(0.0, hours(200, 200, 100), start=2 * HOUR, expected=100.0, run_now=200.0, arrived=0.0)]
    versions = [VersionRecord("v", "out.csv", "work", RUN, 3 * HOUR)]
    outcomes = [OutcomeRecord("o", RUN, "work", 3 * HOUR, "row", 10)]
    summary = summarise(run(*spans, decisions=decisions, versions=versions, outcomes=outcomes))
    assert summary["artifacts"][0]["emissions_g"] == pytest.approx(2 * 100)
    assert summary["emissions_g"]["total"] == pytest.approx(2 * 100 + 3 * 200)
    assert summary["kpis"]["carbon_per_row"]["value"] == pytest.approx(2 * 100 / 10)


def test_a_life_that_crashed_before_the_run_was_moved_is_not_its_work():
    spans = [
        span("life 0", Kind.FLOW, cpu_j=1.0, started_at=0.0, ended_at=5.0, status="crashed"),
        span("life 1", Kind.FLOW, cpu_j=1.0, started_at=10.0, ended_at=15.0, status="suspended"),
        span("life 2", Kind.FLOW, cpu_j=KWH, started_at=2 * HOUR, ended_at=3 * HOUR),
    ]
    decisions = [decision(11.0, hours(200, 200, 100), start=2 * HOUR, expected=100.0, run_now=200.0, arrived=0.0)]
    assert summarise(run(*spans, decisions=decisions))["waited"]["waited_s"] == 2 * HOUR


def test_a_run_that_was_late_and_told_not_to_wait_did_not_wait():
    spans = [root(cpu_j=KWH, started_at=60.0, ended_at=HOUR)]
    decisions = [decision(61.0, hours(200, 200, 100), start=2 * HOUR, expected=100.0, run_now=200.0, arrived=0.0)]
    summary = summarise(run(*spans, decisions=decisions))
    assert summary["waited"] is None
    assert "would have saved 50 %" in waiting.carbon(summary)
    moved = [decision(-60.0, hours(200, 200, 100), start=60.0, expected=100.0, run_now=200.0, arrived=-HOUR)]
    assert summarise(run(*spans, decisions=moved))["waited"] is not None


def test_waiting_in_the_process_is_paid_for_by_what_it_avoids():
    spans = [
        root(cpu_j=KWH, started_at=0.0, ended_at=3 * HOUR),
        span("waiting", Kind.WAIT, cpu_j=KWH, started_at=0.0, ended_at=2 * HOUR),
    ]
    decisions = [decision(0.0, hours(200, 200, 100), start=2 * HOUR, expected=100.0, run_now=200.0, arrived=0.0)]
    waited = summarise(run(*spans, decisions=decisions))["waited"]
    assert waited["waiting_g"] == pytest.approx(200)
    assert waited["avoided_g"] == pytest.approx(1 * (200 - 100) - 200)


def test_the_page_shows_the_grid_that_was_looked_at_with_the_run_in_it():
    summary = moved_run()
    curve = summary["carbon"]["curve"]
    assert [one["gco2eq_per_kwh"] for one in curve] == [200, 200, 100]  # as observed
    assert curve[0]["start"] == "1970-01-01T00:00:01+00:00"
    page = markdown.render(summary)
    assert "#### The grid, with the run in orange" in page
    assert page.count("![Carbon intensity](data:image/svg+xml;base64,") == 1
    svg = chart.curve([(0.0, 1.0, 50.0), (1.0, 2.0, 200.0)], (0.5, 1.5), ("00:00", "<b>"))
    assert svg.count("<rect") == 1 + 4  # the paper, and the slots
    assert "50.0 to 200 gCO2eq/kWh" in svg
    assert "&lt;b&gt;" in svg


def test_without_the_hours_to_come_there_is_no_curve():
    plain = summarise(run(root(cpu_j=KWH), decisions=[decision(0.0, [])]))
    assert plain["carbon"]["curve"] == []
    assert "The grid" not in markdown.render(plain)


def test_what_waiting_itself_used_is_told_beside_what_had_been_expected():
    begun, end = 3 * HOUR, 4 * HOUR
    spans = [
        root(cpu_j=0.0, started_at=0.0, ended_at=end),
        span("w", Kind.WAIT, started_at=0.0, ended_at=begun, cpu_j=KWH / 100),
        span("a", started_at=begun, ended_at=end, cpu_j=KWH),
    ]
    decided = decision(0.0, hours(300, 300, 300, 100), start=begun, expected=100.0, run_now=300.0, arrived=0.0)
    said = waiting.carbon(summarise(run(*spans, decisions=[decided])))
    assert "avoided, without the 3.00 g of waiting itself" in said
