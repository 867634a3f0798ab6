"""Energy by life-cycle stage: each joule is of the stage of the span that used it, so that rows add up to the total."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from e2s_tasks.core.energy import add
from e2s_tasks.core.records import SpanRecord
from e2s_tasks.core.stages import STAGES
from e2s_tasks.reporter.steps import ORCHESTRATION, share
from e2s_tasks.reporter.tree import SpanTree

NO_STAGE = "no stage"
WAITING = "waiting"
ROWS = (*STAGES, NO_STAGE, ORCHESTRATION, WAITING)


def by_stage(spans: SpanTree, lacking: Collection[str] = ()) -> list[dict[str, Any]]:
    """The rows of one run: stage, joules and share. Empty where no span has a stage. lacking: as for `lower_bounds`."""
    if not any(span.stage for span in spans.spans):
        return []
    return rows([joules_by_stage(spans)], lower_bounds(spans, lacking))


def joules_by_stage(spans: SpanTree) -> dict[str, float | None]:
    """Joules by row. A span without a stage has that of the span around it, in whatever process that ran.

    What flow spans without a stage used themselves is orchestration; waiting for a cleaner grid is a row of its own.
    """
    joules: dict[str, list[float | None]] = defaultdict(list)
    for id_, row in _rows_of(spans):
        joules[row].append(spans.own_j[id_])
    return {row: add(parts) for row, parts in joules.items()}


def lower_bounds(spans: SpanTree, lacking: Collection[str]) -> set[str]:
    """The rows whose joules lack a part. lacking: the ids of the spans that do."""
    return {row for id_, row in _rows_of(spans) if id_ in lacking} if lacking else set()


def _rows_of(spans: SpanTree) -> Iterator[tuple[str, str]]:
    """The id of each span, with the row that its own joules are in."""
    of_span: dict[str, str] = {}
    for span in spans.spans:  # parents first
        outer = of_span.get(spans.parents[span.id] or "")
        row = WAITING if span.is_waiting or outer == WAITING else span.stage or outer or ""
        of_span[span.id] = row
        yield span.id, _name(row, span)


def _name(row: str, span: SpanRecord) -> str:
    return row or (ORCHESTRATION if span.is_orchestration else NO_STAGE)


def rows(runs: Iterable[dict[str, float | None]], lower: Collection[str] = ()) -> list[dict[str, Any]]:
    """The rows of several runs together, in the order of a life cycle. lower: those that lack a part."""
    columns: dict[str, list[float | None]] = defaultdict(list)
    for run in runs:
        for row, joules in run.items():
            columns[row].append(joules)
    sums = {row: add(parts) for row, parts in columns.items()}
    total = add(sums.values())
    order = sorted(sums, key=lambda row: (ROWS.index(row) if row in ROWS else len(ROWS), row))
    return [
        {"stage": row, "energy_j": sums[row], "share": share(sums[row], total), "lower_bound": row in lower}
        for row in order
    ]
