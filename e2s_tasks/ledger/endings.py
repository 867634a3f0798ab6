"""What the orchestrator knows of a run's end, and its processes could not tell: that it was cancelled, or completed."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from e2s_tasks.core.records import Kind, ProcessRecord, RunRecords, SpanRecord, Status
from e2s_tasks.ledger.journal import alive


def endings(run: RunRecords, ended: Status, is_alive: Callable[[ProcessRecord], bool] = alive) -> Iterator[SpanRecord]:
    """The next version of each span that crashed (or runs in a process that is dead) because its run ended so.

    A process that is stopped from outside looks crashed. Of a cancelled run that is true of its flow runs and of the
    work that was going on, but not of earlier lives and attempts: those crashed. Any other end is the root's alone.
    """
    lives = [span for span in run.spans if _is_root(span, run)]
    begun = lives[-1].started_at if lives else 0.0
    dead = {process.id for process in run.processes if not is_alive(process)}
    repeated = _repeated(run)
    for span in run.spans:
        stopped = span.status == Status.CRASHED or (span.status == Status.RUNNING and span.process_id in dead)
        concerned = _is_root(span, run) or (ended is Status.CANCELLED and span.id not in repeated)
        if stopped and concerned and span.started_at >= begun:
            at = max(span.started_at, span.ended_at or 0.0)
            yield replace(span, seq=span.seq + 1, status=ended, ended_at=at)


def goes_on(run: RunRecords, is_alive: Callable[[ProcessRecord], bool] = alive) -> bool:
    """Whether some process still works for the run, as far as this host can tell."""
    living = {process.id for process in run.processes if is_alive(process)}
    return any(span.status == Status.RUNNING and span.process_id in living for span in run.spans)


def has_ended(run: RunRecords) -> bool:
    """Whether the root flow run itself has ended, whatever still works for it."""
    lives = [span for span in run.spans if _is_root(span, run)]
    return bool(lives) and lives[-1].status != Status.RUNNING


def _is_root(span: SpanRecord, run: RunRecords) -> bool:
    return span.kind == Kind.FLOW and span.flow_run_id == run.run_id


def _repeated(run: RunRecords) -> set[str]:
    """The attempts that were followed by another of their task run, with all that is inside them."""
    last: dict[str | None, int] = {}
    for span in run.spans:
        if span.kind == Kind.ATTEMPT and span.task_run_id:
            last[span.task_run_id] = max(last.get(span.task_run_id, 0), span.attempt or 1)
    found: set[str] = set()
    for span in run.spans:  # in the order of their starts: what is around a span comes first
        is_attempt = span.kind == Kind.ATTEMPT and span.task_run_id is not None
        if span.parent_id in found or (is_attempt and (span.attempt or 1) < last[span.task_run_id]):
            found.add(span.id)
    return found
