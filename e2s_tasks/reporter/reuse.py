"""Which attempt of the same run a cached task run reused, and the outcomes that it repeats."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from e2s_tasks.core.records import OutcomeRecord, RunRecords, SpanRecord, Status
from e2s_tasks.reporter.tree import SpanTree


def made_here(spans: Iterable[SpanRecord]) -> dict[str, SpanRecord]:
    """By cached span, the last attempt of the run that had produced its result before; absent if none had."""
    cached, made = [], defaultdict(list)
    for span in spans:
        if span.status == Status.CACHED:
            cached.append(span)
        elif span.status == Status.COMPLETED and span.result_key and span.ended_at is not None:
            made[span.result_key].append(span)
    found = {}
    for span in cached:
        before = [one for one in made[span.result_key or ""] if (one.ended_at or 0.0) <= span.started_at]
        if before:
            found[span.id] = max(before, key=lambda one: (one.ended_at or 0.0, one.id))
    return found


def repeated(
    cached: SpanRecord, producer: SpanRecord, outcomes: Iterable[OutcomeRecord], spans: SpanTree
) -> list[OutcomeRecord]:
    """The outcomes of the attempt that produced a cached span's result, as that span's own. spans: the producer's."""
    inside = {span.id for span in spans.within(producer)}
    return [replace(one, span_id=cached.id) for one in outcomes if one.span_id in inside]


def all_outcomes(
    run: RunRecords, spans: SpanTree, replayed: Iterable[OutcomeRecord] | None = None
) -> list[OutcomeRecord]:
    """The outcomes of a run, with those that its cached task runs repeat: of its own attempts, and `replayed` ones."""
    here = [
        one
        for cached_id, producer in made_here(spans.spans).items()
        for one in repeated(spans.by_id[cached_id], producer, run.outcomes, spans)
    ]
    return [*run.outcomes, *here, *(replayed or [])]
