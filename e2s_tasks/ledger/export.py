"""The ledger as Parquet: a folder per record type, in it one per day (UTC), in each one file.

Everything is first written beside its place, under a name that no reader takes for data, and moved there at the end: an
export that is killed leaves what was there before. The days that are exported replace those that are there.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import sqlalchemy as sa

from e2s_tasks.errors import SettingError
from e2s_tasks.ledger.columns import EXPORTED, Column, batch, schema
from e2s_tasks.ledger.tables import edge, span
from e2s_tasks.ledger.times import DAY_S, Moment, day, period

if TYPE_CHECKING:
    import pyarrow.parquet as pq

STAGE = ".e2s-export"  # readers of Parquet data sets pass over names that begin so
FILE = "part-0.parquet"
MANIFEST = "_e2s_export.json"
ROWS = 10_000  # rows that are held at a time


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote of one record type."""

    records: str
    rows: int
    days: int


def export(engine: sa.Engine, folder: Path | str, since: Moment | None, until: Moment | None) -> list[Exported]:
    """Write the days from `since` on to the one before `until` (UTC; all by default).

    Raises:
        SettingError: a day cannot be read, no day lies between them, the folder cannot be written, or another export
            writes to it.
    """
    place = Path(folder).expanduser()
    span_of_days = _days(since, until)
    try:
        with _alone(place), _staged(place) as stage, _snapshot(engine) as connection:
            done = [_write(connection, stage, name, *span_of_days) for name in EXPORTED]
            (place / MANIFEST).unlink(missing_ok=True)
            for name in EXPORTED:
                _put_in_place(stage / name, place / name, *span_of_days)
            _tell(place, done, *span_of_days)
    except OSError as error:
        why = "it is a file" if place.is_file() else error
        raise SettingError(f"The folder {str(place)!r} cannot be exported to ({why}): give one that can.") from error
    return done


def _days(since: Moment | None, until: Moment | None) -> tuple[int | None, int | None]:
    """The first day, and the one before which to stop.

    Raises:
        SettingError: one cannot be read, or no day lies between them.
    """
    period(since, until)
    first, last = None if since is None else day(since, "since"), None if until is None else day(until, "until")
    if first is not None and first == last:
        raise SettingError(
            f"since={since!r} and until={until!r} are in one day, and days are exported whole: give a later until."
        )
    return first, last


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """The only export to the folder.

    Raises:
        SettingError: another one writes to it.
    """
    import fcntl

    made = not place.exists()
    place.mkdir(parents=True, exist_ok=True)
    fd = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise SettingError(f"Another export writes to {str(place)!r}: wait for its end, or give another one.") from None
    finally:
        os.close(fd)
        if made and not any(place.iterdir()):
            place.rmdir()


@contextmanager
def _staged(place: Path) -> Iterator[Path]:
    """Where to write first; nothing is left there, whatever becomes of the export."""
    stage = place / STAGE
    shutil.rmtree(stage, ignore_errors=True)  # of an export that was killed
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def _snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """The ledger as it is now, whatever is written meanwhile."""
    level = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
    with engine.connect().execution_options(**level) as connection, connection.begin():
        yield connection


def _write(connection: sa.Connection, stage: Path, name: str, since: int | None, until: int | None) -> Exported:
    """Write the days of one record type below the stage, one after another, a portion of rows at a time."""
    columns, at = EXPORTED[name]
    query = sa.select(at.label("the_time"), *(one.value.label(one.name) for one in columns)).order_by(at)
    if name == "edges":  # which have no time of their own: that of their run's first span
        query, at = _dated_edges(columns)
    if since is not None:
        query = query.where(at >= since * DAY_S)
    if until is not None:
        query = query.where(at < until * DAY_S)
    (stage / name).mkdir(parents=True)
    rows = days = 0
    file = _DayFile(stage / name, columns)
    try:
        for portion in connection.execute(query.execution_options(yield_per=ROWS)).partitions():
            for number, of_day in groupby(portion, key=lambda row: int(row[0] // DAY_S)):
                values = [row[1:] for row in of_day]
                days += file.write(number, values)
                rows += len(values)
    finally:
        file.close()
    return Exported(name, rows, days)


def _dated_edges(columns: Sequence[Column]) -> tuple[sa.Select[Any], sa.ColumnElement[Any]]:
    begun = sa.select(span.c.run_id, sa.func.min(span.c.started_at).label("at")).group_by(span.c.run_id).subquery()
    at = sa.func.coalesce(begun.c.at, 0.0)
    query = sa.select(at.label("the_time"), *(one.value.label(one.name) for one in columns))
    return query.join_from(edge, begun, edge.c.run_id == begun.c.run_id, isouter=True).order_by(at), at


class _DayFile:
    """The Parquet file of one day after another."""

    def __init__(self, folder: Path, columns: Sequence[Column]) -> None:
        self._folder, self._columns = folder, columns
        self._day: int | None = None
        self._file: BinaryIO | None = None
        self._writer: pq.ParquetWriter | None = None

    def write(self, number: int, rows: Sequence[Sequence[Any]]) -> bool:
        """Add rows of a day; whether it is a new one."""
        begins = number != self._day
        if begins:
            self.close()
            self._begin(number)
        self._writer.write_batch(batch(self._columns, rows))  # type: ignore[union-attr]
        return begins

    def _begin(self, number: int) -> None:
        import pyarrow.parquet as pq

        path = self._folder / _partition(number) / FILE
        path.parent.mkdir()
        self._day, self._file = number, path.open("wb")
        self._writer = pq.ParquetWriter(self._file, schema(self._columns), compression="zstd")

    def close(self) -> None:
        """End the file of the day."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def _partition(number: int) -> str:
    return f"day={date(1970, 1, 1) + timedelta(days=number)}"


def _put_in_place(stage: Path, place: Path, since: int | None, until: int | None) -> None:
    """Move the days to where they belong, and remove those of the time exported that have no rows any more."""
    place.mkdir(exist_ok=True)
    new = {path.name for path in stage.iterdir()}
    for path in place.glob("day=*"):
        if path.name not in new and _lies_between(path.name, since, until):
            shutil.rmtree(path)
    for name in sorted(new):
        (place / name).mkdir(exist_ok=True)
        (stage / name / FILE).replace(place / name / FILE)


def _lies_between(partition: str, since: int | None, until: int | None) -> bool:
    first = "" if since is None else _partition(since)
    return first <= partition and (until is None or partition < _partition(until))


def _tell(place: Path, done: list[Exported], since: int | None, until: int | None) -> None:
    """Say what the export holds, once all of it is in place."""
    document = {
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "since": None if since is None else _partition(since).removeprefix("day="),
        "until": None if until is None else _partition(until).removeprefix("day="),
        "records": [asdict(one) for one in done],
    }
    unfinished = place / STAGE / MANIFEST
    unfinished.write_text(json.dumps(document, indent=1) + "\n")
    unfinished.replace(place / MANIFEST)
