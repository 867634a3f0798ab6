"""The KPIs of a run, from its records."""

from dataclasses import replace

import pytest

from e2s_tasks.core.records import Kind, ReadRecord, Status, VersionRecord
from e2s_tasks.reporter import phrases, provenance, summarise
from e2s_tasks.reporter.terminal import console, render
from tests.reporter import runs
from tests.reporter.runs import NOON, RUN, SOURCES, decision, outcome, root, span

YEAR = 365.25 * 86400
DECLARED = {"pue": 1.5, "tariff": 0.3, "currency": "EUR", "embodied_kg": 100.0, "lifetime_years": 1.0}


def process():
    """One whose only source is the CPU's, so that nothing else is missing."""
    return runs.process(SOURCES[:1])


def run(*spans, **records):
    return runs.run(*spans, **({"processes": [process()]} | records))


def declaring(**given):
    return root(cpu_j=3.6e6, ended_at=NOON + 3600, attributes={"declared": DECLARED | given}, solution="s")


def test_declared_inputs_are_read_from_the_run_and_shown_with_its_kpis():
    summary = summarise(run(declaring(), span("e", cpu_j=0.0), outcomes=[outcome("e")], decisions=[decision()]))
    assert summary["declared"] == DECLARED
    assert summary["facility_j"] == pytest.approx(5.4e6)
    assert summary["cost"] == {"value": pytest.approx(0.45), "currency": "EUR"}
    assert summary["emissions_g"]["total"] == pytest.approx(1.5 * 200)
    embodied = 100e3 * 3600 / YEAR
    assert summary["embodied_g"] == pytest.approx(embodied)
    assert summary["kpis"]["sci_per_prediction"]["value"] == pytest.approx((300 + embodied) / 100)
    assert summary["kpis"]["cost_per_prediction"]["value"] == pytest.approx(0.0045)
    lines = phrases.kpi_lines(summary)
    assert lines[0].startswith("45.0 kJ per accurate prediction = 3.60 MJ / 80 accurate predictions")
    assert any(line.startswith("SCI 3.11 g CO2eq per prediction") for line in lines)
    assert any(line.startswith("0.00450 EUR per prediction") for line in lines)
    assert phrases.facility(summary) == "5.40 MJ with the facility (PUE 1.5), 0.450 EUR of energy"


def test_the_emissions_of_artifacts_use_the_facilitys_energy_too():
    version = VersionRecord("v1", "file:///a", "e", RUN, NOON)
    summary = summarise(run(declaring(), span("e", cpu_j=1.0), versions=[version], decisions=[decision()]))
    (artifact,) = summary["artifacts"]
    assert artifact["emissions_g"] == pytest.approx(summary["emissions_g"]["total"])
    assert artifact["fully_loaded_g"] == pytest.approx(summary["emissions_g"]["total"])


def test_without_declared_inputs_a_summary_says_nothing_of_the_facility():
    summary = summarise(run(root(cpu_j=1.0), span("e"), outcomes=[outcome("e")], decisions=[decision()]))
    assert (summary["declared"], summary["facility_j"], summary["embodied_g"]) == ({}, None, None)
    assert summary["cost"] == {"value": None, "currency": None}
    assert phrases.facility(summary) is None
    assert "E2S_EMBODIED_KG" in summary["kpis"]["sci_per_prediction"]["reason"]


def test_the_hardware_of_each_host_counts_for_the_time_that_it_was_held():
    one, other = process(), replace(process(), id="p2", host="worker")
    elsewhere = span(
        "e", process_id="p2", started_at=NOON + 600, ended_at=NOON + 1200, cpu_j=1.0,
        attributes={"declared": DECLARED | {"embodied_kg": 50.0, "reserved_share": 0.5}},
    )  # fmt: skip
    found = summarise(run(declaring(), elsewhere, processes=[one, other]))
    assert found["embodied_g"] == pytest.approx(100e3 * 3600 / YEAR + 50e3 * 600 / YEAR * 0.5)
    undeclared = replace(elsewhere, attributes={})
    assert summarise(run(declaring(), undeclared, processes=[one, other]))["embodied_g"] is None


