"""Who starts which thread and child process: what they use belongs to the span that started them.

A child is told which span that is, so that what it measures itself belongs to it, too.

`threading.Thread.start` and `subprocess.Popen` are watched from the first span on, forks by Python's own hook. A thread
of a pool that is used again after its span has ended belongs to what is then still open around that span.
"""

import functools
import os
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from e2s_tasks.meters.children import Children
from e2s_tasks.recorder.guard import guarded, is_from_signal
from e2s_tasks.recorder.inherited import Inherited
from e2s_tasks.recorder.open_span import OpenSpan, current_span, thread_belongs_to
from e2s_tasks.recorder.starter import handed_on

ENVIRONMENT = 10  # the place of `env` among the arguments of Popen


class OwnThread(threading.Thread):
    """A thread of the recorder: it works for no span."""


Registry = Callable[[], Children | None]
_registry: Registry | None = None


def watch_starts(registry: Registry) -> None:
    """From now on the registry of the process learns of each child that `subprocess` or a fork starts."""
    global _registry  # noqa: PLW0603
    if _registry is None:
        os.register_at_fork(after_in_parent=_forked)
        _watch_popen()
        _watch_threads()
    _registry = registry


def _watch_popen() -> None:
    start = subprocess.Popen.__init__

    @functools.wraps(start)
    def started(self: Any, *args: Any, **kwargs: Any) -> None:
        span = current_span()
        if span is not None:
            args, kwargs = _handing_on(span, args, kwargs)
        start(self, *args, **kwargs)
        _started(self.pid)

    subprocess.Popen.__init__ = started  # type: ignore[method-assign]


def _handing_on(
    span: OpenSpan, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of Popen, with the span in the child's environment; as they are where that cannot be done."""
    try:
        if len(args) > ENVIRONMENT:
            told = handed_on(span, args[ENVIRONMENT])
            return (*args[:ENVIRONMENT], told, *args[ENVIRONMENT + 1 :]), kwargs
        return args, {**kwargs, "env": handed_on(span, kwargs.get("env"))}
    except Exception as error:
        if is_from_signal(error):
            raise
        return args, kwargs


@guarded
def _started(pid: int) -> None:
    children = _registry() if _registry is not None else None
    if children is not None:
        children.started(pid, current_span())


@guarded
def _forked() -> None:
    children = _registry() if _registry is not None else None
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
