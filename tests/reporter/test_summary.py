"""The summary's figures and its shape."""

import json
from dataclasses import replace
from types import NoneType

import pytest

from e2s_tasks.core.records import Kind, SourceRecord, Status, VersionRecord
from e2s_tasks.ledger import Ledger
from e2s_tasks.reporter import phrases, provenance, summarise, waiting
from e2s_tasks.reporter.tally import tally
from tests.reporter.runs import NOON, RUN, SOURCES, decision, full_run, outcome, process, root, run, span

NUMBER, TEXT, FLAG = (int, float, NoneType), (str, NoneType), (bool, NoneType)
ENERGY = dict.fromkeys(("total", "host", "cpu", "dram", "gpu", "static", "storage", "network"), NUMBER)
SHAPE = {
    "schema_version": (int,),
    "flow_run": dict.fromkeys(("id", "name", "flow", "solution", "status", "started_at", "ended_at"), TEXT),
    "energy_j": ENERGY,
    "provenance": dict.fromkeys(("cpu", "dram", "gpu", "static", "storage", "network"), (str,)),
    "not_attributed_j": {"other": NUMBER, "idle": NUMBER},
    "io": dict.fromkeys(("read_bytes", "written_bytes", "unrecorded_read", "unrecorded_written"), NUMBER),
    "unclaimed_j": NUMBER,
    "waiting_j": NUMBER,
    "avoided_j": NUMBER,
    "emissions_g": {"total": NUMBER, "zone": TEXT, "signal": TEXT, "source": TEXT},
    "spans": [
        {
            "id": (str,), "parent_id": TEXT, "kind": (str,), "name": (str,), "attempt": NUMBER, "status": (str,),
            "started_at": (str,), "duration_s": NUMBER, "cpu_s": NUMBER, "exclusive_j": NUMBER, "inclusive_j": NUMBER,
            "energy_j": ENERGY, "bytes_read": NUMBER, "bytes_written": NUMBER,
        }
    ],
    "artifacts": [
        {
            "uri": (str,), "version": NUMBER, "version_id": (str,), "produced_by": TEXT, "in_run_j": NUMBER,
            "fully_loaded_j": NUMBER, "attributed_j": NUMBER, "emissions_g": NUMBER, "lower_bound": FLAG,
        }
    ],
    "kpis": {},
    "carbon": {
        "start": TEXT, "end": TEXT, "expected_gco2eq_per_kwh": NUMBER, "run_now_gco2eq_per_kwh": NUMBER,
        "source": (str,), "reason": (str,),
    },
}  # fmt: skip


def misfits(value, shape, where="summary"):
    """Where the value lacks a field of the shape, or has another type there."""
    if isinstance(shape, dict):
        missing = [f"{where}.{key} is missing" for key in shape if key not in value]
        return missing + [m for key in shape if key in value for m in misfits(value[key], shape[key], f"{where}.{key}")]
    if isinstance(shape, list):
        return [m for i, one in enumerate(value) for m in misfits(one, shape[0], f"{where}[{i}]")]
    return [] if isinstance(value, shape) else [f"{where} is {value!r}"]


def test_the_summary_has_the_documented_shape():
    summary = summarise(full_run())
    assert misfits(summary, SHAPE) == []
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_a_summary_of_almost_nothing_has_the_shape_too():
    summary = summarise(run(span("lonely", run_id="lonely", parent_id=None, flow_run_id=None), processes=[]))
    assert summary.pop("carbon") is None
    assert misfits(summary, {key: shape for key, shape in SHAPE.items() if key != "carbon"}) == []
    assert summary["energy_j"]["total"] is None


def test_every_documented_field_is_there_and_every_field_is_documented():
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "summary.md").read_text(encoding="utf-8")
    summary = summarise(full_run())
    keys = {
        *summary,
        *(key for rows in ("spans", "steps", "artifacts", "sources", "consumers") for key in summary[rows][0]),
    }
    keys |= {*summary["carbon"], *summary["emissions_g"], *next(iter(summary["kpis"].values()))}
    assert [key for key in sorted(keys) if f'"{key}"' not in page] == []


