"""The journal: a local outbox that measured processes append to, and that is replayed into the ledger (`replaying`).

One file per process, one line per record: CRC-32 of the JSON in hex, a space, compact JSON. Nothing here opens the
ledger's database, so that a measured process never waits for SQL.
"""

import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from e2s_tasks.core.records import (
    TYPES,
    ProcessRecord,
    Record,
    SourceRecord,
    from_dict,
    to_dict,
)
from e2s_tasks.host import boot_id, host_name, pid_namespace, process_stat
from e2s_tasks.keeping import append, counted

SUFFIX = ".jsonl"
PORTION = 1_000_000  # bytes of a journal that are taken in at once
LOOK_EVERY_S = 1.0  # how often to see whether the file is still there
KEPT = 10_000  # lines that wait in memory while the disk is full
TORN = b"\x18\n"  # ends what a full disk left of a line, which is written again after it; in no JSON

_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode
_NAMES = {cls: [field.name for field in fields(cls)] for cls in TYPES.values() if cls is not ProcessRecord}
_VALUES = {cls: attrgetter(*names) for cls, names in _NAMES.items()}
_TAGS = {cls: tag for tag, cls in TYPES.items()}


def _log() -> Any:
    """Where trouble is told; loading logging at once would take a tenth of a process's first span."""
    import logging

    return logging.getLogger(__name__)


def _nothing() -> None:
    """A process that measures nothing holds nothing."""


hold_nothing_back: Callable[[], None] = _nothing  # has this process append what it has measured so far


def ask_first(writer: Callable[[], None]) -> None:
    """Say what this process does before it reads its own journal; called where it gets a recorder."""
    global hold_nothing_back  # noqa: PLW0603
    hold_nothing_back = writer


class Journal:
    """One process's append-only file of records. Appending never raises: what cannot be written waits in memory.

    troubled: whether something could not be written at once. dropped: how many records were given up. appended: bytes
    that it has written in all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dropped = self.appended = 0
        self.troubled = False
        self._kept: list[bytes] = []
        self._fd: int | None = None
        self._torn = False
        self._header = b""
        self._looked = time.monotonic()
        self._brought_back = False

    def append(self, *records: Record) -> None:
        """Write the records with a single append, without fsync. A file that was removed is first brought back."""
        if time.monotonic() - self._looked >= LOOK_EVERY_S:
            self._look()
        self.append_lines([line for record in records if (line := self._line(record))])

    def append_lines(self, encoded: list[bytes]) -> None:
        """The same for records that are lines already. What cannot be written waits for the next, up to a limit."""
        lines = [*self._kept, *encoded] if self._kept else encoded
        if not lines:
            return
        self._kept = []
        text, written = b"", 0
        try:
            if self._fd is None:
                self._fd = self._open()
                if lines != [self._header] and not os.fstat(self._fd).st_size:
                    lines = [self._header, *lines]  # removed or never written: whose journal it is comes first
            if self._torn:  # a line that a full disk cut short must not spoil the next one
                lines = [TORN, *lines]
            text = b"".join(lines)
            written = append(self._fd, text)
            self.appended += written
            if written == len(text):
                self._torn = False
                return
            error: OSError = OSError(f"only {written} of {len(text)} bytes were written")
        except OSError as caught:
            error = caught
        whole = text[:written].count(b"\n")
        self._torn = self._torn if not written else not text[:written].endswith(b"\n")
        self._keep(lines[whole:], error)

    def _keep(self, lines: list[bytes], error: Exception) -> None:
        lines = [line for line in lines if line != TORN and (line != self._header or self._torn)]
        self._kept, lost = lines[:KEPT], lines[KEPT:]
        self._warn_of(error)
        if lost:
            self._drop(error, len(lost))

    def _warn_of(self, error: Exception) -> None:
        if not self.troubled:
            self.troubled = True
            _log().warning("Energy records wait: the journal %s cannot be written (%s).", self.path, error)

    def _look(self) -> None:
        """Bring the file back if it has been removed with all the data directory, say: its content is still there."""
        self._looked = time.monotonic()
        try:
            if self._fd is None or os.fstat(self._fd).st_nlink:
                return
            anew = self._open()
            try:
                os.ftruncate(anew, position := 0)
                while portion := os.pread(self._fd, PORTION, position):
                    position += os.write(anew, portion)
                self.appended += position
                counted.read += position
                os.dup2(anew, self._fd, inheritable=False)  # other threads may be writing to this very number
            finally:
                os.close(anew)
        except OSError as error:
            self._warn_of(error)
        else:
            if not self._brought_back:
                _log().warning("The journal %s was removed while it was in use: it has been written anew.", self.path)
            self._brought_back = True

    def _line(self, record: Record) -> bytes:
        try:
            line = encode(record)
        except (TypeError, ValueError, RecursionError) as error:
            self._drop(error, 1)
            return b""
        if type(record) is ProcessRecord:
            self._header = line
        return line

    @property
    def exists(self) -> bool:
        """Whether there is a file, as far as that was no trouble."""
        return not self.troubled or self.path.exists()

    def waiting(self) -> list[Record]:
        """What could not be written down so far, with whose it is."""
        return [record for line in (self._header, *self._kept) if (record := decode(line.rstrip(b"\n"))) is not None]

    @property
    def size(self) -> int:
        """Bytes written so far; 0 where there is no file."""
        return os.fstat(self._fd).st_size if self._fd is not None else 0

    def close(self) -> None:
        """Close the file; a later append opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def remove(self) -> None:
        """Close and delete the file: all of it has reached the ledger. A later append begins it anew."""
        self.close()
        if not self.exists:
            return
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            _log().warning("The journal %s cannot be removed (%s).", self.path, error)

    def _open(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)

    def _drop(self, error: Exception, records: int) -> None:
        first, self.dropped = not self.dropped, self.dropped + records
        if first:
            _log().warning("Energy records are being lost: the journal %s cannot be written (%s).", self.path, error)


