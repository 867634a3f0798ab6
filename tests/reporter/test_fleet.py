"""All runs of a period together: the sums of their summaries, read in another way."""

import os
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from e2s_tasks.core.energy import COMPONENTS, add
from e2s_tasks.core.records import Kind, ProcessRecord, SourceRecord, SpanRecord, Status
from e2s_tasks.ledger import Ledger
from e2s_tasks.reporter import solution_kpis, summarise_run, units
from e2s_tasks.reporter.fleet import fleet
from e2s_tasks.reporter.html import fleet_page
from e2s_tasks.reporter.stages import rows
from tests.reporter.runs import NOON, RUN, decision, full_run, outcome, process, root, run, span

DAY = 86_400.0
UNTOLD = {"seq", "task_key", "cpu_ns", "shared_cpu_ns", "bytes_read", "bytes_written", "rows", "other_j",
          "idle_j", "attributes"}  # fmt: skip
HOURS = [[NOON + 3600 * n, NOON + 3600 * (n + 1), 300.0 - 40 * n] for n in range(5)]


def moved(records, name, later):
    """The same records as another run, some seconds later."""
    ids = {one.id: f"{name}-{one.id}" for one in records.spans}

    def at(moment):
        return None if moment is None else moment + later

    spans = [
        replace(
            one, id=ids[one.id], run_id=name, flow_run_id=name, parent_id=ids.get(one.parent_id),
            started_at=one.started_at + later, ended_at=at(one.ended_at),
        )
        for one in records.spans
    ]  # fmt: skip
    outcomes = [replace(one, id=f"{name}-{one.id}", run_id=name, span_id=ids[one.span_id]) for one in records.outcomes]
    plans = [shifted(one.plan, later) for one in records.decisions]
    decisions = [
        replace(
            one, id=f"{name}-{one.id}", run_id=name, at=one.at + later, start=at(one.start), end=at(one.end), plan=plan
        )
        for one, plan in zip(records.decisions, plans, strict=True)
    ]
    return [*spans, *outcomes, *decisions]


def shifted(plan, later):
    """A plan some seconds later."""
    found = dict(plan)
    if "arrived" in plan:
        found["arrived"] = plan["arrived"] + later
    if "slots" in plan:
        found["slots"] = [[begin + later, end + later, intensity] for begin, end, intensity in plan["slots"]]
    return found


def waiting_run():
    """A run that waited three hours for cleaner ones, and worked over the change of one into the next."""
    begun = NOON + 3 * 3600 - 60
    return run(
        root(
            started_at=NOON, ended_at=begun + 200, cpu_j=8.0, attributes={"declared": {"pue": 1.5}}, solution="scoring"
        ),
        span("w", Kind.WAIT, "wait", started_at=NOON, ended_at=begun, cpu_j=1.0),
        span("a", name="score", started_at=begun, ended_at=begun + 190, cpu_j=400.0, stage="inference", attempt=1),
        outcomes=[outcome("a")],
        decisions=[decision(start=begun, end=begun + 200, plan={"rung": "service", "slots": HOURS, "arrived": NOON})],
    )


def failed_run():
    """A run in a process with a sensor that fails within a nested flow, and lacks a part."""
    return run(
        root(status=Status.FAILED, cpu_j=2.0, process_id="p2"),
        span("sub", Kind.FLOW, "inner", parent_id="root", cpu_j=1.0, process_id="p2"),
        span("x", name="load", parent_id="sub", cpu_j=30.0, status=Status.FAILED, process_id="p2", attempt=1),
        span("y", Kind.SPAN, "inside", parent_id="x", cpu_j=7.0, process_id="p2"),
        span("z", Kind.SPAN, "of the body", parent_id="sub", process_id="p2", attributes={"gaps": ["cpu"]}),
    )


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    records, sensed = full_run(), [SourceRecord("cpu", "RAPL", "measured")]
    opened.ingest([process(), ProcessRecord("p2", "host", "boot", 43, 1, NOON, "dedicated", sensed)])
    opened.ingest([*records.spans, *records.versions, *records.outcomes, *records.decisions])
    opened.ingest(moved(waiting_run(), "waiting", DAY))
    opened.ingest(moved(waiting_run(), "waiting again", 2 * DAY))
    opened.ingest(moved(failed_run(), "failed", 2 * DAY + 60))
    opened.ingest(moved(full_run(), "too early", -DAY))
    return opened


