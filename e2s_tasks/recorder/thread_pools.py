"""Threads that more than one span uses: each piece of work that they do belongs to the span that has given it to them.

Those of `ThreadPoolExecutor` (also of asyncio), of `multiprocessing.pool.ThreadPool`, and those that anyio keeps.
"""

import functools
import threading
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

from e2s_tasks.importing import ImportWatch
from e2s_tasks.recorder.guard import guarded
from e2s_tasks.recorder.inherited import Inherited
from e2s_tasks.recorder.open_span import CURRENT, OpenSpan, current_span, thread_belongs_to

SPAN = "_e2s_span"  # of a piece of work, or of its result: whose it is

_imports = ImportWatch()  # to load them for nothing would take 10 ms


def watch_thread_pools() -> None:
    """From now on threads work for who gives them something to do, once these are imported."""
    _imports.when_imported("concurrent.futures.thread", _watch_executors)
    _imports.when_imported("multiprocessing.pool", _watch_pools)
    _imports.when_imported("anyio._backends._asyncio", _watch_anyio)


class Piece:
    """That the calling thread works for a span (None: for none that starts anything), in place of whose it was."""

    def __init__(self, span: OpenSpan | None) -> None:
        self._inherited = None if span is None else Inherited(span)
        self._before = thread_belongs_to(span)
        if self._inherited is not None:
            self._inherited.resume()

    def end(self) -> None:
        """It has done the piece."""
        if self._inherited is not None:
            self._inherited.suspend()
        thread_belongs_to(self._before)


def working_for(span: OpenSpan | None, work: Callable[..., Any], *args: Any) -> None:
    """Do work of a span on the calling thread, whosever that is. Of errors that it keeps no line is ours."""
    piece = None if current_span() is span else Piece(span)
    try:
        work(*args)
    finally:
        del args  # an error that it keeps knows this frame, and is not to keep what it worked on
        if piece is not None:
            piece.end()


def _watch_executors(module: ModuleType) -> None:
    work = module._WorkItem  # noqa: SLF001
    make, run = work.__init__, work.run

    @functools.wraps(make)
    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        setattr(self, SPAN, current_span())

    @functools.wraps(run)
    def ran(self: Any, *args: Any) -> None:
        span: OpenSpan | None = getattr(self, SPAN, None)
        try:
            working_for(span, run, self, *args)
        finally:
            del self  # as above

    work.__init__, work.run = made, ran


class _Queue:
    """A queue of pieces of work: a thread that takes one works for its span until it is done, or takes another.

    span_of: tells whose a piece is.
    """

    def __init__(self, queue: Any, span_of: Callable[[Any], OpenSpan | None]) -> None:
        self._queue, self._span_of = queue, span_of
        self._taken = threading.local()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        self._end()
        work = self._queue.get(*args, **kwargs)
        self._begin(work)
        return work

    def task_done(self) -> None:
        self._end()
        self._queue.task_done()

    @guarded
    def _begin(self, work: Any) -> None:
        span = None if work is None else self._span_of(work)
        if work is not None and current_span() is not span:
            self._taken.piece = Piece(span)

    @guarded
    def _end(self) -> None:
        piece = self._taken.__dict__.pop("piece", None)
        if piece is not None:
            piece.end()


def _watch_pools(module: ModuleType) -> None:
    set_up = module.ThreadPool._setup_queues  # noqa: SLF001

    @functools.wraps(set_up)
    def has_set_up(self: Any) -> None:
        set_up(self)
        _hand_out(self)

    module.ThreadPool._setup_queues = has_set_up  # noqa: SLF001
    for result in (module.ApplyResult, module.IMapIterator):
        result.__init__ = _beginning(result.__init__)
    for result in (module.ApplyResult, module.MapResult):
        result._set = _calling_back(result._set)  # noqa: SLF001


@guarded
def _hand_out(pool: Any) -> None:
    """Have its threads take their work from a queue that knows whose it is, and keeps no pool that nobody has."""
    seen = weakref.ref(pool)

    def span_of(work: Any) -> OpenSpan | None:
        known = getattr(seen(), "_cache", {})
        return getattr(known.get(work[0]), SPAN, None)

    pool._inqueue = _Queue(pool._inqueue, span_of)  # noqa: SLF001


def _beginning(make: Any) -> Any:
    @functools.wraps(make)
    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        setattr(self, SPAN, current_span())
        make(self, *args, **kwargs)

    return made


def _calling_back(take: Any) -> Any:
    """What is to be done once a piece is done is of its span: joblib hands on most of its work there."""

    @functools.wraps(take)
    def taken(self: Any, *args: Any) -> None:
        if self._callback or self._error_callback:
            working_for(getattr(self, SPAN, None), take, self, *args)
        else:
            take(self, *args)

    return taken


def _watch_anyio(module: ModuleType) -> None:
    make = module.WorkerThread.__init__

    @functools.wraps(make)
    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        self.queue = _Queue(self.queue, lambda work: work[0].get(CURRENT))  # in the context of who waits for it

    module.WorkerThread.__init__ = made
