"""How attempts have ended that were suspended, whose stretches ran in several processes, or of which others tell."""

from collections import defaultdict

from e2s_tasks.core.records import LAST_BEGAN, LOST, TRY_ID, Kind, SpanRecord, Status

# Ends of which a process tells that nobody has checked with the orchestrator.
UNCHECKED = {Status.CRASHED, Status.FAILED, Status.TIMED_OUT, Status.SKIPPED}
OVER = {Status.COMPLETED, Status.FAILED, Status.TIMED_OUT, Status.SKIPPED}  # what comes after that is of a new life


def end_what_was_marked(spans: list[SpanRecord]) -> None:
    """Let attempts that somebody ended by hand, suspended or at work, have been cancelled; drop the marks.

    What its process says holds of one that is still at work, that has ended as it was marked, or that has succeeded:
    that report was taken, so that the mark came later. One that its orchestrator lost has failed where it was suspended
    and no process went on with it, and where its report was refused; so has one whose only process had it wait.
    """
    marks = [one for one in spans if one.kind == Kind.MARK]
    if not marks:
        return
    spans[:] = [one for one in spans if one.kind != Kind.MARK]
    waits = _waits(spans)
    tries: dict[tuple[str | None, int | None], list[SpanRecord]] = defaultdict(list)
    waited: dict[tuple[str | None, int | None], list[SpanRecord]] = defaultdict(list)
    for one in spans:
        if one.kind == Kind.ATTEMPT:
            (waited if one.parent_id in waits else tries)[one.task_run_id, one.attempt].append(one)
    for mark in marks:
        key = mark.task_run_id, mark.attempt
        stretches = tries[key] or (waited[key] if LOST in mark.attributes else [])
        begun = [one for one in stretches if one.started_at <= mark.started_at]
        if begun and LOST in mark.attributes:
            _has_lost([one for one in stretches if _is_of_one_try(one, begun[-1])][-1], mark)
        elif begun and (_is_suspended(begun[-1]) or _was_marked_before(begun[-1], mark)):
            begun[-1].status = Status.CANCELLED


def _has_lost(last: SpanRecord, mark: SpanRecord) -> None:
    refused = last.status == Status.CANCELLED and (last.ended_at or 0.0) >= mark.started_at
    if refused or _is_suspended(last):
        last.status = Status.FAILED


def _is_of_one_try(one: SpanRecord, other: SpanRecord) -> bool:
    return one.attributes.get(TRY_ID) == other.attributes.get(TRY_ID)


def _was_marked_before(one: SpanRecord, mark: SpanRecord) -> bool:
    meanwhile = one.ended_at is not None and mark.started_at <= one.ended_at
    return meanwhile and one.status in UNCHECKED and one.status != mark.status


def join_stretches(spans: list[SpanRecord]) -> None:
    """Put the later stretches of an attempt that was suspended inside its first, and let all have ended as the last.

    One that has not gone on when another try of the same work has begun, or its orchestrator has ended the run, was
    ended by somebody, be it with the run: it was cancelled, whatever the run has ended as.
    Each stretch keeps its own time, so that what its joules met in the grid is not spread over the wait.
    """
    if not any(_is_suspended(one) for one in spans):
        return
    lives = [one for one in spans if one.kind == Kind.FLOW and one.is_of_no_process]
    is_over = bool(lives) and lives[-1].status != Status.RUNNING
    newest = {one.task_run_id: one for one in spans if one.kind == Kind.ATTEMPT}
    for stretches in _tries(spans):
        last = stretches[-1]
        goes_on = newest[last.task_run_id] is last and not (is_over or _is_of_earlier_life(last, lives))
        status = Status.CANCELLED if last.status == Status.SUSPENDED and not goes_on else last.status
        for one in stretches:
            one.status = status
        for later in stretches[1:]:
            later.parent_id = stretches[0].id


def _is_of_earlier_life(one: SpanRecord, lives: list[SpanRecord]) -> bool:
    """Whether the run has ended since, and was made anew: it tells when it began last, and an attempt in which life."""
    began = one.attributes.get(LAST_BEGAN)
    return began is not None and any(life.attributes.get(LAST_BEGAN, began) > began for life in lives)


def _tries(spans: list[SpanRecord]) -> list[list[SpanRecord]]:
    """The stretches of each try that was suspended, by its number: several where the same work has begun anew."""
    waits = _waits(spans)
    suspended = {(one.task_run_id, one.attempt) for one in spans if _is_suspended(one) and one.parent_id not in waits}
    found: dict[tuple[str | None, int | None], list[list[SpanRecord]]] = defaultdict(list)
    for one in spans:
        key = (one.task_run_id, one.attempt)
        if one.kind != Kind.ATTEMPT or key not in suspended or one.parent_id in waits:
            continue
        last = found[key][-1][-1] if found[key] else None
        if last is None or last.status in OVER or not _is_of_one_try(last, one):
            found[key].append([])
        found[key][-1].append(one)
    return [stretches for lives in found.values() for stretches in lives]


def _waits(spans: list[SpanRecord]) -> set[str]:
    """What only waited: a process that had its task wait did none of its work."""
    return {one.id for one in spans if one.is_waiting}


def _is_suspended(one: SpanRecord) -> bool:
    return one.kind == Kind.ATTEMPT and one.status == Status.SUSPENDED and one.task_run_id is not None