NAMES = (RUN, "waiting", "waiting again", "failed")


@pytest.fixture
def found(ledger):
    return fleet(ledger, NOON - 1, NOON + 4 * DAY)


@pytest.fixture
def summaries(ledger):
    return [summarise_run(ledger, name) for name in NAMES]


def test_the_totals_are_the_sums_of_the_runs_own(found, summaries):
    assert found["runs"] == len(NAMES)
    assert found["statuses"] == {"completed": 3, "failed": 1}
    for name, figure in (
        ("energy_j", [one["energy_j"]["total"] for one in summaries]),
        ("emissions_g", [one["emissions_g"]["total"] for one in summaries]),
        ("unsuccessful_j", [one["unsuccessful_j"] for one in summaries]),
        ("waiting_j", [one["waiting_j"] for one in summaries]),
        ("avoided_g", [(one["waited"] or {}).get("avoided_g") for one in summaries]),
        ("predicted_avoided_g", [(one["waited"] or {}).get("predicted_avoided_g") for one in summaries]),
        ("lower_bounds", [bool(one["gaps"]) for one in summaries]),
    ):
        assert found[name] == pytest.approx(add(figure)), name
    assert found["without_emissions"] == 1
    assert found["waited_runs"] == 2
    assert found["avoided_g"] > 0


BY_SEVERAL = f"""
import resource
from e2s_tasks.ledger import Ledger
from e2s_tasks.reporter import fleet_runs
from e2s_tasks.reporter.fleet import fleet

fleet_runs.MANY = 2
ledger, period = Ledger.open(), ({NOON - 1}, {NOON + 4 * DAY})
assert fleet(ledger, *period, processes=3) == fleet(ledger, *period)
assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > 0
"""


def test_several_processes_find_what_one_finds(ledger):
    environment = os.environ | {"E2S_LEDGER_URL": ledger.url}
    subprocess.run([sys.executable, "-c", BY_SEVERAL], env=environment, check=True)


def test_what_failed_attempts_used_is_a_lower_bound_wherever_one_lacks_a_part(ledger, found):
    assert [found[key] for key in ("unsuccessful_lower_bound", "lower_bounds")] == [False, 4]
    killed = run(root(cpu_j=1.0, status=Status.CRASHED), span("k", name="load", cpu_j=9.0, attempt=1))
    killed.spans[1] = replace(killed.spans[1], status=Status.CRASHED, attributes={"killed": True})
    ledger.ingest(moved(killed, "killed", 2 * DAY + 90))
    again = fleet(ledger, NOON - 1, NOON + 4 * DAY)
    rows = [again, again["flows"][0], *(row for row in again["steps"] if row["name"] == "load")]
    assert [row["unsuccessful_lower_bound"] for row in rows] == [True, True, True]
    days = {row["from"][-2:]: row["unsuccessful_lower_bound"] for row in again["times"]}
    assert sorted(days.values()) == [False] * (len(days) - 1) + [True]


def test_what_runs_that_failed_used_is_told_with_what_their_successful_attempts_did(found, summaries):
    failed = [one for one in summaries if one["flow_run"]["status"] == "failed"]
    assert found["failed_runs"] == len(failed) == 1
    assert found["failed_runs_j"] == pytest.approx(failed[0]["energy_j"]["total"])
    assert (fleet_page._failed_runs(found) or "").startswith("1 run failed, which used ")


