"""From journals into the ledger: what was appended is taken in, and what a killed process left has crashed."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from e2s_tasks.core.energy import HOST
from e2s_tasks.core.records import ENDING, KILLED, SOON_AFTER, STOPPED, ProcessRecord, Record, SpanRecord, Status
from e2s_tasks.errors import LedgerBusyError, LedgerError
from e2s_tasks.host import host_name
from e2s_tasks.ledger.journal import PORTION, SUFFIX, TORN, alive, decode, this_boot
from e2s_tasks.ledger.orphans import remember

_log = logging.getLogger(__name__)


class Ingests(Protocol):
    """What a journal is replayed into: idempotent, and all or nothing."""

    def kept_open(self) -> AbstractContextManager[None]:
        """A block of several uses."""

    def ingest(self, records: Iterable[Record], delivered: tuple[str, int] | None = None) -> None:
        """Keep the records, and how far the journal of a process is taken in with them."""

    def delivered(self, process_id: str) -> int:
        """How far the journal of a process has been taken in."""


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


def _warn_of_corrupt(path: Path, lines: int) -> None:
    _log.warning("%d corrupt lines in the journal %s were left out.", lines, path)


def portions(
    path: Path, offset: int = 0, corrupt: Callable[[Path, int], None] = _warn_of_corrupt
) -> Iterator[tuple[list[Record], int]]:
    """The same in portions of some megabytes: records, and the offset after them. corrupt: told of corrupt lines."""
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
            corrupt(path, len(lines) - len(records))
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
    paths = sorted(journals.glob(f"*{SUFFIX}"))
    with ledger.kept_open() if paths else nullcontext():
        for path in paths:
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
    endings: dict[str, SpanRecord] = {}
    lost: list[int] = []
    position = 0 if ended else _from(path, ledger.delivered(process.id))
    for records, position in portions(path, position, lambda _, lines: lost.append(lines)):  # noqa: B020 - it goes on
        ledger.ingest(records, (process.id, position))
        _keep_running(running, endings, records)
    if ended:
        crashed = _crashed(running.values(), endings, path)
        ledger.ingest(_lower_bounds(path, crashed) if lost else crashed, (process.id, position))
        try:
            remember(path.parent, crashed)
            _put_away(path, sum(lost))
        except OSError as error:
            _log.warning("The journal %s was taken in but cannot be removed (%s).", path, error)
    return int(ended)


def _lower_bounds(path: Path, crashed: Iterable[SpanRecord]) -> list[SpanRecord]:
    """The last word on the spans of a journal that lost lines: what is inside the outermost ones may lack a part."""
    last: dict[str, SpanRecord] = {}
    for records, _ in portions(path, corrupt=lambda *_: None):
        for span in records:
            if not isinstance(span, SpanRecord) or span.is_of_no_process or span.seq == ENDING:
                continue
            if span.id not in last or span.seq > last[span.id].seq:
                last[span.id] = span
    last |= {span.id: span for span in crashed}
    outermost = [span for span in last.values() if span.parent_id not in last]
    return [*crashed, *(_lower_bound(span) for span in outermost if span.energy.host is not None)]


def _lower_bound(span: SpanRecord) -> SpanRecord:
    told = {name for name in HOST if getattr(span, f"{name}_j") is not None}
    known = span.attributes.get("gaps")  # which may be a user's note
    gaps = sorted({*told, *(name for name in (known if isinstance(known, list) else ()) if isinstance(name, str))})
    return replace(span, seq=span.seq + 1, attributes={**span.attributes, "gaps": gaps})


def _put_away(path: Path, lost: int) -> None:
    """Remove a journal that has been taken in; one that lost lines is kept beside the others, under another name."""
    if not lost:
        path.unlink(missing_ok=True)
        return
    kept = path.with_suffix(".damaged")
    path.replace(kept)
    _log.warning(
        "%d corrupt lines in the journal %s were left out: what its process used is a lower bound. It is kept as %s.",
        lost, path, kept,
    )  # fmt: skip


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


def _keep_running(running: dict[str, SpanRecord], endings: dict[str, SpanRecord], records: list[Record]) -> None:
    """Keep the last word on each span that has not ended, or of which only that is known yet: these are `endings`."""
    for record in records:
        if not isinstance(record, SpanRecord) or record.is_of_no_process:
            continue
        if record.seq == ENDING:
            endings[record.id] = record
        elif record.id not in running or record.seq > running[record.id].seq:
            running[record.id] = record
    for span_id in [span.id for span in running.values() if span.status != Status.RUNNING]:
        del running[span_id]
        endings.pop(span_id, None)


def _crashed(running: Iterable[SpanRecord], endings: Mapping[str, SpanRecord], path: Path) -> list[SpanRecord]:
    """The end of every span that its process left running: crashed at the last sign of life in the journal.

    One that had ended just before has not crashed, but lacks what it used since the last tick.
    """
    try:
        seen = path.stat().st_mtime  # ticks append too, and carry no time of their own
    except OSError:
        seen = time.time()
    return [_crash(span, seen, endings.get(span.id)) for span in running]


def _crash(span: SpanRecord, seen: float, ending: SpanRecord | None) -> SpanRecord:
    if ending is not None:
        told = {**span.attributes, KILLED: SOON_AFTER}
        return replace(span, seq=span.seq + 1, status=ending.status, ended_at=ending.ended_at, attributes=told)
    ended_at = span.ended_at if span.ended_at is not None else max(span.started_at, seen)  # its work may be over
    status = Status.CANCELLED if STOPPED in span.attributes else Status.CRASHED
    attributes = {**span.attributes, KILLED: True}
    return replace(span, seq=span.seq + 1, status=status, ended_at=ended_at, attributes=attributes)
