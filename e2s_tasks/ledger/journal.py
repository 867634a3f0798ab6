"""The journal: a local outbox that measured processes append to, and that is replayed into the ledger.

One file per process, one line per record: CRC-32 of the JSON in hex, a space, compact JSON. Nothing here opens the
ledger's database, so that a measured process never waits for SQL.
"""

import json
import logging
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

from e2s_tasks.core.records import (
    STOPPED,
    TYPES,
    ProcessRecord,
    Record,
    SourceRecord,
    SpanRecord,
    Status,
    from_dict,
    to_dict,
)
from e2s_tasks.errors import LedgerBusyError, LedgerError
from e2s_tasks.host import boot_id, host_name, pid_namespace, process_stat
from e2s_tasks.keeping import append
from e2s_tasks.ledger.orphans import remember

SUFFIX = ".jsonl"
PORTION = 1_000_000  # bytes of a journal that are taken in at once
LOOK_EVERY_S = 1.0  # how often to see whether the file is still there
KEPT = 10_000  # lines that wait in memory while the disk is full
TORN = b"\x18\n"  # ends what a full disk left of a line, which is written again after it; in no JSON

_log = logging.getLogger(__name__)
_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode
_NAMES = {cls: [field.name for field in fields(cls)] for cls in TYPES.values() if cls is not ProcessRecord}
_VALUES = {cls: attrgetter(*names) for cls, names in _NAMES.items()}
_TAGS = {cls: tag for tag, cls in TYPES.items()}


def _nothing() -> None:
    """A process that measures nothing holds nothing."""


hold_nothing_back: Callable[[], None] = _nothing  # has this process append what it has measured so far


def ask_first(writer: Callable[[], None]) -> None:
    """Say what this process does before it reads its own journal; called where it gets a recorder."""
    global hold_nothing_back  # noqa: PLW0603
    hold_nothing_back = writer


class Ingests(Protocol):
    """What a journal is replayed into: idempotent, and all or nothing."""

    def ingest(self, records: Iterable[Record], delivered: tuple[str, int] | None = None) -> None:
        """Keep the records, and how far the journal of a process is taken in with them."""

    def delivered(self, process_id: str) -> int:
        """How far the journal of a process has been taken in."""


