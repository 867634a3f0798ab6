"""Which span is the parent of one that was recorded in another process than what it belongs to."""

from collections import defaultdict
from collections.abc import Mapping

from e2s_tasks.core.records import CallRecord, Kind, SpanRecord
from e2s_tasks.ledger.stretches import end_what_was_marked, join_stretches

PLAIN = {Kind.SPAN, Kind.READ, Kind.WRITE, Kind.MOVE}


def adopt(spans: list[SpanRecord], run_id: str, calls: Mapping[str, CallRecord]) -> None:
    """Give what was recorded in another process than its flow's the flow span as its parent.

    Work goes to the last life of its flow run that had begun; a subflow to the attempt or flow run that started it, as
    far as that is known, else to the root flow run's. An attempt that was suspended in between is its first stretch.
    """
    end_what_was_marked(spans)
    join_stretches(spans)
    lives: dict[str | None, list[SpanRecord]] = defaultdict(list)
    for one in spans:
        if one.kind == Kind.FLOW and one.flow_run_id is not None:
            lives[one.flow_run_id].append(one)
        elif one.kind == Kind.ATTEMPT and one.task_run_id is not None:
            lives[one.task_run_id].append(one)
    for one in spans:
        if one.parent_id is not None:
            continue
        started = calls.get(one.flow_run_id or "") if one.kind == Kind.FLOW and one.flow_run_id != run_id else None
        known = (started.task_run_id, started.caller) if started is not None else ()
        parents = next((lives[home] for home in (*known, _home(one, run_id)) if home in lives), None)
        if parents:
            begun = [parent for parent in parents if parent.started_at <= one.started_at]
            one.parent_id = (begun[-1] if begun else parents[0]).id
    if len({one.process_id for one in spans}) > 1:
        _lift_the_late(spans)


def _lift_the_late(spans: list[SpanRecord]) -> None:
    """Put work of a process that began after the end of the span that started this under what was open around that."""
    by_id = {one.id: one for one in spans}
    for one in spans:
        around, seen = by_id.get(one.parent_id or "") if one.kind in PLAIN else None, {one.id}
        while around is not None and around.id not in seen and around.process_id != one.process_id:
            seen.add(around.id)
            one.parent_id = around.id
            over = around.ended_at is not None and around.ended_at <= one.started_at
            around = by_id.get(around.parent_id or "") if over else None


def _home(orphan: SpanRecord, run_id: str) -> str | None:
    """The flow run that a span without a parent belongs under; None for the root flow run's own spans."""
    if orphan.kind != Kind.FLOW:
        return orphan.flow_run_id
    return run_id if orphan.flow_run_id != run_id else None
