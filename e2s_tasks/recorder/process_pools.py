"""Pools of processes that more than one span uses: what they do belongs to the spans whose pieces of work they do.

The meter is told of the pieces, and splits what the processes use (see `users`). Watched are the executors of
`concurrent.futures` and loky (joblib's), and `multiprocessing.Pool`.
"""

import functools
import weakref
from collections.abc import Callable, Iterable
from itertools import count
from types import ModuleType
from typing import Any

from e2s_tasks.importing import ImportWatch
from e2s_tasks.meters.meter import Meter
from e2s_tasks.meters.users import Users
from e2s_tasks.recorder.guard import guarded
from e2s_tasks.recorder.open_span import OpenSpan, current_span
from e2s_tasks.recorder.thread_pools import working_for

FUTURES = ("concurrent.futures._base", "joblib.externals.loky._base", "loky._base")
EXECUTORS = ("concurrent.futures.process", "joblib.externals.loky.process_executor", "loky.process_executor")
USERS, GIVEN = "_e2s_users", "_e2s_given"  # of a pool; of the future or result of what it was given
SPAWNING = ("_spawn_process", "_adjust_process_count")  # by which executors start processes, also in place of others

MANY = 1_000_000  # so many pieces are left where it is not known

_imports = ImportWatch()  # to load them for nothing would take 10 ms
_numbers = count(1)
_registry: Callable[[], Meter | None] | None = None


def watch_process_pools(registry: Callable[[], Meter | None]) -> None:
    """From now on pools work for who uses them, once these are imported. registry: gives the meter of the process."""
    global _registry  # noqa: PLW0603
    _registry = registry
    for name in FUTURES:
        _imports.when_imported(name, _watch_futures)
    for name in EXECUTORS:
        _imports.when_imported(name, _watch_executors)
    _imports.when_imported("multiprocessing.pool", _watch_pools)


class _Given:
    """What a pool of processes was given at once: a piece of work, or several, of a span."""

    def __init__(self, users: Users, span: OpenSpan | None) -> None:
        self._users, self._number, self.span = users, next(_numbers), span
        self.leaves(1)

    @guarded
    def leaves(self, pieces: int) -> None:
        """So many pieces are not done."""
        meter = _meter()
        if meter is not None:
            meter.tell(self._users, self._number, self.span, pieces)


def _meter() -> Meter | None:
    return _registry() if _registry is not None else None


def _hand(pids: Iterable[int | None], users: Users, *, born: bool) -> None:
    meter = _meter()
    if meter is not None:
        meter.hand([pid for pid in list(pids) if pid], users, born=born)


