"""No process forks in the middle of another thread's work on a database.

The child would inherit the locks of SQLite as they are at that moment, and without the thread that holds one wait for
it for ever, at its own first use of SQLite. No lock guards this, since what a signal handler of the user's raises at
the wrong moment would leave it held; and `os.fork` is wrapped, since its hooks drop what such a handler raises.
"""

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

PATIENCE_S = 1.0  # no work is waited for longer, however many forks there are, nor does any wait longer for forks
LOOK_EVERY_S = 0.0005
_working: dict[object, int] = {}  # the thread of each work
_waited_for: set[object] = set()  # works that a fork has waited for in vain
_forking: set[int] = set()
_open: dict[object, Callable[[], object]] = {}  # what closes it


@contextmanager
def unforked() -> Iterator[None]:
    """Work on a database, at whose end another thread that is about to fork waits."""
    me, work = threading.get_ident(), object()
    goes_on = me in list(_working.values())
    try:
        _working[work] = me  # before looking for forks, as a fork says that it comes before it looks for works
        if not goes_on and _forking - {me}:
            give_up = time.monotonic() + PATIENCE_S
            while _forking - {me} and time.monotonic() < give_up:
                _working.pop(work, None)
                time.sleep(LOOK_EVERY_S)
                _working[work] = me
        yield
    finally:
        _working.pop(work, None)
        _waited_for.discard(work)


@contextmanager
def open_until_a_fork(close: Callable[[], object]) -> Iterator[None]:
    """A block in which a connection is open, and idle; `close` is called at its end, or by the thread that forks first.

    It is opened, and the block entered, in the middle of work.
    """
    this = object()
    _open[this] = close
    try:
        yield
    finally:
        with unforked():
            _close(this)


def _close(this: object) -> None:
    close = _open.pop(this, None)
    if close is not None:
        close()


def _waiting(fork: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fork)
    def forked() -> Any:
        me = threading.get_ident()
        _forking.add(me)
        try:
            _wait(me)
            for this in list(_open):
                with suppress(Exception):
                    _close(this)
            return fork()
        finally:
            _forking.discard(me)

    return forked


def _wait(me: int) -> None:
    """Return when no other thread works, or has for as long as can be waited."""
    give_up = time.monotonic() + PATIENCE_S
    while others := {work for work, one in list(_working.items()) if one != me} - _waited_for:
        if time.monotonic() >= give_up:
            _waited_for.update(others)
            return
        time.sleep(LOOK_EVERY_S)


def _in_child() -> None:
    """Only the thread that forked lives on."""
    me = threading.get_ident()
    for work in [work for work, one in _working.items() if one != me]:
        del _working[work]
    _waited_for.clear()
    _open.clear()
    _forking.clear()


os.fork, os.forkpty = _waiting(os.fork), _waiting(os.forkpty)
os.register_at_fork(after_in_child=_in_child)
