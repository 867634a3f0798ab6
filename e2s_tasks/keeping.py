"""System calls that keep the interpreter's lock.

Python's own `pread`, `flock` and `listdir` give it up, and with busy threads get it back only milliseconds later: a
segment would be read at as many different moments, and a tick take seconds. Only for calls on local files, of
microseconds.
"""

import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

LARGE = 16_384
PAGE = 4096
NAME_AT = 19  # struct dirent: inode and offset of 8 bytes, length of 2, type of 1, name


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


class Counted:
    """How many bytes `read` has given out: they are none of the measured work's."""

    read = 0


counted = Counted()


def _read() -> Callable[[str], bytes]:
    if _c is None:
        return _python_read
    import ctypes

    opens, reads = _c.open, _c.read
    opens.argtypes = [ctypes.c_char_p, ctypes.c_int]
    reads.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    reads.restype = ctypes.c_ssize_t

    def read(path: str) -> bytes:
        fd: int = opens(path.encode(), os.O_RDONLY | os.O_CLOEXEC)
        if fd < 0:
            return b""
        buffer = ctypes.create_string_buffer(PAGE)
        text = b""
        while (size := reads(fd, buffer, PAGE)) > 0:
            text += buffer.raw[:size]
        _c.close(fd)
        counted.read += len(text)
        return text

    return read


def _python_read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


read = _read()  # all of a small file of /proc; b"" where it cannot be read


def _names() -> Callable[[str], list[str]]:
    # where an entry of a directory has its name, in the C libraries of 64-bit Linux; os.listdir waits at each entry
    if _c is None or not sys.platform.startswith("linux") or sys.maxsize < 2**32:
        return _python_names
    import ctypes

    opens, reads, closes = _c.opendir, _c.readdir, _c.closedir
    opens.argtypes = [ctypes.c_char_p]
    opens.restype = reads.restype = ctypes.c_void_p
    reads.argtypes = closes.argtypes = [ctypes.c_void_p]

    def names(path: str) -> list[str]:
        folder = opens(path.encode())
        if not folder:
            return []
        found = []
        while entry := reads(folder):
            found.append(ctypes.string_at(entry + NAME_AT).decode())
        closes(folder)
        return [name for name in found if name not in {".", ".."}]

    return names


def _python_names(path: str) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 - only the names
    except OSError:
        return []


names = _names()  # of the entries of a folder of /proc; none where it cannot be read