def encode(record: Record) -> bytes:
    """The record's line. Fields without a value are left out."""
    cls = type(record)
    if cls is ProcessRecord:
        values: dict[str, Any] = to_dict(record)
    else:
        pairs = zip(_NAMES[cls], _VALUES[cls](record), strict=True)
        values = {name: value for name, value in pairs if value is not None}
        values["type"] = _TAGS[cls]
    return line_of(_encode(values).encode("ascii"))


def line_of(text: bytes) -> bytes:
    """The line of a record's JSON."""
    return b"%08x %b\n" % (zlib.crc32(text), text)


def decode(line: bytes) -> Record | None:
    """The record of a line; None where the line is torn, corrupt or of an unknown type."""
    checksum, _, text = line.partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(text):
            return None
        return from_dict(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def this_process(sources: Iterable[SourceRecord] = (), *, static_policy: str = "dedicated") -> ProcessRecord:
    """The identity of this process: host, boot, pid and start time together; start_ticks is 0 where unknown."""
    return ProcessRecord(
        id=os.urandom(16).hex(),
        host=host_name(),
        boot_id=this_boot(),
        pid=os.getpid(),
        start_ticks=process_stat(os.getpid())[1],
        started_at=time.time(),
        static_policy=static_policy,
        sources=list(sources),
    )


def journal_path(journals: Path, process: ProcessRecord) -> Path:
    """Where a process's journal lies in the directory of all journals."""
    return journals / f"{process.pid}-{process.start_ticks}-{process.id[:8]}{SUFFIX}"


def alive(process: ProcessRecord) -> bool:
    """Whether the process still runs; one of another host or pid namespace is left alone, so it counts as running."""
    if process.host != host_name():
        return True
    boot, _, namespace = process.boot_id.partition("/")
    if boot != boot_id():
        return False
    if namespace and namespace != pid_namespace():
        return True
    if process.start_ticks:
        state, ticks = process_stat(process.pid)
        return ticks == process.start_ticks and state not in "ZX"
    return _pid_exists(process.pid)


def this_boot() -> str:
    """Where the pids of this process are pids: the host's boot and the pid namespace."""
    return f"{boot_id()}/{pid_namespace()}"


def _pid_exists(pid: int) -> bool:
    if sys.platform == "win32":  # there, signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
