"""Pools that more than one span uses: what their threads and processes do belongs to the span that hands it to them.

Each piece of work of a `ThreadPoolExecutor` belongs to the span that submits it. What a pool of processes does cannot
be told apart by pieces: it is of the spans that have handed it work which is not done, in even parts if there are
several. Watched are the executors of `concurrent.futures` and loky (joblib's), and `multiprocessing.Pool`.
"""

import functools
import os
import threading
import weakref
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from e2s_tasks.importing import ImportWatch
from e2s_tasks.recorder.guard import guarded
from e2s_tasks.recorder.inherited import Inherited
from e2s_tasks.recorder.open_span import OpenSpan, current_span, thread_belongs_to

EXECUTORS = ("concurrent.futures.process", "joblib.externals.loky.process_executor", "loky.process_executor")
SPAN, USERS = "_e2s_span", "_e2s_users"  # of a piece of work: whose it is; of a pool: who uses it
SPAWNING = ("_spawn_process", "_adjust_process_count")  # by which executors start processes, also in place of others

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


class _Users:
    """Who uses a pool: the spans that have handed it work, each with how many pieces are not done."""

    def __init__(self) -> None:
        self._waiting: dict[OpenSpan, int] = {}
        self._owners: tuple[OpenSpan, ...] = ()

    def add(self, span: OpenSpan, *, alone: bool = False) -> None:
        """A span hands it a piece of work. alone: nothing else is to be done."""
        with _lock:
            if alone:
                self._waiting.clear()
            self._waiting[span] = self._waiting.get(span, 0) + 1

    def done(self, span: OpenSpan) -> None:
        """A piece of its work is done, or will not be."""
        with _lock:
            left = self._waiting.get(span, 0) - 1
            if left > 0:
                self._waiting[span] = left
            else:
                self._waiting.pop(span, None)

    def own(self, pids: Iterable[int | None], *, anew: bool = False) -> None:
        """Have the pool's processes work for them, if they are others than before. anew: there are new processes."""
        with _lock:
            owners = tuple(span for span in self._waiting if not span.closed_ns) or self._owners
            if owners == self._owners and not anew:
                return
            self._owners = owners
        if owners:
            owners[-1].recorder.meter.hand([pid for pid in list(pids) if pid], owners)


_lock = threading.RLock()  # a signal handler may hand a pool work, too


def _unlock() -> None:
    """A fork may have come while another thread had the lock."""
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_unlock)


def _users(pool: Any) -> _Users:
    users: _Users = pool.__dict__.setdefault(USERS, _Users())
    return users


def _watch_executors(module: ModuleType) -> None:
    executor = module.ProcessPoolExecutor
    submit = executor.submit

    @functools.wraps(submit)
    def submitted(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        span = current_span()
        if span is None:
            return submit(self, *args, **kwargs)
        _begins(self, span)
        try:
            future = submit(self, *args, **kwargs)
        except BaseException:
            _ends(weakref.ref(self), span, None)
            raise
        _ends_with(future, self, span)
        return future

    executor.submit = submitted
    for name in SPAWNING:
        if hasattr(executor, name):
            setattr(executor, name, _spawning(getattr(executor, name)))


@guarded
def _begins(executor: Any, span: OpenSpan) -> None:
    users = _users(executor)
    users.add(span)
    users.own(executor._processes or ())  # noqa: SLF001


@guarded
def _ends_with(future: Any, executor: Any, span: OpenSpan) -> None:
    future.add_done_callback(functools.partial(_ends, weakref.ref(executor), span))


@guarded
def _ends(executor: "weakref.ref[Any]", span: OpenSpan, _: Any) -> None:
    pool = executor()
    if pool is not None:
        users = _users(pool)
        users.done(span)
        users.own(pool._processes or ())  # noqa: SLF001


def _spawning(spawn: Any) -> Any:
    @functools.wraps(spawn)
    def spawned(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = spawn(self, *args, **kwargs)
        _has_spawned(self)
        return found

    return spawned


@guarded
def _has_spawned(executor: Any) -> None:
    _users(executor).own(executor._processes or (), anew=True)  # noqa: SLF001


_pools: dict[int, "weakref.ref[Any]"] = {}  # by the list that holds their processes


def _watch_pools(module: ModuleType) -> None:
    check, repopulate = module.Pool._check_running, module.Pool._repopulate_pool_static  # noqa: SLF001

    @functools.wraps(check)
    def checked(self: Any) -> None:  # whatever gives it work begins by this
        check(self)
        _is_used(self)

    @functools.wraps(repopulate)
    def repopulated(*args: Any, **kwargs: Any) -> Any:
        found = repopulate(*args, **kwargs)
        _has_repopulated(args)
        return found

    module.Pool._check_running = checked  # noqa: SLF001
    module.Pool._repopulate_pool_static = staticmethod(repopulated)  # noqa: SLF001


@guarded
def _is_used(pool: Any) -> None:
    span, key = current_span(), id(pool._pool)  # noqa: SLF001
    if key not in _pools:
        _pools[key] = weakref.ref(pool, lambda _: _pools.pop(key, None))
    if span is not None:
        users = _users(pool)
        users.add(span, alone=not pool._cache)  # noqa: SLF001
        users.own(_pids(pool))


@guarded
def _has_repopulated(given: tuple[Any, ...]) -> None:
    found = next((_pools[id(one)]() for one in given if id(one) in _pools), None)
    if found is not None:
        _users(found).own(_pids(found), anew=True)


def _pids(pool: Any) -> list[int | None]:
    return [getattr(one, "pid", None) for one in pool._pool]  # noqa: SLF001