def test_total_is_host_and_movement_and_the_sum_of_all_exclusive_energies():
    summary = summarise(full_run())
    joules = summary["energy_j"]
    assert joules["host"] == pytest.approx(joules["cpu"] + joules["dram"] + joules["static"])
    assert joules["total"] == pytest.approx(joules["host"] + joules["storage"])
    assert sum(one["exclusive_j"] for one in summary["spans"]) == pytest.approx(joules["total"])


def test_a_missing_component_is_null_and_missing():
    summary = summarise(full_run())
    assert summary["energy_j"]["gpu"] is None
    assert summary["energy_j_range"]["gpu"] is None
    assert summary["provenance"]["gpu"] == "missing"


def test_one_modelled_process_makes_a_component_modelled():
    sensors = process([SourceRecord("cpu", "package-0", "measured")])
    model = process([SourceRecord("cpu", "CPU model", "modelled", 0.5, 2.0)])
    model.id = "p2"
    both = run(root(cpu_j=1.0), span("a", cpu_j=1.0, process_id="p2"), processes=[sensors, model])
    assert summarise(both)["provenance"]["cpu"] == "modelled"
    assert summarise(run(root(cpu_j=1.0), processes=[sensors, model]))["provenance"]["cpu"] == "measured"


def test_a_figure_that_no_source_explains_is_not_called_a_measurement():
    assert summarise(run(root(cpu_j=1.0), processes=[]))["provenance"]["cpu"] == "modelled"


def test_a_range_applies_to_what_its_own_process_used():
    sensors = process([SourceRecord("cpu", "package-0", "measured")])
    model = process([SourceRecord("cpu", "CPU model", "modelled", 0.5, 2.0)])
    model.id = "p2"
    both = run(root(cpu_j=10.0), span("a", cpu_j=4.0, process_id="p2"), processes=[sensors, model])
    assert summarise(both)["energy_j_range"]["cpu"] == [12.0, 18.0]


def test_cached_task_runs_alone_do_not_turn_a_missing_component_into_zero():
    cached = span("c", status=Status.CACHED, cpu_j=0.0)
    assert summarise(run(root(), cached, processes=[process([])]))["energy_j"]["cpu"] is None


def test_a_span_whose_parent_is_lost_lies_in_its_flow_run():
    summary = summarise(run(root(cpu_j=1.0), span("a", parent_id="lost", cpu_j=2.0)))
    by_id = {one["id"]: one for one in summary["spans"]}
    assert by_id["a"]["parent_id"] == "root"
    assert by_id["root"]["inclusive_j"] == 3.0


def test_the_status_is_that_of_the_last_life_and_the_time_that_of_all():
    first = root(status=Status.FAILED, attempt=1)
    second = span("again", Kind.FLOW, "flight-delays", started_at=NOON + 60, attempt=2)
    flow_run = summarise(run(first, second))["flow_run"]
    assert flow_run["status"] == "completed"
    assert flow_run["started_at"] < "2026-02-02T02:41" < flow_run["ended_at"]


def test_rows_of_depth_zero_add_up_to_the_total():
    summary = summarise(full_run())
    outermost = [row for row in summary["steps"] if row["depth"] == 0]
    assert sum(row["inclusive_j"] for row in outermost) == pytest.approx(summary["energy_j"]["total"])
    assert [row["name"] for row in summary["steps"] if row["depth"] == 1] == ["fit"]


def test_tasks_called_inside_a_span_of_the_flow_s_body_are_steps_of_their_own():
    summary = summarise(
        run(root(cpu_j=1.0), span("phase", Kind.SPAN, cpu_j=2.0), span("train", parent_id="phase", cpu_j=4.0))
    )
    rows = {row["name"]: row["inclusive_j"] for row in summary["steps"] if row["depth"] == 0}
    assert rows == {"train": 4.0, "flight-delays (spans of its body)": 2.0, "orchestration and flow body": 1.0}