def _watch_executors(module: ModuleType) -> None:
    executor = module.ProcessPoolExecutor
    submit = executor.submit

    @functools.wraps(submit)
    def submitted(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        _is_known(self)
        future = submit(self, *args, **kwargs)
        _is_submitted(self, future)  # now, for whoever comes first into the executor's queue is told first
        return future

    executor.submit = submitted
    spawn = next(name for name in SPAWNING if hasattr(executor, name))
    setattr(executor, spawn, _spawning(getattr(executor, spawn)))


@guarded
def _is_known(executor: Any) -> None:
    if USERS in executor.__dict__:
        return
    users = Users(None)
    if executor.__dict__.setdefault(USERS, users) is users:  # else another thread has come first
        _hand(executor._processes or (), users, born=False)  # noqa: SLF001
        for piece in list(executor._pending_work_items.values()):  # noqa: SLF001 - given before anybody watched
            _ends_with(piece.future, _Given(users, None))


@guarded
def _is_submitted(executor: Any, future: Any) -> None:
    users: Users = executor.__dict__[USERS]
    users.slots = len(executor._processes or ())  # noqa: SLF001 - loky ends some when it is told to
    _ends_with(future, _Given(users, current_span()))


def _ends_with(future: Any, given: _Given) -> None:
    setattr(future, GIVEN, given)
    if future.done() and future.__dict__.pop(GIVEN, None) is not None:  # else it does so itself
        given.leaves(0)


def _watch_futures(module: ModuleType) -> None:
    """What is to be done at the end of a piece is of its span: joblib hands on most of its work there."""
    future = module.Future
    invoke = future._invoke_callbacks  # noqa: SLF001

    @functools.wraps(invoke)
    def invoked(self: Any) -> None:
        given: _Given | None = self.__dict__.pop(GIVEN, None)
        if given is None:
            invoke(self)
            return
        given.leaves(0)
        if self._done_callbacks:
            working_for(given.span, invoke, self)

    future._invoke_callbacks = invoked  # noqa: SLF001


def _spawning(spawn: Any) -> Any:
    @functools.wraps(spawn)
    def spawned(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = set(self._processes or ())
        found = spawn(self, *args, **kwargs)
        _has_spawned(self, before)
        return found

    return spawned


@guarded
def _has_spawned(executor: Any, before: set[int]) -> None:
    pids = set(executor._processes or ())  # noqa: SLF001
    if pids != before:
        users = executor.__dict__.setdefault(USERS, Users(current_span()))
        _hand(pids, users, born=True)


_pools: dict[int, "weakref.ref[Any]"] = {}  # by the list that holds their processes


def _watch_pools(module: ModuleType) -> None:
    pool = module.Pool
    pool._repopulate_pool = _populating(pool._repopulate_pool)  # noqa: SLF001
    pool._repopulate_pool_static = staticmethod(_repopulating(pool._repopulate_pool_static))  # noqa: SLF001
    pool._join_exited_workers = staticmethod(_burying(pool._join_exited_workers))  # noqa: SLF001
    for result in (module.ApplyResult, module.MapResult, module.IMapIterator):
        result.__init__ = _beginning(result.__init__, module.ThreadPool)
    for result in (module.ApplyResult, module.MapResult, module.IMapIterator, module.IMapUnorderedIterator):
        result._set = _going_on(result._set)  # noqa: SLF001
    module.IMapIterator._set_length = _going_on(module.IMapIterator._set_length)  # noqa: SLF001


def _populating(populate: Any) -> Any:
    @functools.wraps(populate)
    def populated(self: Any) -> None:  # as the pool is made
        _is_made(self)
        populate(self)

    return populated


def _repopulating(repopulate: Any) -> Any:
    @functools.wraps(repopulate)
    def repopulated(*args: Any, **kwargs: Any) -> Any:
        found = repopulate(*args, **kwargs)
        _has_repopulated(args)
        return found

    return repopulated


def _burying(bury: Any) -> Any:
    @functools.wraps(bury)
    def buried(workers: Any) -> Any:
        before = list(workers)
        found = bury(workers)
        if found:
            _have_ended(workers, before)
        return found

    return buried


def _beginning(make: Any, of_threads: type) -> Any:
    @functools.wraps(make)
    def made(self: Any, pool: Any, *args: Any, **kwargs: Any) -> None:
        make(self, pool, *args, **kwargs)
        if not isinstance(pool, of_threads):
            _is_given(self, pool)

    return made


def _going_on(take: Any) -> Any:
    @functools.wraps(take)
    def taken(self: Any, *args: Any) -> None:
        take(self, *args)
        _goes_on(self)

    return taken


@guarded
def _is_made(pool: Any) -> None:
    _users_of(pool)


def _users_of(pool: Any) -> Users:
    users: Users | None = pool.__dict__.get(USERS)
    if users is None:
        key = id(pool._pool)  # noqa: SLF001
        _pools[key] = weakref.ref(pool, lambda _: _pools.pop(key, None))
        users = pool.__dict__.setdefault(USERS, Users(current_span()))
        _hand(_pids(pool), users, born=False)
    return users


@guarded
def _have_ended(workers: list[Any], before: list[Any]) -> None:
    """A worker that was killed, or has failed, has done no piece that it had begun to its end."""
    pool, meter = _pool_of(workers), _meter()
    if pool is not None and meter is not None:
        died = [one for one in before if one not in workers and one.exitcode]
        meter.lose(pool.__dict__[USERS], len(died))


def _pool_of(workers: Any) -> Any:
    seen = _pools.get(id(workers))
    return None if seen is None else seen()


@guarded
def _has_repopulated(given: tuple[Any, ...]) -> None:
    pool = next((found for found in map(_pool_of, given) if found is not None), None)
    if pool is not None:
        _hand(_pids(pool), pool.__dict__[USERS], born=True)


def _pids(pool: Any) -> list[int | None]:
    return [getattr(one, "pid", None) for one in pool._pool]  # noqa: SLF001


@guarded
def _is_given(result: Any, pool: Any) -> None:
    if not hasattr(result, GIVEN):  # else another class's beginning is a part of its own
        setattr(result, GIVEN, _Given(_users_of(pool), current_span()))
    _goes_on(result)


@guarded
def _goes_on(result: Any) -> None:
    given: _Given | None = getattr(result, GIVEN, None)
    if given is not None:
        given.leaves(_left_of(result))


def _left_of(result: Any) -> int:
    """How many pieces of what a pool was given as one are not done."""
    if result._job not in result._cache:  # noqa: SLF001
        return 0
    if not hasattr(result, "_length"):
        return getattr(result, "_number_left", 1)
    length: int | None = result._length  # noqa: SLF001
    return MANY if length is None else max(length - result._index - len(result._unsorted), 1)  # noqa: SLF001
