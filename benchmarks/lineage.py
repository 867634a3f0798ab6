"""Random lineage graphs against an oracle that shares no code with the library: 10,000 ledgers, every figure.

    .venv/bin/python benchmarks/lineage.py

Half of them are single runs (in-run, attributed, unclaimed, final products), half are up to four runs that read what
others wrote, keep files of it and reuse results (fully loaded). The graphs and the oracle are those of tests/lineage.
"""

import math
import time

from common import Row, main
from hypothesis import HealthCheck, Phase, given, settings

from e2s_tasks.core.lineage import RunGraph, lineage_of
from e2s_tasks.core.records import RunRecords
from e2s_tasks.core.upstream import Upstream
from tests.lineage import oracle
from tests.lineage.ledgers import ledgers, loading
from tests.lineage.test_laws import runs

HALF = 5000


def measure(quick: bool) -> list[Row]:
    """Graphs that were compared, and figures that differed."""
    count = 100 if quick else HALF
    begun = time.perf_counter()
    single, single_off, single_figures = _compared(runs(), _single, count)
    several, several_off, several_figures = _compared(ledgers(), _several, count)
    took = time.perf_counter() - begun
    figures = single_figures + several_figures
    return [
        Row("random ledgers", single + several, "graphs", note=f"{figures} figures compared in {took:.0f} s"),
        Row("figures of single runs that differ", single_off, "figures", 0),
        Row("fully loaded figures that differ", several_off, "figures", 0),
    ]


def _compared(strategy, compare, count):  # type: ignore[no-untyped-def] # of Hypothesis
    totals = [0, 0, 0]

    @settings(
        max_examples=count, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=True,
    )  # fmt: skip
    @given(strategy)
    def every(drawn):  # type: ignore[no-untyped-def]
        pairs = list(compare(drawn))
        totals[0] += 1
        totals[1] += sum(not _same(found, expected) for found, expected in pairs)
        totals[2] += len(pairs)

    every()
    return totals


def _same(found: object, expected: object) -> bool:
    if isinstance(found, float) and isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9)
    return found == expected


def _single(run: RunRecords):  # type: ignore[no-untyped-def]
    found, expected = lineage_of(run), oracle.figures(run)
    yield set(found.final_products), expected["finals"]
    yield found.unclaimed_j or 0.0, expected["unclaimed"] + 0.0
    for key, one in found.versions.items():
        yield one.in_run_j or 0.0, expected["in_run"][key] + 0.0
        if key in expected["attributed"]:
            yield one.attributed_j or 0.0, expected["attributed"][key] + 0.0


def _several(several: list[RunRecords]):  # type: ignore[no-untyped-def]
    expected, upstream = oracle.loaded(several), Upstream(loading(several))
    for run in several:
        graph = RunGraph(run)
        for one in run.versions:
            yield upstream.of(graph, one.id).joules.total or 0.0, expected[one.id] + 0.0


if __name__ == "__main__":
    main(measure)