def test_waiting_for_a_cleaner_grid_holds_no_hardware():
    waited = span("w", Kind.WAIT, started_at=NOON, ended_at=NOON + 1800)
    assert summarise(run(declaring(), waited))["embodied_g"] == pytest.approx(100e3 * 1800 / YEAR)


def test_a_solutions_run_without_an_outcome_says_that_its_kpi_is_undefined():
    summary = summarise(run(declaring()))
    assert summary["kpis"]["joules_per_unit"]["value"] is None
    assert phrases.kpi_lines(summary)[0].startswith("joules per unit: undefined, no outcome was recorded")
    assert phrases.kpi_lines(summarise(run(root(cpu_j=1.0)))) == []  # nobody expects one


def test_of_a_task_run_that_succeeded_again_after_it_was_cleared_the_last_success_counts():
    tries = [
        span(f"e{number}", task_run_id="evaluate", attempt=number, status=status, started_at=NOON + number)
        for number, status in ((1, Status.COMPLETED), (2, Status.COMPLETED), (3, Status.FAILED))
    ]
    outcomes = [outcome(f"e{number}", f"o{number}", units=100.0 * number, accurate=None) for number in (1, 2, 3)]
    kpis = summarise(run(root(cpu_j=400.0), *tries, outcomes=outcomes))["kpis"]
    assert kpis["joules_per_prediction"]["denominator"] == 200.0


def test_of_a_run_that_was_deleted_and_made_anew_each_step_counts_once():
    first, second = (
        span(f"e{number}", task_run_id="evaluate", attempt=tried, started_at=NOON + number)
        for number, tried in ((1, 2), (2, 1))
    )
    outcomes = [outcome("e1", "o1", units=100.0, accurate=None), outcome("e2", "o2", units=10.0, accurate=None)]
    summary = summarise(run(root(cpu_j=400.0), first, second, outcomes=outcomes))
    assert summary["kpis"]["joules_per_prediction"]["denominator"] == 10.0
    assert summary["energy_j"]["total"] == sum(one.joules or 0.0 for one in (root(cpu_j=400.0), first, second))


@pytest.mark.parametrize(
    ("ended", "step", "said"),
    [
        (Status.FAILED, Status.FAILED, "the run failed in train before an outcome was recorded"),
        (Status.CRASHED, Status.CRASHED, "the run crashed in train before an outcome was recorded"),
        (Status.CANCELLED, Status.CANCELLED, "the run was cancelled in train before an outcome was recorded"),
        (Status.TIMED_OUT, Status.COMPLETED, "the run timed out before an outcome was recorded"),
        (Status.RUNNING, Status.COMPLETED, "the run goes on, and no outcome is recorded yet"),
    ],
)
def test_a_run_that_did_not_get_as_far_as_an_outcome_says_what_happened_and_where(ended, step, said):
    retried = [
        span("i1", name="import", status=Status.FAILED, task_run_id="i", started_at=NOON + 9),
        span("i2", name="import", attempt=2, task_run_id="i", started_at=NOON + 10),
    ]
    inner = span("n", name="fit", parent_id="t", status=step, task_run_id="n", started_at=NOON + 3)
    train = span("t", name="train", status=step, task_run_id="t", started_at=NOON + 2)
    summary = summarise(run(root(solution="forecast", status=ended, cpu_j=1.0), train, inner, *retried))
    assert phrases.kpi_lines(summary) == [f"joules per unit: undefined, {said}"]
    alone = summarise(run(root(status=ended, cpu_j=1.0), train, inner, *retried))
    assert phrases.kpi_lines(alone) == []
    assert phrases.no_outcome(alone) == said