def test_a_step_of_a_subflow_carries_the_subflow_s_name():
    subflow = span("sub", Kind.FLOW, "prepare", parent_id="root", flow_run_id="sub-run", cpu_j=1.0)
    inner = span("clean", parent_id="sub", flow_run_id="sub-run", cpu_j=2.0)
    summary = summarise(run(root(), subflow, inner))
    assert [row["name"] for row in summary["steps"]] == ["prepare / clean", "orchestration and flow body"]


def test_failed_attempts_are_counted_once():
    outer = span("outer", status=Status.FAILED, cpu_j=1.0)
    inner = span("inner", parent_id="outer", status=Status.FAILED, cpu_j=2.0)
    assert summarise(run(root(cpu_j=4.0), outer, inner))["unsuccessful_j"] == 3.0


def test_the_biggest_consumer_comes_first():
    assert summarise(full_run())["consumers"][0]["name"] == "train"


def test_joules_per_unit_show_numerator_and_denominator():
    summary = summarise(full_run())
    kpi = summary["kpis"]["joules_per_accurate_prediction"]
    assert kpi["numerator"] == pytest.approx(summary["energy_j"]["total"])
    assert (kpi["denominator"], kpi["unit"]) == (80.0, "J")
    assert kpi["value"] == pytest.approx(kpi["numerator"] / 80)
    assert {name for name in summary["kpis"] if name.startswith("joules")} == {
        "joules_per_prediction",
        "joules_per_accurate_prediction",
    }


def test_waiting_is_no_part_of_a_kpi_and_of_no_product():
    waited = run(root(cpu_j=1.0), span("w", Kind.WAIT, cpu_j=5.0), span("e"), outcomes=[outcome("e", units=1.0)])
    summary = summarise(waited)
    assert summary["waiting_j"] == 5.0
    assert summary["kpis"]["joules_per_prediction"]["numerator"] == pytest.approx(1.0)


def test_only_the_outcome_of_a_successful_attempt_counts():
    attempts = [span("e1", status=Status.FAILED, cpu_j=1.0), span("e2", attempt=2, cpu_j=1.0)]
    outcomes = [outcome("e1", "o1", units=7.0), outcome("e2", "o2", units=5.0)]
    kpi = summarise(run(root(), *attempts, outcomes=outcomes))["kpis"]["joules_per_prediction"]
    assert kpi["denominator"] == 5.0


def test_an_outcome_inside_a_span_of_a_failed_attempt_does_not_count():
    spans = [span("e1", status=Status.FAILED, cpu_j=1.0), span("inner", Kind.SPAN, parent_id="e1")]
    kpi = summarise(run(root(), *spans, outcomes=[outcome("inner")]))["kpis"]["joules_per_prediction"]
    assert kpi["value"] is None
    assert "no successful attempt" in kpi["reason"]


def test_a_retried_flow_run_counts_the_outcome_of_its_last_life_only():
    second = span("again", Kind.FLOW, "flight-delays", started_at=NOON + 60, attempt=2)
    first_e = span("e1", task_key="evaluate", cpu_j=1.0)
    second_e = span("e2", task_key="evaluate", parent_id="again", started_at=NOON + 61, cpu_j=1.0)
    outcomes = [outcome("e1", "o1"), outcome("e2", "o2")]
    kpis = summarise(run(root(attempt=1), second, first_e, second_e, outcomes=outcomes))["kpis"]
    assert kpis["joules_per_prediction"]["denominator"] == 100.0


