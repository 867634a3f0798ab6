"""Who starts which child process: what a span's work starts is counted to that span, whoever else is open."""

import functools
import os
import subprocess
from collections.abc import Callable
from typing import Any

from e2s_tasks.meters.account import Account
from e2s_tasks.meters.children import Children
from e2s_tasks.recorder.guard import guarded
from e2s_tasks.recorder.open_span import CURRENT

Registry = Callable[[], Children | None]
_registry: Registry | None = None


def watch_starts(registry: Registry) -> None:
    """From now on the registry of the process learns of each child that `subprocess` or a fork starts."""
    global _registry  # noqa: PLW0603
    if _registry is None:
        os.register_at_fork(after_in_parent=_forked)
        _watch_popen()
    _registry = registry


def _watch_popen() -> None:
    start = subprocess.Popen.__init__

    @functools.wraps(start)
    def started(self: Any, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        _started(self.pid)

    subprocess.Popen.__init__ = started  # type: ignore[method-assign]


@guarded
def _started(pid: int) -> None:
    children = _registry() if _registry is not None else None
    if children is not None:
        children.started(pid, _starter())


@guarded
def _forked() -> None:
    children = _registry() if _registry is not None else None
    if children is not None:
        children.forked(_starter())


def _starter() -> Account | None:
    span = CURRENT.get()
    return None if span is None or span.ends_in is not None else span