def test_an_accuracy_that_was_recorded_as_a_quality_counts_by_units():
    outcomes = [
        outcome("e", "o1", units=100.0, accurate=None, quality={"accuracy": 0.9}),
        outcome("e", "o2", units=300.0, accurate=None, quality={"accuracy": 0.5}),
    ]
    kpis = summarise(run(root(cpu_j=3.6e6), span("e"), outcomes=outcomes))["kpis"]
    assert kpis["accuracy_per_kwh_of_prediction"]["value"] == pytest.approx(0.6)
    assert kpis["accuracy_per_joule_per_prediction"]["value"] == pytest.approx(0.6 * 400 / 3.6e6)


def test_the_caveat_names_the_data_that_the_evaluating_step_read():
    version = VersionRecord("v1", "file:///d/scored.parquet", "m", RUN, NOON, content_digest="sha256:ab")
    reads = [
        ReadRecord("r1", version.uri, "r", RUN, NOON, "v1"),
        ReadRecord("r2", "file:///d/truth.csv", "r", RUN, NOON),
        ReadRecord("r3", "file:///d/other.csv", "m", RUN, NOON),
    ]
    spans = [root(cpu_j=1.0), span("m"), span("e"), span("r", Kind.READ, parent_id="e")]
    found = run(
        *spans, outcomes=[outcome("e")], versions=[version], reads=reads, version_numbers={"v1": 3}
    )  # fmt: skip
    caveat = summarise(found)["kpis"]["accuracy_per_kwh_of_prediction"]["caveat"]
    assert "scored.parquet v3 (sha256:ab), truth.csv of no known version" in caveat
    assert "other.csv" not in caveat


def evaluation_data(*spans, wrote, read):
    """What the caveat names, of versions by the steps that wrote them, and names by the steps that read them."""
    versions = [
        VersionRecord(name, f"file:///d/{name}", step, RUN, NOON + at, content_digest=f"sha256:{name}")
        for at, (step, names) in enumerate(wrote.items()) for name in names
    ]  # fmt: skip
    known = {one.id for one in versions}
    reads = [
        ReadRecord(f"{step}-{name}", f"file:///d/{name}", step, RUN, NOON, name if name in known else None)
        for step, names in read.items() for name in names
    ]  # fmt: skip
    found = run(root(cpu_j=1.0), *spans, outcomes=[outcome("evaluate")], versions=versions, reads=reads)
    caveat = summarise(found)["kpis"]["accuracy_per_kwh_of_prediction"]["caveat"]
    return {name for name in (*known, "raw") if f"{name} (" in caveat or f"{name} of" in caveat}


def test_a_model_that_was_trained_on_the_evaluation_data_is_judged_and_no_data():
    steps = [span(name) for name in ("collect", "train", "evaluate")]
    wrote = {"collect": ["rides"], "train": ["model"], "evaluate": ["forecast"]}
    assert evaluation_data(
        *steps, wrote=wrote, read={"train": ["rides"], "evaluate": ["rides", "model"]}
    ) == {"rides"}  # fmt: skip


def test_a_model_of_what_the_test_data_were_split_from_is_judged_and_no_data():
    steps = [span(name) for name in ("split", "train", "evaluate")]
    read = {"split": ["raw"], "train": ["learn"], "evaluate": ["test", "model"]}
    assert evaluation_data(*steps, wrote={"split": ["learn", "test"], "train": ["model"]}, read=read) == {"test"}


def test_of_a_step_that_read_nothing_but_a_forecast_the_data_are_what_that_was_made_from():
    stages = {"build": "data_preparation", "train": "training", "score": "inference", "evaluate": "evaluation"}
    wrote = {"build": ["features"], "train": ["model"], "score": ["forecast"]}
    read = {"build": ["raw"], "train": ["features"], "score": ["features", "model"], "evaluate": ["forecast"]}
    staged = [span(name, stage=stage) for name, stage in stages.items()]
    assert evaluation_data(*staged, wrote=wrote, read=read) == {"features"}
    same = [span(name, stage="training") for name in stages]  # which tells nothing apart
    assert evaluation_data(*same, wrote=wrote, read=read) == {"forecast"}