def test_a_retried_flow_run_counts_the_outcomes_of_results_that_it_reused():
    """Three mapped steps, of which the first life finished two and the second life reused those."""
    second = span("again", Kind.FLOW, "flight-delays", started_at=NOON + 60, attempt=2)
    mapped = [span(f"m{i}", task_key="score", result_key=f"r{i}") for i in (1, 2)]
    mapped += [span("m3", task_key="score", status="failed", result_key="r3")]
    again = {"task_key": "score", "parent_id": "again", "started_at": NOON + 61}
    reused = [span(f"c{i}", result_key=f"r{i}", status="cached", **again) for i in (1, 2)]
    rerun = span("m4", result_key="r3", **again)
    outcomes = [outcome(one, f"o-{one}") for one in ("m1", "m2", "m3", "m4")]
    summary = summarise(run(root(attempt=1), second, *mapped, *reused, rerun, outcomes=outcomes))
    assert summary["kpis"]["joules_per_prediction"]["denominator"] == 300.0


def test_a_cached_task_run_repeats_the_outcome_of_the_attempt_of_its_own_run():
    made = span("m", task_key="score", result_key="k", cpu_j=5.0)
    inside = span("s", Kind.SPAN, parent_id="m", cpu_j=1.0)
    hits = [span(f"c{i}", task_key="score", result_key="k", started_at=NOON + 3, status="cached") for i in (1, 2)]
    summary = summarise(run(root(), made, inside, *hits, outcomes=[outcome("s")]))
    kpi = summary["kpis"]["joules_per_prediction"]
    assert (kpi["numerator"], kpi["denominator"]) == (6.0, 300.0)


def test_an_outcome_recorded_inside_a_reused_step_counts_once_over_the_lives_of_a_flow_run():
    second = span("again", Kind.FLOW, "flight-delays", started_at=NOON + 60, attempt=2)
    made = span("m", task_key="score", result_key="k")
    inside = span("s", Kind.SPAN, parent_id="m")
    hit = span("c", task_key="score", result_key="k", parent_id="again", started_at=NOON + 61, status="cached")
    summary = summarise(run(root(attempt=1, cpu_j=1.0), second, made, inside, hit, outcomes=[outcome("s")]))
    assert summary["kpis"]["joules_per_prediction"]["denominator"] == 100.0


@pytest.mark.parametrize(("accurate", "reason"), [(0.0, "there was no accurate"), (None, "not every outcome")])
def test_a_kpi_without_units_is_undefined_and_says_why(accurate, reason):
    outcomes = [outcome("e", "o1", accurate=accurate), outcome("e", "o2", accurate=0.0)]
    kpi = summarise(run(root(cpu_j=1.0), span("e"), outcomes=outcomes))["kpis"]["joules_per_accurate_prediction"]
    assert kpi["value"] is None
    assert reason in kpi["reason"]


def test_emissions_are_energy_times_intensity():
    summary = summarise(run(root(cpu_j=3.6e6), decisions=[decision(intensity=200.0)]))
    assert summary["emissions_g"]["total"] == pytest.approx(200.0)
    assert summary["emissions_g"]["zone"] == "GB"


def test_without_an_intensity_emissions_are_null():
    assert summarise(run(root(cpu_j=1.0)))["emissions_g"]["total"] is None
    unknown = summarise(run(root(cpu_j=1.0), decisions=[decision(intensity=None)]))
    assert unknown["emissions_g"]["total"] is None
    assert unknown["artifacts"] == []


def test_what_waiting_would_have_saved_uses_the_measured_energy():
    carbon = summarise(run(root(cpu_j=3.6e6), decisions=[decision()]))["carbon"]
    assert carbon["potential_saving_percent"] == pytest.approx(50.0)
    assert carbon["potential_saving_g"] == pytest.approx(100.0)


def test_what_waiting_would_have_saved_of_a_single_step_uses_that_steps_energy():
    spans = [
        span("a", name="train", task_run_id="t", attempt=1, status=Status.FAILED, cpu_j=1e6),
        span("b", name="train", task_run_id="t", attempt=2, cpu_j=2e6),
        span("c", Kind.SPAN, "inside", parent_id="b", cpu_j=0.6e6),
        span("d", name="other", task_run_id="o", attempt=1, cpu_j=7e6),
    ]
    about = decision(plan={"rung": "service", "step": "t", "whole_run": False, "waits": False})
    found = summarise(run(root(cpu_j=3.6e6), *spans, decisions=[about]))
    assert found["carbon"]["potential_saving_g"] == pytest.approx(100.0)
    assert "50 % of the emissions of `train` (100 g)" in waiting.carbon(found)
    whole = decision(plan={"rung": "service", "step": "t", "whole_run": True, "waits": False})
    found = summarise(run(root(), *spans, decisions=[whole]))
    assert found["carbon"]["potential_saving_g"] == pytest.approx(100.0 * 10.6 / 3.6)


