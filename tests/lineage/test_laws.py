"""The laws of E2S over random runs, against an oracle that shares no code with the implementation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2s_tasks.core.lineage import lineage_of
from tests.lineage import oracle
from tests.lineage.ledgers import FILES
from tests.lineage.runs import Run

# A joule figure of 1e-311 would only test the floats: the oracle divides by it.
JOULES = st.just(0.0) | st.floats(1e-6, 100.0)
EVENTS = ("task", "task", "retry", "write", "write", "read", "read", "pass", "flow", "wait")
SIZES = st.none() | st.integers(0, 5)


@st.composite
def runs(draw):
    """A run of up to 25 events: task runs, retries, nesting, subflows, reuse, reads, writes, results passed, waits."""
    run = Run(flow_j=draw(JOULES))
    containers, flows, tasks, versions = ["flow"], ["flow"], [], []
    for number in range(draw(st.integers(0, 25))):
        what = draw(
            st.sampled_from(["task", "task", "retry", "write", "write", "read", "read", "keep", "pass", "flow", "wait"])
        )
        inside = draw(st.sampled_from(containers))
        at = draw(st.floats(0.0, run.clock))
        if what == "task":
            key = draw(st.sampled_from([None, "k", "l"]))
            status = "cached" if key and draw(st.booleans()) else "completed"
            joules = 0.0 if status == "cached" else draw(JOULES)
            name = f"t{number}"
            tasks.append(name)
            fields = {"result_key": key, "status": status, "seconds": draw(st.floats(0.0, 5.0))}
            containers.append(run.task(name, joules, parent=inside, at=at, **fields))
        elif what == "retry" and tasks:
            name = draw(st.sampled_from(tasks))
            first = next(s for s in run.records.spans if s.task_run_id == name)
            run.task(name, draw(JOULES), parent=first.parent_id, task_run=name, status="failed", at=at)
        elif what == "write":
            uri, seen = draw(st.sampled_from("abcdef")), draw(st.booleans())
            versions.append(run.write(uri, by=inside, size=draw(SIZES), at=at, joules=draw(JOULES), seen=seen))
        elif what == "read" and versions:
            run.read(draw(st.sampled_from(versions)), by=inside, joules=draw(JOULES), files=draw(FILES))
        elif what == "keep" and versions and run.records.versions[-1].written is not None:
            older = [one for one in versions[:-1] if one[0] == versions[-1][0]]
            if older:
                run.keep(draw(st.sampled_from(older)), of=versions[-1], files=draw(FILES))
        elif what == "pass" and tasks:
            run.pass_on(draw(st.sampled_from(tasks)), draw(st.sampled_from(tasks)))
        elif what == "flow":
            name, parent = f"sub{number}", draw(st.sampled_from(flows))
            containers.append(run.span("flow", name, draw(JOULES), parent=parent, flow_run_id=name, at=at))
            flows.append(containers[-1])
        elif what == "wait":
            run.span("wait", "wait", draw(JOULES), parent=inside, at=at)
    return run.records


@settings(max_examples=300)
@given(runs())
def test_every_figure_agrees_with_the_oracle(records):
    found, expected = lineage_of(records), oracle.figures(records)
    assert {key: one.in_run_j or 0.0 for key, one in found.versions.items()} == pytest.approx(expected["in_run"])
    assert set(found.final_products) == expected["finals"]
    attributed = {key: found.versions[key].attributed_j or 0.0 for key in found.final_products}
    assert attributed == pytest.approx(expected["attributed"])
    assert found.unclaimed_j == pytest.approx(expected["unclaimed"])
    assert found.orchestration_j == pytest.approx(expected["orchestration"])


@settings(max_examples=100)
@given(runs())
def test_attributed_and_unclaimed_together_are_what_the_run_used(records):
    found = lineage_of(records)
    attributed = sum(one.attributed_j or 0.0 for one in found.versions.values())
    assert attributed + found.unclaimed_j == pytest.approx(found.energy_j)
    assert all((one.in_run_j or 0.0) <= found.energy_j * (1 + 1e-9) + 1e-9 for one in found.versions.values())


@settings(max_examples=50)
@given(runs(), st.randoms(use_true_random=False))
def test_the_order_of_the_records_changes_nothing(records, random):
    before = lineage_of(records)
    for part in (records.spans, records.reads, records.edges, records.versions):
        random.shuffle(part)
    after = lineage_of(records)
    assert {key: one.in_run_j for key, one in after.versions.items()} == pytest.approx(
        {key: one.in_run_j for key, one in before.versions.items()}
    )
    assert set(after.final_products) == set(before.final_products)


@settings(max_examples=50)
@given(runs(), st.floats(0.1, 100.0))
def test_an_attempt_of_d_joules_raises_the_steps_of_a_product_by_exactly_d(records, extra):
    before = lineage_of(records)
    attempts = [s for s in records.spans if s.kind == "attempt" and s.id in before.step_of and s.status != "cached"]
    for attempt in attempts[:3]:
        attempt.cpu_j += extra
        after = lineage_of(records)
        step = before.step_of[attempt.id]
        for key, one in after.versions.items():
            rise = sum(s.energy.total for s in one.steps) - sum(s.energy.total for s in before.versions[key].steps)
            depends = bool(one.closure >> step & 1)
            assert rise == pytest.approx(extra if depends else 0.0, abs=1e-6)
        attempt.cpu_j -= extra


@settings(max_examples=200)
@given(runs())
def test_a_run_that_wrote_something_has_a_final_product(records):
    assert bool(lineage_of(records).final_products) == bool(records.versions)