class Journal:
    """One process's append-only file of records. Appending never raises: what cannot be written waits in memory.

    troubled: whether something could not be written at once. dropped: how many records were given up.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dropped = 0
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
            _log.warning("Energy records wait: the journal %s cannot be written (%s).", self.path, error)

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
                os.dup2(anew, self._fd, inheritable=False)  # other threads may be writing to this very number
            finally:
                os.close(anew)
        except OSError as error:
            self._warn_of(error)
        else:
            if not self._brought_back:
                _log.warning("The journal %s was removed while it was in use: it has been written anew.", self.path)
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
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("The journal %s cannot be removed (%s).", self.path, error)

    def _open(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)

    def _drop(self, error: Exception, records: int) -> None:
        first, self.dropped = not self.dropped, self.dropped + records
        if first:
            _log.warning("Energy records are being lost: the journal %s cannot be written (%s).", self.path, error)


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


def read_journal(path: Path, offset: int = 0) -> tuple[list[Record], int]:
    """The records of the complete lines from `offset` on, and the offset after them. Never raises.

    A corrupt line is left out, with a warning, and what a full disk left of one that was written again, without. A last
    line without its end is not yet complete.
    """
    records: list[Record] = []
    for portion, end in portions(path, offset):
        records += portion
        offset = end
    return records, offset


def portions(path: Path, offset: int = 0) -> Iterator[tuple[list[Record], int]]:
    """The same in portions of some megabytes: records, and the offset after them."""
    while True:
        try:
            with path.open("rb") as file:
                file.seek(offset)
                content = file.read(PORTION)
                if len(content) == PORTION and b"\n" not in content:
                    content += file.readline()
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                _log.warning("The journal %s cannot be read (%s).", path, error)
            return
        end = content.rfind(b"\n") + 1
        if not end:
            return
        lines = [line for line in content[:end].split(b"\n") if line and not line.endswith(TORN[:-1])]
        records = [record for line in lines if (record := decode(line)) is not None]
        if len(records) < len(lines):
            _log.warning("%d corrupt lines in the journal %s were left out.", len(lines) - len(records), path)
        offset += end
        yield records, offset


def replay(journals: Path, ledger: Ingests, is_alive: Callable[[ProcessRecord], bool] | None = None) -> int:
    """Ingest every journal of the directory; the number of journals of ended processes that were taken in and removed.

    What an ended process left running has crashed: it keeps the energy that it had used. Journals of live processes,
    and those that the ledger refuses, stay. Two replays at once are safe, since ingesting is idempotent.

    Raises:
        LedgerBusyError: another process holds the ledger's lock; the other journals are not tried.
        LedgerError: the ledger took in none of the journals.
    """
    is_alive = is_alive or alive
    removed, refused, taken = 0, None, 0
    for path in sorted(journals.glob(f"*{SUFFIX}")):
        try:
            removed += _replay_one(path, ledger, is_alive)
            taken += 1
        except LedgerBusyError:
            raise
        except LedgerError as error:
            refused = error
            _log.warning("The journal %s waits: %s", path, error)
    if refused is not None and not taken:
        raise refused
    return removed


def replay_ended(journals: Path, ledger: Ingests) -> None:
    """Ingest and remove the journals of ended processes alone, each by one process at a time.

    Raises:
        LedgerError: the ledger did not take one in; the others wait, too.
    """
    import fcntl

    for path in sorted(journals.glob(f"*{SUFFIX}")):
        process = _first_process(path)
        if process is None or alive(process):
            continue
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _replay_one(path, ledger, alive)
        except OSError:  # another process has it, or has taken it in
            continue


def _replay_one(path: Path, ledger: Ingests, is_alive: Callable[[ProcessRecord], bool]) -> int:
    process = _first_process(path)
    if process is None:
        return 0
    ended = not is_alive(process)  # asked before reading: the file of an ended process no longer grows
    running: dict[str, SpanRecord] = {}
    position = 0 if ended else _from(path, ledger.delivered(process.id))
    for records, position in portions(path, position):  # noqa: B020 - it goes on from where it is
        ledger.ingest(records, (process.id, position))
        _keep_running(running, records)
    if ended:
        crashed = _crashed(running.values(), path)
        ledger.ingest(crashed, (process.id, position))
        try:
            remember(path.parent, crashed)
            path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("The journal %s was taken in but cannot be removed (%s).", path, error)
    return int(ended)


def _from(path: Path, delivered: int) -> int:
    """Where to read on: a journal that is shorter than what was taken in has been begun anew."""
    try:
        return delivered if delivered <= path.stat().st_size else 0
    except OSError:
        return 0


def _first_process(path: Path) -> ProcessRecord | None:
    """Whose journal this is: by its first line, else by its name (on this host, as far as anyone knows)."""
    try:
        with path.open("rb") as file:
            record = decode(file.readline().rstrip(b"\n"))
        if isinstance(record, ProcessRecord):
            return record
        pid, ticks, short_id = path.name.removesuffix(SUFFIX).split("-", 2)
        return ProcessRecord(short_id, host_name(), this_boot(), int(pid), int(ticks), 0.0, "")
    except (OSError, ValueError):
        return None


def _keep_running(running: dict[str, SpanRecord], records: list[Record]) -> None:
    """Keep the last word on each span that has not ended."""
    for record in records:
        if not isinstance(record, SpanRecord) or record.is_of_no_process:
            continue
        if record.id not in running or record.seq > running[record.id].seq:
            running[record.id] = record
    for span_id in [span.id for span in running.values() if span.status != Status.RUNNING]:
        del running[span_id]


def _crashed(running: Iterable[SpanRecord], path: Path) -> list[SpanRecord]:
    """The end of every span that its process left running: crashed at the last sign of life in the journal."""
    try:
        seen = path.stat().st_mtime  # ticks append too, and carry no time of their own
    except OSError:
        seen = time.time()
    return [_crash(span, seen) for span in running]


def _crash(span: SpanRecord, seen: float) -> SpanRecord:
    ended_at = max(span.started_at, span.ended_at or 0.0, seen)
    status = Status.CANCELLED if STOPPED in span.attributes else Status.CRASHED
    return replace(span, seq=span.seq + 1, status=status, ended_at=ended_at)


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
