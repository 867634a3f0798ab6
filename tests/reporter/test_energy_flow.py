"""How energy flows into products, and when it was used: both are the summary's joules, seen in another way."""

import pytest

from e2s_tasks.core.lineage import lineage_of
from e2s_tasks.core.records import MOVED, EdgeRecord, Kind, VersionRecord
from e2s_tasks.reporter import summarise
from e2s_tasks.reporter.energy_flow import energy_flow
from e2s_tasks.reporter.steps import rows_of
from e2s_tasks.reporter.timeline import timeline
from e2s_tasks.reporter.tree import adopted, tree
from tests.reporter.runs import NOON, RUN, full_run, root, run, span
from tests.reporter.test_fleet import failed_run, waiting_run


def two_products():
    """Features that go into a model and a report of different sizes, and a step that leads to neither."""
    return run(
        root(cpu_j=10.0, ended_at=NOON + 20),
        span("f", name="features", cpu_j=40.0, task_run_id="f"),
        span("m", name="train", cpu_j=50.0, task_run_id="m", started_at=NOON + 3),
        span("r", name="write report", cpu_j=8.0, task_run_id="r", started_at=NOON + 5),
        span("n", name="look around", cpu_j=2.0, task_run_id="n", started_at=NOON + 7),
        versions=[
            VersionRecord("v1", "file:///d/model", "m", RUN, NOON + 5, 300),
            VersionRecord("v2", "file:///d/report.html", "r", RUN, NOON + 7, 100),
        ],
        edges=[EdgeRecord("e1", RUN, "f", "m"), EdgeRecord("e2", RUN, "f", "r")],
    )


def with_subflows():
    """The same task in a flow and in its subflow, both of which also work in their bodies; the flow ran twice."""
    sub = {"flow_run_id": "sub"}
    return run(
        root(cpu_j=4.0, ended_at=NOON + 3),
        span("a0", name="leaf", cpu_j=2.0, task_run_id="a0", task_key="leaf"),
        span("z", name="tried once", cpu_j=16.0, task_run_id="z", task_key="z", started_at=NOON + 1),
        span("root 2", Kind.FLOW, "flight-delays", cpu_j=1.0, started_at=NOON + 10, ended_at=NOON + 20),
        span("a", name="leaf", parent_id="root 2", cpu_j=3.0, task_run_id="a", task_key="leaf", started_at=NOON + 11),
        span("b", Kind.SPAN, "by hand", parent_id="root 2", cpu_j=5.0, started_at=NOON + 12),
        span("child", Kind.FLOW, parent_id="root 2", cpu_j=7.0, started_at=NOON + 13, ended_at=NOON + 19, **sub),
        span("c", name="leaf", parent_id="child", cpu_j=11.0, task_run_id="c", started_at=NOON + 14, **sub),
        span("d", Kind.SPAN, "by hand", parent_id="child", cpu_j=13.0, started_at=NOON + 16, **sub),
        versions=[VersionRecord("v1", "file:///d/model", "c", RUN, NOON + 15, 300)],
    )


@pytest.mark.parametrize(
    "records",
    [full_run(), two_products(), waiting_run(), with_subflows()],
    ids=["full", "two products", "waited", "subflows"],
)
def test_the_flows_into_a_product_add_up_to_what_is_attributed_to_it(records):
    summary, spans = summarise(records), tree(records.spans, RUN)
    rows = energy_flow(records, spans, lineage_of(adopted(records, spans)))
    into = {}
    for row in rows:
        into[row["uri"]] = into.get(row["uri"], 0.0) + row["joules"]
    expected = {one["uri"]: one["attributed_j"] for one in summary["artifacts"] if one["attributed_j"]}
    assert {uri: joules for uri, joules in into.items() if uri} == pytest.approx(expected)
    assert into.get(None, 0.0) == pytest.approx(summary["unclaimed_j"])
    assert sum(into.values()) == pytest.approx(summary["energy_j"]["total"] - summary["waiting_j"])


def test_a_shared_step_flows_into_both_products_by_their_bytes():
    records = two_products()
    spans = tree(records.spans, RUN)
    rows = energy_flow(records, spans, lineage_of(adopted(records, spans)))
    features = {row["uri"]: row["joules"] for row in rows if row["step"] == "features"}
    assert features == pytest.approx({"file:///d/model": 30.0, "file:///d/report.html": 10.0})
    assert [row["joules"] for row in rows if row["step"] == "look around"] == [2.0]


@pytest.mark.parametrize(
    "records",
    [full_run(), two_products(), with_subflows(), failed_run()],
    ids=["full", "two products", "subflows", "failed"],
)
def test_a_steps_flows_have_its_name_and_add_up_to_its_energy(records):
    spans = tree(records.spans, RUN)
    sums = {}
    for row in energy_flow(records, spans, lineage_of(adopted(records, spans))):
        sums[row["step"]] = sums.get(row["step"], 0.0) + row["joules"]
    expected = {one["name"]: one["inclusive_j"] for one in summarise(records)["consumers"] if one["inclusive_j"]}
    assert sums == pytest.approx(expected)


@pytest.mark.parametrize(
    "records",
    [full_run(), two_products(), waiting_run(), failed_run(), with_subflows()],
    ids=["full", "two products", "waited", "failed", "subflows"],
)
def test_each_spans_joules_are_in_the_consumer_that_its_row_names(records):
    spans = tree(records.spans, RUN)
    sums = {}
    for one, row in rows_of(spans).items():
        if spans.own_j[one] is not None:
            sums[row] = sums.get(row, 0.0) + spans.own_j[one]
    expected = {(one["kind"], one["name"]): one["inclusive_j"] for one in summarise(records)["consumers"]}
    assert sums == pytest.approx(expected)


@pytest.mark.parametrize("records", [full_run(), waiting_run(), failed_run()], ids=["full", "waited", "failed"])
def test_the_area_under_the_powers_is_the_runs_energy_without_waiting(records):
    summary, found = summarise(records), timeline(records, tree(records.spans, RUN))
    joules = {row: float(watts.sum()) * found.seconds for row, watts in found.watts.items()}
    assert sum(joules.values()) == pytest.approx(summary["energy_j"]["total"] - summary["waiting_j"], rel=1e-6)


def test_a_run_that_waited_is_drawn_from_when_it_began_to_work():
    records = waiting_run()
    found = timeline(records, tree(records.spans, RUN))
    assert found.edges[0] == pytest.approx(NOON + 3 * 3600 - 60)
    assert found.intensity[0] == 220.0
    assert found.intensity[-1] == 180.0


def test_a_process_that_had_its_task_wait_is_one_row_of_its_own_time_and_in_no_power():
    process = span("p", Kind.ORCHESTRATION, cpu_j=2.0, ended_at=NOON + 5, attributes={MOVED: True})
    attempt = span("a", parent_id="p", cpu_j=3.0, started_at=NOON + 1, ended_at=NOON + 4, status="suspended")
    records = run(root(cpu_j=None), process, attempt, span("w", name="work", cpu_j=7.0, started_at=NOON + 60))
    moving = summarise(records)["steps"][0]
    assert (moving["name"], moving["duration_s"], moving["inclusive_j"]) == ("moving to a cleaner hour", 5.0, 5.0)
    found = timeline(records, tree(records.spans, RUN))
    assert {name for _, name in found.watts} == {"work"}


def test_a_run_without_energy_has_no_timeline():
    records = run(root(), span("w", Kind.ATTEMPT))
    assert timeline(records, tree(records.spans, RUN)) is None