def test_an_average_says_nothing_about_waiting():
    flat = decision(expected=200.0, plan={"rung": "average"})
    assert summarise(run(root(cpu_j=1.0), decisions=[flat]))["carbon"]["potential_saving_g"] is None


def test_a_cached_task_run_avoids_what_its_producer_had_used():
    cached = span("c", status=Status.CACHED, result_key="k")
    assert summarise(run(root(cpu_j=1.0), cached), lambda _: 7.0)["avoided_j"] == 7.0
    assert summarise(run(root(cpu_j=1.0), cached))["avoided_j"] is None
    assert summarise(run(root(cpu_j=1.0)))["avoided_j"] == 0.0


def test_a_result_made_in_this_run_avoids_nothing():
    made = span("m", result_key="k", cpu_j=5.0)
    cached = span("c", status=Status.CACHED, result_key="k", started_at=NOON + 3)
    summary = summarise(run(root(), made, cached), lambda _: 7.0)
    assert summary["avoided_j"] == 0.0
    assert [one["result_from"] for one in summary["spans"]] == [None, None, "this_run"]


def test_a_result_that_is_made_again_after_it_was_reused_was_another_run_s():
    cached = span("c", status=Status.CACHED, result_key="k")
    renewed = span("m", result_key="k", started_at=NOON + 3, cpu_j=5.0)
    assert summarise(run(root(), cached, renewed), lambda _: 7.0)["avoided_j"] == 7.0


def test_other_and_idle_are_those_of_the_root_only():
    elsewhere = span("a", other_j=9.0, idle_j=9.0)
    assert summarise(run(root(other_j=2.0, idle_j=1.0), elsewhere))["not_attributed_j"] == {"other": 2.0, "idle": 1.0}


def test_a_span_without_a_figure_that_its_process_could_give_is_a_gap():
    summary = summarise(run(root(cpu_j=1.0, dram_j=1.0, static_j=1.0), span("killed", status=Status.CRASHED)))
    assert summary["gaps"] == {"cpu": 1, "dram": 1, "static": 1}


def killed(**fields):
    used = {"cpu_j": 3.0, "dram_j": 1.0, "static_j": 1.0}
    return span("t", status=Status.CRASHED, attributes={"killed": True}, **used | fields)


def test_what_a_killed_process_had_used_is_a_lower_bound_in_its_step_and_in_all_that_comes_of_it():
    whole = span("w", cpu_j=1.0, dram_j=1.0, static_j=1.0)
    summary = summarise(run(root(cpu_j=0.0, dram_j=0.0, static_j=0.0), whole, killed()))
    assert summary["gaps"] == summary["cut_short"] == {"cpu": 1, "dram": 1, "static": 1}
    assert summary["energy_j_range"]["total"][1] is None
    assert {row["name"]: row["lower_bound"] for row in summary["consumers"]}.items() >= {"t": True, "w": False}.items()
    assert phrases.one_line(summary).startswith("at least 8.00 J")
    said = "up to a second of work before it was killed is not in it: the sums are lower bounds"
    assert provenance.gaps(summary) == said
    assert phrases.lost(summary) == ">= 5.00 J of it in attempts that did not succeed"


@pytest.mark.parametrize("status", [Status.CRASHED, Status.CANCELLED, Status.COMPLETED])
def test_a_killed_span_is_a_lower_bound_whatever_it_has_ended_as(status):
    summary = summarise(run(root(cpu_j=1.0, dram_j=1.0, static_j=1.0), replace(killed(), status=status)))
    assert summary["gaps"] == summary["cut_short"] == {"cpu": 1, "dram": 1, "static": 1}
    assert [row["lower_bound"] for row in summary["consumers"] if row["name"] == "t"] == [True]


