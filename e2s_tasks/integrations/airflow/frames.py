"""An error that a task raises is logged as it is without us: with the frames of its own code and Airflow's."""

from collections.abc import Iterator
from itertools import pairwise
from types import TracebackType

from e2s_tasks.recorder.guard import guarded

OURS = (  # what a task calls without knowing it; frames of what it calls itself stay
    "e2s_tasks.integrations.airflow.gate", "e2s_tasks.integrations.airflow.pulls",
    "e2s_tasks.integrations.airflow.runner", "e2s_tasks.io.patching.",
    "e2s_tasks.recorder.loops", "e2s_tasks.recorder.process_pools", "e2s_tasks.recorder.starts",
    "e2s_tasks.recorder.thread_pools",
)  # fmt: skip


@guarded
def without_ours(error: BaseException) -> None:
    """Take our frames out of the traceback of the error, and of those that it came from; where one began stays."""
    left, seen = [error], set[int]()
    while left:
        one = left.pop()
        if id(one) not in seen:
            seen.add(id(one))
            _cut(one)
            inner = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
            left += [other for other in (one.__cause__, one.__context__, *inner) if other is not None]


def _cut(error: BaseException) -> None:
    kept = [one for one in _entries(error.__traceback__) if one.tb_next is None or not _is_ours(one)]
    for one, following in pairwise(kept):
        one.tb_next = following
    error.__traceback__ = kept[0] if kept else None


def _entries(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _is_ours(entry: TracebackType) -> bool:
    return str(entry.tb_frame.f_globals.get("__name__")).startswith(OURS)
