"""Local counter files of the kernel (powercap, cgroup, /proc), read in a microsecond without giving up the interpreter.

`os.pread` releases the interpreter lock and then queues behind the other threads to get it back: with eight busy
threads that takes tens of milliseconds, inside the user's own span. A call through `ctypes.PyDLL` keeps the lock, which
is right only for files that the kernel answers from memory: never for a network file system, a pipe or a device.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Pread = Callable[..., int]


def _pread_that_keeps_the_lock() -> Pread | None:
    """The C library's pread as a plain call; None where ctypes cannot be used, or where there is no lock to keep."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None
    try:
        import ctypes

        pread = ctypes.PyDLL(None).pread
        # off_t is a long on Linux's 64-bit systems; elsewhere os.pread knows better
        if ctypes.sizeof(ctypes.c_long) != 8:
            return None
        pread.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long)
        pread.restype = ctypes.c_ssize_t
    except (ImportError, OSError, AttributeError, TypeError):
        return None
    return pread


class CounterFile:
    """A counter file with a kept descriptor. size: the most bytes that a reading returns.

    Raises:
        OSError: the file cannot be opened.
    """

    __slots__ = ("_arguments", "_buffer", "_fd", "_pread", "_reads", "_size", "path")

    def __init__(self, path: Path, size: int = 256) -> None:
        self.path = path
        self._size = size
        self._reads = 0
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._pread = _pread_that_keeps_the_lock()
        if self._pread is not None:
            import ctypes as c

            self._buffer: Any = c.create_string_buffer(size)
            # made once: converting four numbers at each call would take as long as the call
            address = c.addressof(self._buffer)
            self._arguments = (c.c_int(self._fd), c.c_void_p(address), c.c_size_t(size), c.c_long(0))

    def read(self) -> bytes | None:
        """What the file shows now, from its beginning; None where it cannot be read, or is empty. Never raises."""
        pread = self._pread
        if pread is None:
            return self._read_plainly()
        while True:
            turn = self._reads = self._reads + 1
            length = pread(*self._arguments)
            if length <= 0:
                return None
            text: bytes = self._buffer[:length]
            if turn == self._reads:  # else a signal handler has read into the same buffer meanwhile
                return text

    def _read_plainly(self) -> bytes | None:
        try:
            return os.pread(self._fd, self._size, 0) or None
        except OSError:
            return None

    def replaced(self) -> bool:
        """Whether the path leads to this file no longer: removed, or another one in its place."""
        try:
            there, here = self.path.stat(), os.fstat(self._fd)
        except OSError:
            return True
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def reopen(self) -> bool:
        """Follow the path to the file that is there now; False, and the old one kept, where there is none.

        The descriptor keeps its number, so that a reading in another thread meets a file, never a closed number.
        """
        try:
            fresh = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            os.dup2(fresh, self._fd, inheritable=False)
        except OSError:
            return False
        finally:
            os.close(fresh)
        return True

    def close(self) -> None:
        """Give the descriptor back; nothing can be read any more."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._pread is not None:
            self._arguments[0].value = -1
        os.close(fd)

    def __del__(self) -> None:
        """Close the descriptor with the object."""
        if getattr(self, "_fd", -1) >= 0 and hasattr(self, "_pread"):
            self.close()