def test_where_stages_leave_no_data_the_step_read_data_all_the_same():
    steps = [span("make", stage="training"), span("evaluate", stage="evaluation")]
    assert evaluation_data(*steps, wrote={"make": ["test"]}, read={"evaluate": ["test"]}) == {"test"}


def test_data_that_no_measured_write_explains_are_told_apart_by_their_bytes():
    read = ReadRecord("r", "file:///d/truth.csv", "e", RUN, NOON, files=[["", 1234, 5]])
    caveat = summarise(run(root(cpu_j=1.0), span("e"), outcomes=[outcome("e")], reads=[read]))["kpis"][
        "accuracy_per_kwh_of_prediction"
    ]["caveat"]
    assert "truth.csv of no known version (1,234 bytes, no digest)" in caveat


def remote(joules, provenance="modelled", source="BigQuery", low=None, high=None):
    low, high = (joules if low is None else low), (joules if high is None else high)
    return {
        "source": source, "where": "remote", "provenance": provenance, "calls": 1, "joules": joules, "low": low,
        "high": high,
    }  # fmt: skip


def of_remote(summary):
    (source,) = [one for one in summary["sources"] if one["component"] == "remote"]
    return source


def test_remote_energy_keeps_its_provenance_and_range_and_stands_apart():
    entry = remote(100.0, low=50.0, high=400.0)
    summary = summarise(run(root(cpu_j=1.0), span("q", remote_j=100.0, attributes={"remote": [entry]})))
    assert (summary["energy_j"]["remote"], summary["energy_j"]["host"]) == (100.0, 1.0)
    assert summary["energy_j_range"]["remote"] == [50.0, 400.0]
    assert summary["provenance"]["remote"] == "modelled"
    assert (of_remote(summary)["low"], of_remote(summary)["high"]) == (0.5, 4.0)
    assert of_remote(summary)["detail"] == "BigQuery: 1 call, as declared"


@pytest.mark.parametrize(("kinds", "worth"), [(["measured"] * 2, "measured"), (["measured", "modelled"], "modelled")])
def test_remote_energy_is_measured_only_where_all_calls_say_so(kinds, worth):
    entries = [remote(1.0, kind) for kind in kinds]
    summary = summarise(run(root(), span("q", remote_j=2.0, attributes={"remote": entries})))
    assert summary["provenance"]["remote"] == worth


@pytest.mark.parametrize(
    "attributes", [{"remote": [remote(None)]}, {"remote_work": "BigQuery"}, {"remote": [remote(2.0), remote(None)]}]
)
def test_remote_work_without_a_figure_makes_everything_that_comes_from_it_a_lower_bound(attributes):
    known = sum(one["joules"] or 0.0 for one in attributes.get("remote", [])) or None
    query = span("query", cpu_j=1.0, remote_j=known, attributes={"task_run_name": "q-1", **attributes})
    versions = [
        VersionRecord("v1", "file:///a", "query", RUN, NOON),
        VersionRecord("v2", "file:///b", "other", RUN, NOON),
    ]
    summary = summarise(run(root(), query, span("other", cpu_j=1.0), versions=versions, outcomes=[outcome("other")]))
    first, second = summary["artifacts"]
    assert first["lower_bound"]
    assert "'query'" in first["reasons"][0]
    assert first["reasons"][0].endswith("BigQuery")
    assert not second["lower_bound"]
    assert summary["gaps"]["remote"] == 1
    assert summary["kpis"]["joules_per_prediction"]["lower_bound"]
    assert phrases.energy(summary).startswith(">= ")
    out = console()
    with out.capture() as shown:
        out.print(render(summary, 100))
    assert "BigQuery" in shown.get()


def test_declared_remote_work_has_its_figure_once_a_span_inside_it_tells_one():
    query = span("query", cpu_j=1.0, attributes={"remote_work": "BigQuery"})
    inside = span("i", Kind.SPAN, parent_id="query", cpu_j=0.0, remote_j=5.0, attributes={"remote": [remote(5.0)]})
    version = VersionRecord("v1", "file:///a", "query", RUN, NOON)
    summary = summarise(run(root(), query, inside, versions=[version]))
    assert not summary["artifacts"][0]["lower_bound"]
    assert "remote" not in summary["gaps"]


