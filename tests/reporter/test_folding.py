"""Lists whose smaller rows stand as one: never a single one, and with their sums."""

import pytest

from e2s_tasks.integrations.cli.tables import ancestors
from e2s_tasks.reporter import chart, origins, summarise
from e2s_tasks.reporter.folding import fold, summed
from e2s_tasks.reporter.html import charts
from tests.reporter.runs import root, run, span


@pytest.mark.parametrize(("rows", "folded"), [(0, 0), (8, 0), (9, 0), (10, 2), (50, 42)])
def test_a_single_row_is_not_folded(rows, folded):
    shown, rest = fold(range(rows), 8)
    assert (shown + rest, len(rest)) == (list(range(rows)), folded)


@pytest.mark.parametrize(("steps", "others"), [(8, 0), (9, 0), (10, 2)])
def test_no_chart_and_no_tree_has_a_row_for_one_other(steps, others):
    summary = summarise(run(root(), *(span(f"s{n}", cpu_j=1.0 + n) for n in range(steps))))
    assert ("others<" in chart.bars(summary["consumers"])) == bool(others)
    bars = charts.folded([charts.Bar(one["name"], one["inclusive_j"], "") for one in summary["consumers"]])
    assert [bar.name for bar in bars if bar.rest] == ([f"{others} others"] if others else [])
    tree = [{"joules": 10.0 - n, "parent": 0 if n else None} for n in range(steps)]
    shown, rest = ancestors(tree, 8)
    assert (len(shown), len(rest)) == (steps - others, others)


@pytest.mark.parametrize(("reasons", "lines"), [(4, 4), (5, 5), (6, 5)])
def test_a_single_reason_is_not_folded(reasons, lines):
    told = origins.loaded_reasons({"fully_loaded_reasons": [f"reason {n} is known" for n in range(reasons)]})
    assert len(told) == lines
    assert (told[-1] == "   and 2 more reasons: --json") == (reasons == 6)


def test_rows_that_are_sums_themselves_add_up_with_their_number_and_lower_bounds():
    row = {"energy_j": 2.0, "share": 0.25, "unsuccessful_j": 1.0, "unsuccessful_lower_bound": False}
    two = summed([row | {"lower_bound": True}, row | {"energy_j": None, "lower_bound": False}])
    assert summed([two, row | {"lower_bounds": 0, "unsuccessful_lower_bound": True}]) == {
        "rows": 3, "energy_j": 4.0, "share": 0.75, "unsuccessful_j": 3.0, "lower_bound": True,
        "unsuccessful_lower_bound": True,
    }  # fmt: skip
