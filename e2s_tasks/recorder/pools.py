"""Pools that more than one span uses: what their threads and processes do belongs to the span that hands it to them.

Each piece of work of a `ThreadPoolExecutor` belongs to the span that submits it. What a pool of processes does cannot
be told apart by pieces: it is of the spans that have handed it work and are still open, in even parts if there are
several. Watched are the executors of `concurrent.futures` and loky (joblib's), and the pools of `multiprocessing`.
"""

import functools
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from e2s_tasks.importing import ImportWatch
from e2s_tasks.recorder.guard import guarded
from e2s_tasks.recorder.inherited import Inherited
from e2s_tasks.recorder.open_span import OpenSpan, current_span, thread_belongs_to

EXECUTORS = ("concurrent.futures.process", "joblib.externals.loky.process_executor", "loky.process_executor")
SPAN = "_e2s_span"  # of a piece of work: whose it is

_imports = ImportWatch()  # to load them for nothing would take 10 ms


def watch_pools() -> None:
    """From now on pools work for who uses them, once these are imported."""
    _imports.when_imported("concurrent.futures.thread", _watch_pieces)
    for name in EXECUTORS:
        _imports.when_imported(name, _watch_executors)
    _imports.when_imported("multiprocessing.pool", _watch_pools)


def _watch_pieces(module: ModuleType) -> None:
    """A piece of work runs between our lines, so that none of them is in the traceback of its error."""
    piece = module._WorkItem  # noqa: SLF001
    make, run = piece.__init__, piece.run

    @functools.wraps(make)
    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        setattr(self, SPAN, current_span())

    @functools.wraps(run)
    def ran(self: Any, *args: Any) -> None:
        span: OpenSpan | None = getattr(self, SPAN, None)
        if span is None or current_span() is span:
            run(self, *args)
            return
        inherited, before = Inherited(span), thread_belongs_to(span)
        inherited.resume()
        try:
            run(self, *args)
        finally:
            inherited.suspend()
            thread_belongs_to(before)

    piece.__init__, piece.run = made, ran


def _watch_executors(module: ModuleType) -> None:
    executor = module.ProcessPoolExecutor
    submit = executor.submit

    @functools.wraps(submit)
    def submitted(self: Any, *args: Any, **kwargs: Any) -> Any:
        _handed(getattr(self, "_processes", None) or ())
        return submit(self, *args, **kwargs)

    executor.submit = submitted


def _watch_pools(module: ModuleType) -> None:
    check = module.Pool._check_running  # noqa: SLF001 - whatever gives it work begins by this

    @functools.wraps(check)
    def checked(self: Any) -> None:
        check(self)
        _handed(getattr(one, "pid", None) for one in self._pool)

    module.Pool._check_running = checked  # noqa: SLF001


@guarded
def _handed(pids: Iterable[int | None]) -> None:
    span = current_span()
    children = span.recorder.children if span is not None else None
    if span is not None and children is not None:
        children.handed([pid for pid in list(pids) if pid], span)
