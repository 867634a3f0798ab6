"""What the exporter shows is what `e2s runs` and `e2s show` show, summed."""

import json
import shutil
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings

from e2s_tasks.core.records import CallRecord, Kind, Status
from e2s_tasks.integrations.cli import main
from e2s_tasks.ledger import Ledger
from e2s_tasks.reporter import summarise_run
from e2s_tasks.settings import settings
from tests.exporter.conftest import Started
from tests.ledger.test_retention import everything, measured_runs
from tests.reporter.runs import NOON, RUN, full_run, outcome, root, run, span

MICRO = 1e-6  # sums are kept in whole micro-joules


def renamed(records, number, flow=None):
    """The same run once more, under ids of its own."""
    suffix = f"-{number}"
    spans = [
        replace(
            one, id=one.id + suffix, run_id=RUN + suffix, flow_run_id=RUN + suffix,
            parent_id=one.parent_id and one.parent_id + suffix,
            task_run_id=one.task_run_id and one.task_run_id + suffix,
            name=flow if flow and one.kind == Kind.FLOW else one.name, started_at=one.started_at + 60 * number,
            ended_at=one.ended_at and one.ended_at + 60 * number, attributes={**one.attributes},
        )
        for one in records.spans
    ]  # fmt: skip
    decisions = [replace(one, id=one.id + suffix, run_id=RUN + suffix) for one in records.decisions]
    outcomes = [
        replace(one, id=one.id + suffix, run_id=RUN + suffix, span_id=one.span_id + suffix) for one in records.outcomes
    ]
    return [*records.processes, *spans, *decisions, *outcomes]


