"""Two runs side by side: every figure is one of their summaries'."""

from dataclasses import replace

import pytest

from e2s_tasks.core.records import Kind, SourceRecord, Status, VersionRecord
from e2s_tasks.reporter import summarise
from e2s_tasks.reporter.compare import DOUBT, change, changed, compare, headline
from tests.reporter.runs import NOON, RUN, SOURCES, decision, full_run, outcome, process, root, run, span
from tests.reporter.test_fleet import waiting_run


def row(rows, name):
    """The row of that name."""
    return next(one for one in rows if one["name"] == name)


def other_run(**fields):
    """A run that only trains, and takes twice what the full run's two trainings took."""
    return run(
        root(cpu_j=5.0),
        span("t1", name="train", cpu_j=344.0, attempt=1, started_at=NOON + 1),
        span("p1", name="publish", cpu_j=1.0, attempt=1, started_at=NOON + 4),
        **fields,
    )


def test_what_failed_attempts_used_is_a_lower_bound_where_one_of_them_lacks_a_part():
    killed = span("k", name="train", status=Status.CRASHED, cpu_j=1.0, attributes={"killed": True})
    lower, closed = run(root(cpu_j=1.0), killed), run(root(cpu_j=1.0), replace(killed, attributes={}))
    for side, records in (("a", lower), ("b", closed)):
        records.processes = [process(SOURCES[:1])]
        assert summarise(records)["unsuccessful_lower_bound"] is (side == "a")
    total = row(compare(summarise(lower), summarise(closed))["totals"], "failed attempts")
    assert (total["a_lower_bound"], total["b_lower_bound"]) == (True, False)


def test_each_figure_is_the_summarys_own():
    a, b = summarise(full_run()), summarise(other_run(outcomes=[outcome("t1", units=10.0)]))
    found = compare(a, b)
    energy = row(found["totals"], "energy")
    assert (energy["a"], energy["b"]) == (a["energy_j"]["total"], b["energy_j"]["total"])
    assert row(found["totals"], "failed attempts")["a"] == a["unsuccessful_j"]
    assert row(found["totals"], "emissions")["a"] == a["emissions_g"]["total"]
    for one in found["components"]:
        assert (one["a"], one["b_provenance"]) == (a["energy_j"][one["name"]], b["provenance"][one["name"]])
    for one in found["kpis"]:
        assert one["a"] == a["kpis"].get(one["kpi"], {"value": None})["value"]
        assert one["b"] == b["kpis"].get(one["kpi"], {"value": None})["value"]
    for side, summary in (("a", a), ("b", b)):
        assert sum(one[side] or 0.0 for one in found["steps"]) == pytest.approx(summary["energy_j"]["total"])


def test_beside_a_run_that_waited_one_that_did_not_has_avoided_nothing():
    waited, at_once = summarise(waiting_run()), summarise(other_run())
    found = row(compare(at_once, waited)["totals"], "avoided by waiting")
    assert (found["a"], found["b"]) == (0.0, waited["waited"]["avoided_g"])
    assert "avoided by waiting" not in {one["name"] for one in compare(at_once, at_once)["totals"]}


def test_steps_and_components_that_lack_a_part_are_lower_bounds_as_in_their_summaries():
    a, b = summarise(full_run()), summarise(other_run())
    found = compare(a, b)
    for side, summary in (("a", a), ("b", b)):
        lower = {one["name"] for one in found["components"] if one[f"{side}_lower_bound"]}
        assert lower == summary["gaps"].keys() != set()
        steps = {one["name"] for one in found["steps"] if one[f"{side}_lower_bound"]}
        assert steps == {one["name"] for one in summary["consumers"] if one["lower_bound"]} != set()
    assert not row(found["steps"], "train")["a_lower_bound"]


def test_a_step_that_only_one_run_has_is_said_to_be():
    found = compare(summarise(full_run()), summarise(other_run()))
    assert row(found["steps"], "publish")["only_in"] == "b"
    assert row(found["steps"], "build_features")["only_in"] == "a"
    train = row(found["steps"], "train")
    assert (train["only_in"], train["a_count"], train["b_count"]) == (None, 2, 1)
    assert train["change_percent"] == pytest.approx(100.0)