def test_each_run_has_the_figures_of_its_summary(found, summaries):
    by_id = {one["id"]: one for one in found["top_runs"]}
    for summary in summaries:
        row, told = by_id[summary["flow_run"]["id"]], summary["flow_run"]
        assert {key: row[key] for key in told} == told
        assert row["energy_j"] == pytest.approx(summary["energy_j"]["total"])
        assert row["emissions_g"] == pytest.approx(summary["emissions_g"]["total"])
    assert [one["energy_j"] for one in found["top_runs"]] == sorted(one["energy_j"] for one in by_id.values())[::-1]


def test_steps_stages_components_and_times_add_up_as_in_the_summaries(found, summaries):
    steps = {(one["flow"], one["kind"], one["name"]): one["energy_j"] for one in found["steps"]}
    expected = {}
    for summary in summaries:
        for row in summary["consumers"]:
            key = summary["flow_run"]["flow"], row["kind"], row["name"]
            expected[key] = expected.get(key, 0.0) + row["inclusive_j"]
    assert steps == pytest.approx({key: joules for key, joules in expected.items() if joules})
    assert sum(row["unsuccessful_j"] for row in found["steps"]) == pytest.approx(found["unsuccessful_j"])
    for row in found["components"]:
        assert row["energy_j"] == pytest.approx(add(one["energy_j"][row["component"]] for one in summaries))
    assert {row["component"] for row in found["components"]} == set(COMPONENTS)
    for key in ("stages", "times", "flows", "solutions"):
        assert sum(row["energy_j"] or 0.0 for row in found[key]) == pytest.approx(found["energy_j"]), key
    of_runs = [{row["stage"]: row["energy_j"] for row in one["stages"]} for one in summaries if one["stages"]]
    lower = {row["stage"] for one in summaries for row in one["stages"] if row["lower_bound"]}
    assert next(row for row in found["stages"] if row["stage"] == "inference") == next(
        {**row, "share": row["energy_j"] / found["energy_j"]}
        for row in rows(of_runs, lower)
        if row["stage"] == "inference"
    )


def test_what_the_energy_rests_on_and_its_range_are_those_of_the_runs_together(found, summaries):
    assert found["provenance"]["dram"] == "measured"
    assert found["provenance"]["cpu"] == "modelled"  # it is measured in the failed run alone
    assert found["provenance"]["gpu"] == "missing"
    low, high = found["energy_j_range"]["total"]
    assert low == pytest.approx(sum(one["energy_j_range"]["total"][0] for one in summaries))
    assert (found["lower_bounds"], high) == (4, None)