def test_each_attempt_that_declared_remote_work_needs_a_figure_of_its_own():
    failed = span(
        "q1", name="query", task_run_id="q", status=Status.FAILED, cpu_j=1.0, attributes={"remote_work": "LLM"}
    )
    again = span(
        "q2", name="query", task_run_id="q", started_at=NOON + 3, cpu_j=1.0, remote_j=5.0,
        attributes={"remote_work": "LLM", "remote": [remote(5.0)]},
    )  # fmt: skip
    version = VersionRecord("v1", "file:///a", "q2", RUN, NOON)
    assert summarise(run(root(), failed, again, versions=[version]))["artifacts"][0]["lower_bound"]


def test_remote_work_of_the_flows_own_body_bounds_every_artifact_of_the_run():
    flow = root(cpu_j=1.0, attributes={"remote": [remote(None)]})
    version = VersionRecord("v1", "file:///a", "t", RUN, NOON)
    summary = summarise(run(flow, span("t", cpu_j=1.0), versions=[version]))
    assert summary["artifacts"][0]["reasons"] == [
        "no figure for the energy of the work that 'flight-delays' set off: BigQuery"
    ]


def test_a_flow_that_declared_remote_work_has_its_figure_once_a_task_inside_it_tells_one():
    flow = root(cpu_j=1.0, attributes={"remote_work": "LLM"})
    version = VersionRecord("v1", "file:///a", "t", RUN, NOON)
    for told in (False, True):
        more = {"remote_j": 5.0, "attributes": {"remote": [remote(5.0)]}} if told else {}
        (artifact,) = summarise(run(flow, span("t", cpu_j=1.0, **more), versions=[version]))["artifacts"]
        assert artifact["lower_bound"] is not told


def test_a_run_without_remote_work_says_nothing_of_it_but_that_there_was_none():
    summary = summarise(run(root(cpu_j=1.0)))
    assert [one for one in summary["sources"] if one["component"] == "remote"] == []
    assert ("none recorded", "storage; network; remote") in provenance.provenance(summary)


def stages(summary):
    return {row["stage"]: row["energy_j"] for row in summary["stages"]}


def test_energy_by_stage_adds_up_with_what_has_none_and_orchestration_in_rows_of_their_own():
    summary = summarise(run(
        root(cpu_j=1.0),
        span("p", stage="data_preparation", cpu_j=2.0),
        span("t", stage="training", cpu_j=4.0),
        span("i", Kind.SPAN, parent_id="t", cpu_j=8.0),
        span("v", Kind.SPAN, parent_id="t", stage="evaluation", cpu_j=16.0),
        span("n", cpu_j=32.0),
        span("w", Kind.WAIT, cpu_j=64.0),
    ))  # fmt: skip
    assert stages(summary) == {
        "data_preparation": 2.0, "training": 12.0, "evaluation": 16.0, "no stage": 32.0, "orchestration": 1.0,
        "waiting": 64.0,
    }  # fmt: skip
    assert sum(stages(summary).values()) == pytest.approx(summary["energy_j"]["total"])
    assert [row["stage"] for row in summary["stages"]][:3] == ["data_preparation", "training", "evaluation"]


def test_a_flows_stage_holds_for_tasks_that_ran_in_other_processes_too():
    flow = root(cpu_j=1.0, stage="inference")
    far = span("e", parent_id=None, process_id="p2", cpu_j=2.0)
    sub = span("sub", Kind.FLOW, parent_id="root", flow_run_id="f2", stage="training", cpu_j=4.0)
    assert stages(summarise(run(flow, far, sub))) == {"training": 4.0, "inference": 3.0}


def test_a_run_without_any_stage_has_no_rows():
    assert summarise(run(root(cpu_j=1.0), span("e", cpu_j=2.0)))["stages"] == []