def test_a_step_of_unknown_energy_is_there_all_the_same():
    found = compare(summarise(full_run()), summarise(run(root(), span("t", name="train", attempt=1))))
    assert row(found["steps"], "train")["only_in"] is None
    assert row(found["steps"], "train")["b"] is None


def test_the_change_is_unknown_where_a_figure_is_missing_or_the_first_is_nothing():
    assert change(10.0, 15.0) == 50.0
    assert change(10.0, 0.0) == -100.0
    assert change(0.0, 1.0) is None
    assert change(None, 1.0) is None
    assert change(1.0, None) is None


def test_runs_of_different_flows_are_allowed_and_said():
    other = other_run()
    other.spans[0].name = "scoring"
    found = compare(summarise(full_run()), summarise(other))
    assert not found["same_flow"]
    assert any("the flows differ: flight-delays and scoring" in note for note in found["notes"])


def test_what_was_measured_in_one_run_and_modelled_in_the_other_is_said():
    measured = other_run(processes=[process([SourceRecord("cpu", "RAPL", "measured")])])
    assert "cpu is modelled in A and measured in B" in compare(summarise(full_run()), summarise(measured))["notes"]


def test_a_run_that_failed_or_is_a_lower_bound_or_the_same_is_said():
    failed = run(root(cpu_j=1.0, status=Status.FAILED, attributes={"gaps": ["cpu"]}))
    found = compare(summarise(failed), summarise(failed))
    assert found["notes"][0] == "A and B are the same run"
    assert "A has not completed: it is failed" in found["notes"]
    assert any(note.startswith("A: no figure for cpu") for note in found["notes"])
    assert row(found["totals"], "energy")["a_lower_bound"]


def busy(static_j, other_j, cpu_s=10.0, cpu_j=100.0):
    """A run of so many joules of idle power, and CPU seconds, beside so much of other programs."""
    train = span("t", name="train", cpu_j=cpu_j, dram_j=static_j / 4, static_j=static_j, cpu_ns=int(cpu_s * 1e9))
    return summarise(run(root(cpu_j=0.0, dram_j=0.0, static_j=0.0, other_j=other_j, idle_j=0.0), train))


def test_where_cpu_time_is_the_same_it_is_said_that_the_wall_time_makes_the_difference():
    _, said = compare(busy(76.0, 52.3), busy(40.0, 7.85, cpu_s=10.11))["notes"]
    assert said == (
        "CPU time is the same (+1.1 %): the difference is mostly DRAM and idle power over the wall time;"
        " other programs used 52.3 J in A and 7.85 J in B"
    )
    _, slower = compare(busy(40.0, None), busy(140.0, None, cpu_s=11.0))["notes"]
    assert slower == "CPU time differs by less (+10 %): the difference is mostly DRAM and idle power over the wall time"


@pytest.mark.parametrize(
    "b",
    [
        pytest.param(busy(40.0, 1.0, cpu_s=8.0), id="less work"),
        pytest.param(busy(74.0, 1.0), id="hardly a difference"),
        pytest.param(busy(76.0, 1.0, cpu_j=50.0), id="the CPU drew less"),
    ],
)
def test_nothing_is_said_of_cpu_time_where_it_does_not_explain_the_difference(b):
    assert not any("CPU time" in note for note in compare(busy(76.0, 1.0), b)["notes"])


def test_emissions_of_different_grids_are_said():
    german = other_run(decisions=[decision(zone="DE")])
    notes = compare(summarise(full_run()), summarise(german))["notes"]
    assert "emissions rest on different grids: GB, average, direct in A and DE, average, direct in B" in notes


def versions(*uris):
    """A run whose training writes these."""
    written = [VersionRecord(f"v{n}", uri, "t1", RUN, NOON + 2 + n) for n, uri in enumerate(uris)]
    return summarise(run(root(cpu_j=1.0), span("t1", name="train", cpu_j=9.0), versions=written))