@pytest.mark.parametrize("status", [Status.CRASHED, Status.CANCELLED])
def test_a_killed_span_that_had_used_nothing_bounds_nothing(status):
    of_killed = replace(killed(cpu_j=0.0, dram_j=0.0, static_j=0.0), status=status)
    summary = summarise(run(root(cpu_j=1.0, dram_j=1.0, static_j=1.0), of_killed))
    assert (summary["gaps"], summary["cut_short"]) == ({}, {})


def test_a_span_that_was_told_to_stop_and_ended_in_order_bounds_nothing():
    stopped = replace(killed(), status=Status.CANCELLED, attributes={"stopped": True})
    summary = summarise(run(root(cpu_j=1.0, dram_j=1.0, static_j=1.0), stopped))
    assert (summary["gaps"], summary["cut_short"]) == ({}, {})


def test_a_step_that_had_ended_when_its_process_was_killed_is_a_lower_bound_and_no_failed_attempt():
    ended = replace(killed(), status=Status.COMPLETED, attributes={"killed": "soon after"})
    summary = summarise(run(root(cpu_j=0.0, dram_j=0.0, static_j=0.0, status=Status.CRASHED), ended))
    assert summary["gaps"] == summary["cut_short"] == {"cpu": 1, "dram": 1, "static": 1}
    assert summary["unsuccessful_j"] == 0.0
    assert summary["kpis"]["joules_per_unit"]["reason"] == "the run crashed before an outcome was recorded"


def test_of_a_run_that_was_killed_before_its_first_tick_that_is_the_reason_and_no_source():
    dead = {"status": Status.CRASHED, "attributes": {"killed": True}}
    summary = summarise(run(root(**dead), span("t", **dead)))
    assert summary["gaps"] == summary["cut_short"] == {"cpu": 2, "dram": 2, "static": 2}
    assert phrases.energy(summary) == "energy unknown: it was killed within a second, before anything was measured"
    assert "lower bounds" not in provenance.gaps(summary)
    assert provenance.gaps(summary).startswith("up to a second of work before it was killed")
    lines = dict(provenance.provenance(summary))
    assert lines["missing"].startswith("CPU (it was killed before anything was measured)")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (Status.FAILED, "no attempt began, or none was measured"),
        (Status.RUNNING, "no attempt has begun yet, or none is measured"),
    ],
)
def test_of_a_dag_run_of_which_nothing_has_begun_that_is_the_reason_and_no_source(status, said):
    summary = summarise(run(root(process_id=RUN, status=status), processes=[]))
    assert not summary["begun"]
    assert phrases.energy(summary) == f"energy unknown: {said}"
    assert provenance.provenance(summary) == [("missing", f"everything: {said}")]
    assert summarise(run(root(), span("t")))["begun"]


def test_what_a_killed_attempt_is_part_of_cost_at_least_its_figure_and_says_why():
    again = span("t2", name="t", task_run_id="t", attempt=2, cpu_j=1.0, dram_j=1.0, static_j=1.0)
    wrote = span("w", Kind.WRITE, parent_id="t2", cpu_j=0.0, dram_j=0.0, static_j=0.0, storage_j=0.0)
    made = VersionRecord("v", "file:///a.parquet", "w", RUN, NOON, 1)
    (artifact,) = summarise(
        run(
            root(cpu_j=0.0, dram_j=0.0, static_j=0.0), killed(task_run_id="t", attempt=1), again, wrote, versions=[made]
        )
    )["artifacts"]
    assert artifact["lower_bound"]
    assert "up to a second of 't' before its process was killed is not in it" in artifact["reasons"]


NEVER_ANSWERED = {"cpu_j": None, "static_j": None, "attributes": {"gaps": ["cpu", "static"]}}


