"""No process forks in the middle of another thread's work on a database.

The child would inherit the locks of SQLite as they are at that moment, and without the thread that holds one wait for
it for ever, at its own first use of SQLite.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PATIENCE_S = 1.0  # a fork waits no longer than that, nor does any work for a fork
_changed = threading.Condition()
_working: list[int] = []  # the threads that are at work, each as often as it has begun some
_forking: set[int] = set()


@contextmanager
def unforked() -> Iterator[None]:
    """Work on a database, at whose end another thread that is about to fork waits."""
    me = threading.get_ident()
    with _changed:
        if me not in _working:
            _changed.wait_for(lambda: not _forking, PATIENCE_S)
        _working.append(me)
    try:
        yield
    finally:
        with _changed:
            _working.remove(me)
            _changed.notify_all()


def _before() -> None:
    _changed.acquire()  # until the fork is made
    me = threading.get_ident()
    _forking.add(me)
    _changed.wait_for(lambda: all(one == me for one in _working), PATIENCE_S)


def _in_parent() -> None:
    _forking.discard(threading.get_ident())
    with suppress(RuntimeError):  # a signal handler of the user's raised before it was held
        _changed.notify_all()
        _changed.release()


def _in_child() -> None:
    """Only the thread that forked lives on."""
    global _changed  # noqa: PLW0603
    _changed = threading.Condition()
    me = threading.get_ident()
    _working[:] = [one for one in _working if one == me]
    _forking.clear()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