def test_artifacts_are_matched_by_uri_else_by_a_name_that_only_one_has():
    a = versions("file:///d/model", "file:///day-1/scored.parquet", "file:///d/gone")
    b = versions("file:///d/model", "file:///day-2/scored.parquet", "file:///d/new")
    found = {one["name"]: one for one in compare(a, b)["artifacts"]}
    assert found["model"]["only_in"] is None
    assert (found["scored.parquet"]["a_uri"], found["scored.parquet"]["b_uri"]) == (
        "file:///day-1/scored.parquet", "file:///day-2/scored.parquet",
    )  # fmt: skip
    assert (found["gone"]["only_in"], found["new"]["only_in"]) == ("a", "b")
    assert found["model"]["in_run_j"]["a"] == a["artifacts"][0]["in_run_j"]


def test_the_headline_names_the_step_that_made_most_of_the_difference():
    assert headline(compare(summarise(full_run()), summarise(other_run()))) == (
        ">= 283 J in A, >= 350 J in B: which took more is not known; of what is, most in train (at least +172 J)"
    )


def of_steps(**joules):
    """A run whose steps used so much: exactly, or at least where it is a text; None where nothing is known."""
    nothing = {"cpu_j": 0.0, "dram_j": 0.0, "static_j": 0.0}
    steps = [
        span(name, **nothing | {"cpu_j": float(used)}, attributes={"gaps": ["cpu"]} if isinstance(used, str) else {})
        if used is not None
        else span(name, attributes={"gaps": ["cpu", "dram", "static"]})
        for name, used in joules.items()
    ]
    return summarise(run(root(**nothing), *steps))


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        pytest.param(
            of_steps(item=1.0, leaf=25.0), of_steps(item=3.0, leaf=15.0), "-31 %, most in leaf (-10.0 J)", id="fell"
        ),
        pytest.param(
            of_steps(item=1.0, leaf=13.0, load=12.0), of_steps(item=20.0, leaf=1.0),
            "-19 %, most in leaf (-12.0 J), against item (+19.0 J)", id="one step rose by more than another fell",
        ),
        pytest.param(
            of_steps(item=20.0, leaf=1.0), of_steps(item=1.0, leaf=13.0, load=12.0),
            "+24 %, most in leaf (+12.0 J), against item (-19.0 J)", id="one step fell by more than another rose",
        ),
        pytest.param(
            of_steps(item=100.0, leaf=1.0), of_steps(item=None, leaf=2.0),
            "which took more is not known; of what is, most in leaf (+1.00 J)", id="a step without a figure",
        ),
        pytest.param(
            of_steps(leaf=1.0), of_steps(leaf=2.0, item="5"), "at least +600 %, most in item (at least +5.00 J)",
            id="a new step that is a lower bound",
        ),
        pytest.param(of_steps(leaf=1.0), of_steps(leaf=1.0), "0 %", id="nothing differs"),
    ],
)  # fmt: skip
def test_the_headline_names_what_went_the_way_of_the_whole_and_what_went_the_other_way_by_more(a, b, said):
    assert headline(compare(a, b)).split(" in B: ")[1] == said


def used(joules, **fields):
    """A run that used so much in a step."""
    nothing = {"dram_j": 0.0, "static_j": 0.0}
    return summarise(run(root(cpu_j=0.0, **nothing), span("t", name="train", cpu_j=joules, **nothing, **fields)))


PARTLY = {"attributes": {"gaps": ["cpu"]}}


@pytest.mark.parametrize(
    ("a", "b", "told", "said"),
    [
        (used(100.0), used(3.0), (-97.0, False, False), "-97 %"),
        (used(100.0), used(3.0, **PARTLY), (None, False, True), "-"),
        (used(100.0), used(150.0, **PARTLY), (50.0, True, False), "at least +50 %"),
        (used(100.0, **PARTLY), used(150.0), (None, False, True), "-"),
        (used(100.0, **PARTLY), used(150.0, **PARTLY), (None, False, True), "-"),
    ],
)
def test_of_a_lower_bound_only_a_rise_from_an_exact_figure_is_told(a, b, told, said):
    found = compare(a, b)
    for one in (row(found["totals"], "energy"), row(found["components"], "cpu"), row(found["steps"], "train")):
        assert (one["change_percent"], one["change_at_least"], one["change_unknown"]) == told
        assert changed(one) == said
    assert (DOUBT in found["notes"]) == told[2]
    assert ("which took more is not known" in headline(found)) == told[2]
    unknown = summarise(run(root(), span("w", Kind.ATTEMPT)))
    assert headline(compare(unknown, unknown)).endswith("it is unknown in A")