def test_a_component_that_no_span_has_a_figure_for_is_a_gap_of_all_of_them_and_null():
    summary = summarise(run(root(dram_j=0.0, **NEVER_ANSWERED), span("a", dram_j=3.0, **NEVER_ANSWERED)))
    assert summary["gaps"] == {"cpu": 2, "static": 2}
    assert (summary["energy_j"]["cpu"], summary["energy_j"]["static"]) == (None, None)
    assert (summary["energy_j_range"]["cpu"], summary["energy_j_range"]["static"]) == (None, None)
    assert (summary["provenance"]["cpu"], summary["provenance"]["static"]) == ("missing", "missing")


def test_a_device_that_is_there_but_that_no_source_can_tell_is_a_gap():
    lost = SourceRecord("gpu", "NVML", "missing", detail="NVML cannot be used")
    sources = [source for source in SOURCES if source.component != "gpu"]
    summary = summarise(run(root(cpu_j=1.0, dram_j=1.0, static_j=1.0), processes=[process([*sources, lost])]))
    assert summary["gaps"] == {"gpu": 1}


def test_a_step_that_fell_wholly_into_a_gap_has_no_energy_rather_than_0():
    gone = span("gone", dram_j=0.0, **NEVER_ANSWERED)
    summary = summarise(run(root(cpu_j=2.0, dram_j=1.0, static_j=1.0), gone))
    (row, *_) = summary["steps"]
    assert (row["name"], row["inclusive_j"], row["share"]) == ("gone", None, None)
    assert [one["exclusive_j"] for one in summary["spans"]] == [4.0, None]


def test_a_sensor_whose_figure_mostly_rests_on_estimates_is_a_model_with_a_range_in_that_run():
    meter = SourceRecord("cpu", "m", "measured", detail="q at http://server")
    late = root(cpu_j=60.0, attributes={"estimated": {"cpu": 0.5}})
    summary = summarise(run(late, span("a", cpu_j=40.0), processes=[process([meter])]))
    assert summary["provenance"]["cpu"] == "modelled"
    assert summary["energy_j_range"]["cpu"] == pytest.approx([75.0, 150.0])
    (source,) = summary["sources"]
    assert (source["provenance"], source["low"], source["high"]) == ("modelled", 0.75, 1.5)
    assert "50% of it estimated" in source["detail"]
    in_time = summarise(run(root(cpu_j=60.0), span("a", cpu_j=40.0), processes=[process([meter])]))
    assert (in_time["provenance"]["cpu"], in_time["energy_j_range"]["cpu"]) == ("measured", [100.0, 100.0])


def test_an_artifact_names_its_step_and_its_version_in_the_whole_ledger():
    (artifact,) = summarise(full_run())["artifacts"]
    assert (artifact["produced_by"], artifact["version"]) == ("build_features", 3)
    assert 101.5 < artifact["in_run_j"] < 105  # both attempts, the cached input, a share of the orchestration
    assert artifact["emissions_g"] == pytest.approx(artifact["in_run_j"] * 200 / 3.6e6)


def test_sources_of_several_alike_processes_are_listed_once():
    twin = process()
    twin.id = "p2"
    assert len(summarise(run(root(), processes=[process(), twin]))["sources"]) == len(SOURCES)


def test_a_run_that_was_cancelled_lasted_until_its_last_step_ended(tmp_path):
    records = run(
        root(status=Status.CANCELLED, cpu_j=1.0, ended_at=NOON + 3.17),
        span("t", name="train", status=Status.CANCELLED, cpu_j=1.0, started_at=NOON + 1, ended_at=NOON + 7.24),
    )
    assert phrases.duration(summarise(records)) == pytest.approx(7.24)
    assert tally(records, lambda _: None).ended_at == NOON + 7.24
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.ingest([*records.processes, *records.spans])
    (row,) = ledger.runs()
    assert row.ended_at == NOON + 7.24
    records.spans[0].ended_at = None
    assert phrases.duration(summarise(records)) is None
