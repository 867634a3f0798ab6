"""System calls that keep the interpreter's lock.

Python's own `pread` and `flock` give it up, and with busy threads get it back only milliseconds later: while the meter
holds its own lock, every other measured thread would wait for that. Only for calls on local files, of microseconds.
"""

import fcntl
import os
from collections.abc import Callable
from typing import Any

LARGE = 16_384


def _library() -> Any:
    """The C library, called with the interpreter's lock kept; None where there is no ctypes."""
    try:
        import ctypes

        return ctypes.PyDLL(None, use_errno=False)
    except (ImportError, OSError, TypeError):
        return None


_c = _library()


def keeping_flock() -> Callable[[int, int], int]:
    """flock(fd, operation) -> 0 if it succeeded; use it with LOCK_NB or LOCK_UN only."""
    try:
        return _c.flock  # type: ignore[no-any-return] # the default argument types are right: two C ints
    except AttributeError:
        return _python_flock


def _python_flock(fd: int, operation: int) -> int:
    try:
        fcntl.flock(fd, operation)
    except OSError:
        return -1
    return 0


def _append() -> Callable[[int, bytes], int]:
    if _c is None:
        return os.write
    import ctypes

    write = _c.write
    write.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
    write.restype = ctypes.c_ssize_t

    def append(fd: int, text: bytes) -> int:
        if len(text) > LARGE:
            return os.write(fd, text)
        written: int = write(fd, text, len(text))
        return written if written >= 0 else os.write(fd, text)  # which says what is wrong

    return append


append = _append()  # write(2) of a few lines to a local file; a lot of them gives the lock up
