"""Persisted results: writing and loading one belongs to the task run whose result it is, or that reuses it.

The orchestrator does both outside the task's own function, inside the flow run.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from e2s_tasks.core.records import Kind, SpanRecord

RESULT = "result"  # attribute of a span that moved a persisted result: the result key of the attempt that made it


def with_their_task_runs(spans: Sequence[SpanRecord]) -> Sequence[SpanRecord]:
    """The spans, of which those that moved a result lie in the last attempt of their task run.

    That is the one that moved it and has the same result key, else the one that made the result, else the one that
    moved it.
    """
    moves = [span for span in spans if span.kind == Kind.MOVE and RESULT in span.attributes]
    if not moves:
        return spans
    attempts = sorted(
        (span for span in spans if span.kind == Kind.ATTEMPT), key=lambda one: (one.started_at, one.id), reverse=True
    )
    of_run: dict[str | None, list[SpanRecord]] = defaultdict(list)
    of_key: dict[str | None, list[SpanRecord]] = defaultdict(list)
    for attempt in attempts:
        of_run[attempt.task_run_id].append(attempt)
        of_key[attempt.result_key].append(attempt)
    homes = {}
    for move in moves:
        key = move.attributes[RESULT]
        own = of_run[move.task_run_id] if move.task_run_id else []
        makers = [one for one in of_key[key] if one.started_at <= move.started_at]
        found = [one for one in own if one.result_key == key] or makers or own
        if found:
            homes[move.id] = found[0].id
    return [replace(span, parent_id=homes[span.id]) if span.id in homes else span for span in spans]