def test_without_missing_parts_the_range_has_both_ends_and_no_row_is_a_lower_bound(tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    used = {"dram_j": 1.0, "static_j": 1.0, "storage_j": 0.0, "network_j": 0.0}
    whole = run(root(cpu_j=1.0, **used), span("m", name="make", cpu_j=5.0, stage="training", attempt=1, **used))
    ledger.ingest([process(), *moved(whole, "one", 0), *moved(whole, "two", DAY)])
    found = fleet(ledger, NOON - 1, NOON + 2 * DAY)
    bounds = [summarise_run(ledger, name)["energy_j_range"]["total"] for name in ("one", "two")]
    assert found["energy_j_range"]["total"] == pytest.approx([sum(ends) for ends in zip(*bounds, strict=True)])
    assert not any(row["lower_bounds"] for key in ("flows", "solutions", "times") for row in found[key])
    assert not any(row["lower_bound"] for key in ("stages", "steps", "top_runs") for row in found[key])


def test_a_row_is_a_lower_bound_where_a_part_of_what_it_adds_up_is_missing(tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    used = {"cpu_j": 5.0, "dram_j": 1.0, "static_j": 1.0}
    lacks = {**used, "cpu_j": None, "static_j": None}
    records = run(
        root(**used),
        span("m", name="make", stage="training", attempt=1, **used),
        span("i", Kind.SPAN, "inside", parent_id="m", **lacks),
        span("s", name="score", stage="inference", attempt=1, **used),
    )
    whole = run(root(**used), span("s", name="score", stage="inference", attempt=1, **used))
    ledger.ingest([process(), *moved(records, "lacking", 0), *moved(whole, "whole", DAY)])
    found = fleet(ledger, NOON - 1, NOON + 2 * DAY)
    assert {row["name"]: row["lower_bound"] for row in found["steps"]} == {
        "make": True, "score": False, "orchestration and flow body": False,
    }  # fmt: skip
    assert {row["stage"]: row["lower_bound"] for row in found["stages"]} == {
        "training": True, "inference": False, "orchestration": False,
    }  # fmt: skip
    assert [row["lower_bounds"] for row in found["times"]] == [1, 0, 0]
    assert [row["lower_bounds"] for row in found["components"]] == [1, 0, 0, 1, 0, 0, 0]
    summary = summarise_run(ledger, "lacking")
    assert [(row["name"], row["lower_bound"]) for row in summary["steps"]] == [
        ("make", True), ("inside", True), ("score", False), ("orchestration and flow body", False),
    ]  # fmt: skip
    assert {row["name"]: row["lower_bound"] for row in summary["consumers"]}["make"]


def test_what_sensors_told_is_told_apart(found):
    cpu = next(row for row in found["components"] if row["component"] == "cpu")
    dram = next(row for row in found["components"] if row["component"] == "dram")
    assert cpu["measured_j"] == pytest.approx(40.0)  # of the failed run alone
    assert dram["measured_j"] == pytest.approx(dram["energy_j"])


@pytest.mark.parametrize(("days", "by", "rows"), [(4, "day", 5), (200, "week", 30), (3000, "month", 100)])
def test_every_day_week_or_month_of_the_period_is_there_and_a_missing_figure_is_none(ledger, days, by, rows):
    found = fleet(ledger, NOON - 1, NOON + days * DAY)
    begins = [one["from"] for one in found["times"]]
    assert (found["by"], begins) == (by, sorted(set(begins)))
    assert len(begins) == pytest.approx(rows, abs=1)
    assert sum(one["runs"] for one in found["times"]) == found["runs"]
    assert (found["times"][-1]["energy_j"], found["times"][-1]["runs"]) == (None, 0)


def test_the_kpis_are_those_of_the_solution_over_the_period(ledger, found):
    by_name = {one["solution"]: one for one in found["kpis"]}
    assert set(by_name) == {"delay-forecast", "scoring"}
    for name, one in by_name.items():
        assert one == solution_kpis(ledger, name, NOON - 1) | {"all_runs": one["all_runs"]}


def test_of_many_runs_the_kpis_are_those_of_the_latest_and_this_is_told(ledger, monkeypatch):
    monkeypatch.setattr("e2s_tasks.reporter.fleet.KPI_RUNS", 2)
    scoring = next(one for one in fleet(ledger, NOON - 1, NOON + 4 * DAY)["kpis"] if one["solution"] == "scoring")
    assert (sum(scoring["runs"].values()), scoring["all_runs"]) == (1, 2)


def test_a_reused_result_avoided_what_its_producer_had_used(tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    made = run(root(cpu_j=1.0), span("m", name="make", result_key="key", cpu_j=5.0, attempt=1))
    again = run(root(cpu_j=1.0), span("c", name="make", status=Status.CACHED, result_key="key", cpu_j=0.0))
    lost = run(root(cpu_j=1.0), span("c", name="make", status=Status.CACHED, result_key="other", cpu_j=0.0))
    ledger.ingest([process(), *moved(made, "made", 0), *moved(again, "again", DAY), *moved(lost, "lost", DAY)])
    found = fleet(ledger, NOON - 1, NOON + 2 * DAY)
    expected = summarise_run(ledger, "again")["avoided_j"]
    assert (found["cached_task_runs"], found["avoided_j"], found["cached_unknown"]) == (2, expected, 1)


def test_a_retry_of_an_attempt_that_was_suspended_has_its_own_end(tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    stretches = [(1, Status.SUSPENDED), (1, Status.FAILED), (2, Status.SUSPENDED), (2, Status.COMPLETED)]
    spans = [
        span(
            f"s{at}", name="waits", task_run_id="t", attempt=attempt, status=status, started_at=NOON + 5 * at, cpu_j=1.0
        )
        for at, (attempt, status) in enumerate(stretches)
    ]
    ledger.ingest([process(), *moved(run(root(ended_at=NOON + 60), *spans), "retried", 0)])
    found, expected = fleet(ledger, NOON - 1, NOON + DAY), summarise_run(ledger, "retried")
    assert found["unsuccessful_j"] == expected["unsuccessful_j"] == 2.0
    assert found["steps"][0]["unsuccessful_j"] == 2.0


@pytest.mark.parametrize("steps", [9, 10, 15, 16, 17, 42])
def test_the_smaller_steps_have_their_sums_in_the_table_and_in_the_chart(tmp_path, steps):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    used = {"dram_j": 0.0, "static_j": 0.0}
    many = [span(f"s{n:02}", cpu_j=100.0 - n, attempt=1, status=Status.FAILED, **used) for n in range(steps)]
    ledger.ingest([process(), *moved(run(*many), "run", 0)])
    found = fleet(ledger, NOON - 1, NOON + DAY)
    assert found["other_steps"] == (0 if steps <= 16 else steps - 15)
    rest = found["smaller_steps"] or {"energy_j": 0.0, "unsuccessful_j": 0.0, "share": 0.0}
    for name, whole in (("energy_j", found["energy_j"]), ("unsuccessful_j", found["unsuccessful_j"]), ("share", 1.0)):
        assert sum(row[name] for row in found["steps"]) + rest[name] == pytest.approx(whole)
    bars, table = fleet_page._step_bars(found), fleet_page._steps(found)
    assert sum(bar.joules for bar in bars) == pytest.approx(found["energy_j"])
    assert [bar.name for bar in bars if bar.rest] == ([] if steps == 9 else [f"{steps - 8} others"])
    assert table.rows[-1].cells[0] == (f"s{steps - 1:02}" if steps <= 16 else f"{steps - 15} smaller steps")
    assert table.rows[-1].cells[2] == units.joules(rest["energy_j"] or 101.0 - steps)


def test_the_smaller_flows_have_the_same_sum_in_the_table_and_in_the_chart(tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    for number in range(33):
        one = run(replace(root(cpu_j=100.0 - number, dram_j=0.0, static_j=0.0), name=f"flow {number}"))
        ledger.ingest([process(), *moved(one, f"run {number}", number)])
    flows = fleet(ledger, NOON - 1, NOON + DAY)["flows"]
    (*_, others) = fleet_page._groups(flows, "flow", "Flows").rows
    assert others.cells[:4] == ["3 others", "3", "0", "207 J"]
    (*_, rest) = fleet_page._bars(flows, "flow")
    assert (rest.name, rest.joules) == ("25 others", pytest.approx(sum(100.0 - number for number in range(8, 33))))
    assert [bar.rest for bar in fleet_page._bars(flows[:9], "flow")] == [False] * 9


def test_a_period_without_runs_is_empty(ledger):
    found = fleet(ledger, NOON + 30 * DAY, NOON + 31 * DAY)
    assert (found["runs"], found["energy_j"], found["flows"], found["kpis"]) == (0, None, [], [])


def test_the_runs_of_a_period_are_read_as_one_by_one_but_for_what_no_sum_needs(ledger):
    told = [field.name for field in fields(SpanRecord) if field.name not in UNTOLD]
    quickly = list(ledger.in_brief(ledger.period(NOON - 1)))
    assert [one.run_id for one in quickly] == list(NAMES)
    for one in quickly:
        whole = ledger.run(one.run_id)
        assert (one.decisions, one.processes) == (whole.decisions, whole.processes)
        assert [[getattr(span, name) for name in told] for span in one.spans] == [
            [getattr(span, name) for name in told] for span in whole.spans
        ]
        for quick, full in zip(one.spans, whole.spans, strict=True):
            assert quick.attributes in ({}, full.attributes)
            assert quick.is_waiting == full.is_waiting