@pytest.fixture
def e2s(capsys):
    def answer(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        assert not ended.value.code, err
        return json.loads(out)

    return answer


def test_the_sums_are_those_of_the_runs_and_summaries(ledger, start, e2s):
    for number in range(3):
        ledger.ingest(renamed(full_run(), number, flow="other-flow" if number == 2 else None))
    shown = start()()
    runs = e2s("runs", "--json")["runs"]
    summaries = [e2s("show", one["id"], "--json") for one in runs]
    for flow in ("flight-delays", "other-flow"):
        mine = [one for one in summaries if one["flow_run"]["flow"] == flow]
        expected = sum(one["energy_j"] for one in runs if one["flow"] == flow)
        assert shown.one("e2s_energy_joules_total", flow=flow) == pytest.approx(expected, abs=MICRO)
        for component in ("cpu", "dram", "static", "storage"):
            expected = sum(one["energy_j"][component] for one in mine)
            found = shown.one("e2s_energy_joules_total", flow=flow, component=component)
            assert found == pytest.approx(expected, abs=MICRO)
            label = mine[0]["provenance"][component]
            assert shown.one("e2s_energy_joules_total", flow=flow, component=component, provenance=label) == found
        for consumer in mine[0]["consumers"]:
            expected = sum(
                other["inclusive_j"] for one in mine for other in one["consumers"] if other["name"] == consumer["name"]
            )
            found = shown.one("e2s_energy_joules_total", flow=flow, step=consumer["name"])
            assert (found or 0.0) == pytest.approx(expected, abs=MICRO)
        for name, path in (
            ("e2s_failed_energy_joules_total", "unsuccessful_j"),
            ("e2s_waiting_energy_joules_total", "waiting_j"),
        ):
            assert shown.one(name, flow=flow) == pytest.approx(sum(one[path] for one in mine), abs=MICRO)
        expected = sum(one["emissions_g"]["total"] for one in mine)
        assert shown.one("e2s_emissions_grams_total", flow=flow) == pytest.approx(expected, abs=1e-8)
        last = max(mine, key=lambda one: one["flow_run"]["started_at"])
        assert shown.one("e2s_last_run_energy_joules", flow=flow) == pytest.approx(last["energy_j"]["total"])
        for kpi in last["kpis"].values():
            assert shown.one("e2s_last_run_kpi", flow=flow, kpi=kpi["name"]) == kpi["value"]
    assert shown.one("e2s_runs", status="completed") == 3
    assert shown.one("e2s_avoided_energy_joules_total") is None  # nobody knows what made the reused result


def test_a_component_that_no_source_tells_is_absent_and_counted_as_a_gap(ledger, start):
    records = run(root(cpu_j=None, dram_j=1.0))
    ledger.ingest([*records.processes, *records.spans])
    shown = start()()
    assert shown.labels("e2s_energy_joules_total", "component") == {"dram"}
    assert shown.one("e2s_gap_spans", component="cpu") == 1
    assert shown.one("e2s_runs_without_emissions", flow="flight-delays") == 1
    assert "e2s_emissions_grams_total" not in shown


def test_what_a_flow_had_none_of_yet_is_0_so_that_the_first_is_an_increase(ledger, start):
    records = run(root())
    ledger.ingest([*records.processes, *records.spans])
    scrape = start()
    shown = scrape()
    assert shown.one("e2s_gap_spans", flow="flight-delays", component="gpu") == 0
    assert shown.one("e2s_runs", flow="flight-delays", status="crashed") == 0
    assert shown.one("e2s_avoided_emissions_grams", flow="flight-delays") == 0
    ledger.ingest([replace(root(status="crashed"), id="root2", run_id="r2", flow_run_id="r2")])
    assert scrape().one("e2s_runs", flow="flight-delays", status="crashed") == 1


def test_what_a_reused_result_had_cost_is_avoided(ledger, start):
    made = run(root(), span("a", result_key="k", cpu_j=7.0, task_run_id="t"))
    again = [
        replace(root(), id="root2", run_id="r2", flow_run_id="r2", started_at=NOON + 99, ended_at=NOON + 100),
        span("b", run_id="r2", flow_run_id="r2", parent_id="root2", status=Status.CACHED, result_key="k",
             started_at=NOON + 99, cpu_j=0.0),
    ]  # fmt: skip
    ledger.ingest([*made.processes, *made.spans, *again])
    assert start()().one("e2s_avoided_energy_joules_total") == 7.0


def test_the_energy_of_a_stage_is_under_its_solution(ledger, start):
    records = run(root(cpu_j=1.0, solution="churn"), span("a", cpu_j=5.0, stage="training", solution="churn"))
    ledger.ingest([*records.processes, *records.spans])
    shown = start()()
    assert shown.one("e2s_stage_energy_joules_total", solution="churn", stage="training") == 5.0
    assert shown.one("e2s_stage_energy_joules_total", solution="churn") == 6.0


def test_a_run_that_another_had_started_is_its_starters_once_that_is_known(ledger, start):
    parent = [root(cpu_j=1.0)]
    child = replace(root(cpu_j=4.0), id="c", run_id="c", flow_run_id="c", name="child", started_at=NOON + 1)
    ledger.ingest([*run().processes, *parent, child])
    scrape = start()
    assert scrape().one("e2s_runs") == 2
    ledger.ingest([CallRecord("c", RUN)])
    shown = scrape()
    assert shown.one("e2s_runs") == 1
    assert shown.one("e2s_energy_joules_total", flow="flight-delays") == 5.0


def test_a_run_whose_starter_is_written_down_after_it_counts_once(ledger, start):
    child = replace(root(cpu_j=4.0), id="c", run_id="c", flow_run_id="c", name="child", started_at=NOON + 1)
    ledger.ingest([*run().processes, child, CallRecord("c", RUN)])
    scrape = start()
    assert scrape().one("e2s_energy_joules_total", flow="child") == 4.0
    ledger.ingest([root(cpu_j=1.0)])
    shown = scrape()
    assert shown.one("e2s_runs") == 1
    assert shown.one("e2s_energy_joules_total", flow="flight-delays") == 5.0
    assert scrape.exporter.runs == 1


def test_the_kpis_of_a_flows_last_completed_run_are_shown_and_a_failed_one_does_not_replace_them(ledger, start):
    done = run(root(cpu_j=80.0), span("p", cpu_j=20.0), outcomes=[outcome("p")])
    ledger.ingest([*done.processes, *done.spans, *done.outcomes])
    scrape = start()
    assert scrape().one("e2s_last_run_kpi", kpi="joules_per_prediction") == 1.0
    failed = replace(root(cpu_j=3.0), id="x", run_id="x", flow_run_id="x", status=Status.FAILED, started_at=NOON + 50)
    ledger.ingest([failed])
    shown = scrape()
    assert shown.one("e2s_last_run_kpi", kpi="joules_per_prediction") == 1.0
    assert shown.one("e2s_runs", status="failed") == 1


def test_the_figures_of_a_flows_last_run_say_where_they_are_bounds(ledger, start):
    closed = run(root(cpu_j=80.0, dram_j=1.0, static_j=1.0), outcomes=[outcome("root")])
    lacking = replace(closed.spans[0], attributes={"gaps": ["cpu"]})
    ledger.ingest([*renamed(closed, 1), *renamed(replace(closed, spans=[lacking]), 2, flow="other")])
    shown = start()()
    for flow, bound in (("flight-delays", 0), ("other", 1)):
        assert shown.one("e2s_last_run_lower_bound", flow=flow) == bound
        assert shown.one("e2s_last_run_kpi_bound", flow=flow, kpi="joules_per_prediction") == bound
        assert shown.one("e2s_last_run_kpi_bound", flow=flow, kpi="prediction_per_joule") == -bound


@pytest.mark.slow
@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(measured_runs())
def test_over_random_runs_the_steps_add_up_to_the_run(data_dir, records):
    shutil.rmtree(data_dir, ignore_errors=True)  # a new ledger, which nothing is remembered of
    ledger = Ledger.open(settings().ledger)
    ledger.ingest(everything(records))
    shown = Started()()
    summary = summarise_run(ledger, records.run_id)
    assert (shown.one("e2s_energy_joules_total") or 0.0) == pytest.approx(summary["energy_j"]["total"] or 0.0, abs=1e-3)
    for one in summary["consumers"]:
        found = shown.one("e2s_energy_joules_total", step=one["name"])
        assert (found or 0.0) == pytest.approx(one["inclusive_j"], abs=1e-3)
