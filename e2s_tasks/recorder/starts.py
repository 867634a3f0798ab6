"""Who starts which thread and child process: what they use belongs to the span that started them.

A child is told which span that is, so that what it measures itself belongs to it, too.

`threading.Thread.start`, `subprocess.Popen`, `os.posix_spawn` and the processes of `multiprocessing` are watched from
the first span on, forks by Python's own hook. A thread that outlives its span belongs to what is then still open around
that.
"""

import functools
import os
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from e2s_tasks.importing import ImportWatch
from e2s_tasks.ledger import journal
from e2s_tasks.meters.children import Children
from e2s_tasks.meters.meter import Meter
from e2s_tasks.meters.users import Users
from e2s_tasks.recorder.guard import guarded, is_from_signal
from e2s_tasks.recorder.inherited import Inherited
from e2s_tasks.recorder.open_span import OpenSpan, current_span, thread_belongs_to
from e2s_tasks.recorder.process_pools import watch_process_pools
from e2s_tasks.recorder.reaping import watch_polls, watch_reaping
from e2s_tasks.recorder.starter import VARIABLE, handed_on, told_to_children
from e2s_tasks.recorder.thread_pools import watch_thread_pools

ENVIRONMENT, PREPARATION = 10, 6  # the places of `env` and `preexec_fn` among the arguments of Popen
ENVIRONMENT_SPAWN = 2  # among those of os.posix_spawn


class OwnThread(threading.Thread):
    """A thread of the recorder: it works for no span."""


Registry = Callable[[], Meter | None]  # the meter of the process
_registry: Registry | None = None
_imports = ImportWatch()  # to load `multiprocessing` for nothing would take 7 ms, `subprocess` 3


def watch_starts(registry: Registry) -> None:
    """From now on the meter of the process learns of each child that it starts, and the child of its span."""
    global _registry  # noqa: PLW0603
    if _registry is None:
        os.register_at_fork(after_in_parent=_forked)
        watch_reaping(lambda: _registry() if _registry is not None else None)
        _imports.when_imported("subprocess", _watch_popen)
        _watch_posix_spawn()
        _watch_exec()
        _imports.when_imported("multiprocessing.process", _watch_workers)
        _watch_threads()
        watch_thread_pools()
        watch_process_pools(lambda: _registry() if _registry is not None else None)
    _registry = registry


def _watch_popen(module: ModuleType) -> None:
    start = module.Popen.__init__

    @functools.wraps(start)
    def started(self: Any, *args: Any, **kwargs: Any) -> None:
        args, kwargs = _handing_on(args, kwargs, ENVIRONMENT)
        start(self, *args, **kwargs)
        _started(self.pid)

    module.Popen.__init__ = started
    watch_polls(module)


def _watch_posix_spawn() -> None:
    for name in ("posix_spawn", "posix_spawnp"):
        if hasattr(os, name):
            setattr(os, name, _spawning(getattr(os, name)))


def _spawning(spawn: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(spawn)
    def spawned(path: Any, argv: Any, env: Any, /, **options: Any) -> int:
        args, options = _handing_on((path, argv, env), options, ENVIRONMENT_SPAWN)
        pid = spawn(*args, **options)
        _started(pid)
        return pid

    return spawned


def _watch_exec() -> None:
    """What has ended is written down before the process becomes another program, which has no end of its own."""
    for name in ("execv", "execve"):
        if hasattr(os, name):
            setattr(os, name, _writing_down(getattr(os, name)))


def _writing_down(become: Callable[..., NoReturn]) -> Callable[..., NoReturn]:
    @functools.wraps(become)
    def became(*args: Any, **kwargs: Any) -> NoReturn:
        journal.hold_nothing_back()
        become(*args, **kwargs)

    return became


def _handing_on(args: tuple[Any, ...], kwargs: dict[str, Any], place: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, with what the child is told in its environment; as they are where that is nothing, or cannot be.

    place: that of the environment among them, if it is not given by its name.
    """
    try:
        told = told_to_children(current_span())
        if told is None:
            return args, kwargs
        environment = args[place] if len(args) > place else kwargs.get("env")
        prepare = args[PREPARATION] if len(args) > PREPARATION else kwargs.get("preexec_fn")
        if environment is None and callable(prepare):  # which may change what the child inherits
            return _with(args, kwargs, PREPARATION, preexec_fn=functools.partial(_prepare, told, prepare))
        return _with(args, kwargs, place, env=handed_on(told, environment))
    except Exception as error:
        if is_from_signal(error):
            raise
        return args, kwargs


def _with(
    args: tuple[Any, ...], kwargs: dict[str, Any], place: int, **argument: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with another one, in its place or by its name."""
    if len(args) > place:
        return (*args[:place], *argument.values(), *args[place + 1 :]), kwargs
    return args, {**kwargs, **argument}


def _prepare(told: str, prepare: Callable[[], Any]) -> None:
    """In the child, before it becomes another program."""
    os.environ[VARIABLE] = told
    prepare()


def _watch_workers(module: ModuleType) -> None:
    start = module.BaseProcess.start

    @functools.wraps(start)
    def started(self: Any) -> None:
        _tell_worker(self)
        start(self)
        if getattr(self._popen, "method", None) == "forkserver":  # whose child it is
            _served(self.pid)
        else:
            _started(self.pid)

    module.BaseProcess.start = started


@guarded
def _tell_worker(worker: Any) -> None:
    """What the worker is told goes along in its configuration: one that is spawned gets it pickled, a fork has it."""
    told = told_to_children(current_span())
    if told is not None:
        worker._config = {**worker._config, VARIABLE: told}  # noqa: SLF001


def _children() -> Children | None:
    meter = _registry() if _registry is not None else None
    return None if meter is None else meter.children


@guarded
def _started(pid: int) -> None:
    children = _children()
    if children is not None:
        children.started(pid, current_span())


@guarded
def _served(pid: int) -> None:
    """A forkserver has started a child for a span, or for nobody's: a pool of one process, which works for it alone."""
    span, meter = current_span(), _registry() if _registry is not None else None
    if meter is not None:
        users = Users(span)
        meter.tell(users, work=1, whose=span, left=1)
        meter.hand([pid], users, born=True)


@guarded
def _forked() -> None:
    children = _children()
    if children is not None:
        children.forked(current_span())


def _watch_threads() -> None:
    start = threading.Thread.start

    @functools.wraps(start)
    def started(self: threading.Thread) -> None:
        span = current_span()
        if span is not None and not isinstance(self, OwnThread):
            self.run = functools.partial(_run_for, span, self, self.run)  # type: ignore[method-assign]
        start(self)

    threading.Thread.start = started  # type: ignore[method-assign]


def _run_for(span: OpenSpan, thread: threading.Thread, run: Callable[[], None]) -> None:
    """A thread's own `run`, for the span that started it."""
    del thread.run  # the thread's class has its own, and holds no reference to itself
    inherited = Inherited(span)
    thread_belongs_to(span)
    inherited.resume()
    try:
        run()
    finally:
        inherited.suspend()
