"""Laws that hold for any tree of spans."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2s_tasks.core.energy import COMPONENTS
from e2s_tasks.core.records import Kind, Status
from e2s_tasks.reporter import summarise
from tests.reporter.runs import NOON, root, run, span

joules = st.none() | st.floats(0, 1e6)
energies = st.fixed_dictionaries({f"{name}_j": joules for name in COMPONENTS})
statuses = st.sampled_from([Status.COMPLETED, Status.FAILED, Status.CRASHED, Status.RUNNING])


@st.composite
def runs(draw):
    """A root flow run and up to 25 spans of any kind, each inside an earlier one, some with a lost parent."""
    spans = [root(**draw(energies))]
    for number in range(draw(st.integers(0, 25))):
        parent = draw(st.sampled_from([*(one.id for one in spans), "lost"]))
        kind = draw(st.sampled_from(list(Kind)))
        facts = {"flow_run_id": f"flow-{number}"} if kind == Kind.FLOW else {}
        started_at = NOON + draw(st.integers(0, 100))
        spans.append(
            span(f"s{number}", kind, parent_id=parent, status=draw(statuses), started_at=started_at,
                 **draw(energies), **facts)
        )  # fmt: skip
    return run(*draw(st.permutations(spans)))


def same(one, other):
    return one == other or math.isclose(one or 0.0, other or 0.0, rel_tol=1e-9, abs_tol=1e-6)


@settings(max_examples=120)
@given(runs())
def test_exclusive_energies_add_up_to_the_total_and_to_the_root_s_inclusive(records):
    summary = summarise(records)
    total = summary["energy_j"]["total"]
    assert same(sum(one["exclusive_j"] or 0.0 for one in summary["spans"]), total)
    assert same(next(one for one in summary["spans"] if one["parent_id"] is None)["inclusive_j"], total)


@settings(max_examples=60)
@given(runs())
def test_inclusive_is_own_and_children_s_inclusive(records):
    summary = summarise(records)
    for one in summary["spans"]:
        inside = [child["inclusive_j"] or 0.0 for child in summary["spans"] if child["parent_id"] == one["id"]]
        assert same((one["exclusive_j"] or 0.0) + sum(inside), one["inclusive_j"])


@settings(max_examples=60)
@given(runs())
def test_missing_never_becomes_zero_and_known_never_becomes_missing(records):
    summary = summarise(records)
    for name in COMPONENTS:
        known = any(getattr(one, f"{name}_j") is not None for one in records.spans)
        assert (summary["energy_j"][name] is not None) == known
        assert (summary["provenance"][name] != "missing") == known
        assert (summary["energy_j_range"][name] is not None) == known


@settings(max_examples=60)
@given(runs())
def test_rows_of_depth_zero_add_up_to_the_total_and_shares_to_one(records):
    summary = summarise(records)
    outermost = [row for row in summary["steps"] if row["depth"] == 0]
    total = summary["energy_j"]["total"]
    assert same(sum(row["inclusive_j"] or 0.0 for row in outermost), total)
    if total:
        assert math.isclose(sum(row["share"] or 0.0 for row in outermost), 1.0)


@settings(max_examples=60)
@given(runs())
def test_a_figure_lies_in_its_range_which_has_no_upper_end_where_a_part_is_missing(records):
    summary = summarise(records)
    for name, bounds in summary["energy_j_range"].items():
        if bounds:
            assert bounds[0] <= summary["energy_j"][name] * (1 + 1e-9)
            open_above = name in summary["gaps"] or (name in {"total", "host"} and lacking(summary, name))
            assert (bounds[1] is None) == open_above
            assert bounds[1] is None or summary["energy_j"][name] <= bounds[1] * (1 + 1e-9)


def lacking(summary, name):
    """Whether a sum lacks a part."""
    return bool(summary["gaps"].keys() - {"remote"} if name == "host" else summary["gaps"])


@pytest.mark.slow
def test_ten_thousand_levels_and_a_circle_of_parents_are_no_trouble():
    deep = [span(f"d{i}", Kind.SPAN, parent_id=f"d{i - 1}" if i else "root", cpu_j=1.0) for i in range(10_000)]
    circle = [span("x", parent_id="y", cpu_j=1.0), span("y", parent_id="x", cpu_j=1.0), span("z", parent_id="z")]
    summary = summarise(run(root(), *deep, *circle))
    assert summary["energy_j"]["total"] == 10_002.0
    assert len(summary["spans"]) == 10_004
