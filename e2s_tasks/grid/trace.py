"""Carbon intensities from a file: a CSV or Parquet trace, whose forecast is what came true."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from e2s_tasks.core.planning import Forecast, Slot
from e2s_tasks.errors import GridError, TraceError
from e2s_tasks.grid.country import same_zone, written

TIME_COLUMNS = ("ts_utc", "datetime", "timestamp", "from_utc")
INTENSITY_COLUMNS = ("ci_g_per_kwh", "carbon_intensity")
ZONE_COLUMN = "zone"
OTHER_SEPARATORS = (";", "\t", "|")
SIGNAL = "as in the trace"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = tuple[int, Any, Any]  # number in the file, time (microseconds since the epoch or text), intensity


@dataclass(frozen=True, eq=False, slots=True)
class Trace:
    """The rows of a file by zone, unread until asked for; the zone None is that of a file without a zone column."""

    path: Path
    rows: dict[str | None, list[Row]]
    _slots: dict[str | None, tuple[Slot, ...]] = field(default_factory=dict)

    def forecast(self, zone: str | None, start: datetime, end: datetime) -> Forecast:
        """The trace from `start` to `end`: a perfect forecast.

        Raises:
            GridError: the trace has nothing for that zone or time.
            TraceError: that zone's rows have a gap, or an intensity that is not positive.
        """
        name = self._zone(zone)
        slots = self._slots.get(name) or self._slots.setdefault(name, _slots(self.path, name, self.rows[name]))
        if start >= slots[-1].end or end <= slots[0].start:
            raise GridError(
                f"The trace {self.path} covers {_utc(slots[0].start)} to {_utc(slots[-1].end)}, not {_utc(start)} to "
                f"{_utc(end)}. Use a trace of that time, or unset E2S_TRACE."
            )
        inside = tuple(slot for slot in slots if slot.end > start and slot.start < end)
        return Forecast(name or (written(zone) if zone else "unnamed"), inside, SIGNAL, f"trace {self.path.name}")

    actual = forecast

    def _zone(self, zone: str | None) -> str | None:
        """The file's own name for `zone`."""
        if len(self.rows) == 1 and (zone is None or None in self.rows):
            return next(iter(self.rows))
        for name in self.rows:
            if name is not None and zone is not None and same_zone(name, zone):
                return name
        zones = ", ".join(str(name) for name in self.rows)
        if zone is None:
            raise GridError(f"The trace {self.path} has several zones. Name one of {zones}.")
        raise GridError(f"The trace {self.path} has no zone {zone}. Name one of {zones}, or unset E2S_TRACE.")


def read_trace(path: Path) -> Trace:
    """The trace in a file with a time column (ts_utc, ...), an intensity column (ci_g_per_kwh, ...), perhaps a zone.

    Times without a zone are UTC. Each zone's rows are one step apart; a row holds until the next.

    Raises:
        TraceError: the file cannot be read, or has no such columns or no rows.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise TraceError(f"The trace {path} cannot be read: {error.strerror}. Correct or unset E2S_TRACE.") from None
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, _modified: int, _size: int) -> Trace:
    rows: dict[str | None, list[Row]] = {}
    for zone, row in _parquet_rows(path) if path.suffix.lower() in {".parquet", ".pq"} else _csv_rows(path):
        rows.setdefault(zone, []).append(row)
    if not rows:
        raise TraceError(f"{path} has no rows: a trace needs at least two.")
    return Trace(path, rows)


def _slots(path: Path, zone: str | None, rows: Iterable[Row]) -> tuple[Slot, ...]:
    """The slots of one zone, one step long each."""
    points: dict[datetime, float] = {}
    for number, time, intensity in rows:
        at = _time(time, path, number)
        if at in points:
            raise TraceError(f"{path}, row {number}: {_utc(at)} is there twice{_of(zone)}. Keep one of the two rows.")
        points[at] = _intensity(intensity, path, number, at)
    step = _step(points, path, zone)
    return tuple(Slot(at, at + step, points[at]) for at in sorted(points))


def _step(points: Iterable[datetime], path: Path, zone: str | None) -> timedelta:
    """The time between any two rows."""
    times = sorted(points)
    if len(times) < 2:
        raise TraceError(f"{path} has one row{_of(zone)}: a trace needs at least two, to know its step.")
    step = Counter(later - earlier for earlier, later in pairwise(times)).most_common(1)[0][0]
    for earlier, later in pairwise(times):
        if later - earlier > step:
            raise TraceError(
                f"{path} has a gap{_of(zone)}: nothing between {_utc(earlier)} and {_utc(later)}, where a row every "
                f"{_minutes(step)} was expected. Fill it, or use a part without gaps."
            )
        if later - earlier < step:
            raise TraceError(
                f"{path}: the row at {_utc(later)}{_of(zone)} comes {_minutes(later - earlier)} after the one before, "
                f"not {_minutes(step)}. Give all rows the same step."
            )
    return step


def _csv_rows(path: Path) -> Iterator[tuple[str | None, Row]]:
    import csv

    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            names = reader.fieldnames or ()
            _check_separator(names, path)
            time, intensity, zone = _columns(names, path)
            for row in reader:
                yield row[zone] if zone else None, (reader.line_num, row[time], row[intensity])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path} cannot be read as CSV: {_without_stop(error)}. Give a CSV or Parquet file.") from None


def _parquet_rows(path: Path) -> Iterable[tuple[str | None, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        time, intensity, zone = _columns(pq.read_schema(path).names, path)
        table = pq.read_table(path, columns=[name for name in (time, intensity, zone) if name])
        times = table[time]
        if pa.types.is_timestamp(times.type):
            times = times.cast(pa.timestamp("us", times.type.tz), safe=False).cast(pa.int64())
        elif not (pa.types.is_string(times.type) or pa.types.is_large_string(times.type)):
            raise TraceError(f"{path}: its column {time} holds {times.type}: give timestamps, or text in ISO 8601.")
        zones = map(str, table[zone].to_pylist()) if zone else [None] * len(table)
    except (OSError, pa.ArrowException) as error:
        raise TraceError(
            f"{path} cannot be read as Parquet: {_without_stop(error)}. Give a CSV or Parquet file."
        ) from None
    rows = zip(range(1, len(table) + 1), times.to_pylist(), table[intensity].to_pylist(), strict=True)
    return zip(zones, rows, strict=True)


def _columns(names: Sequence[str], path: Path) -> tuple[str, str, str | None]:
    """The names of the file's time, intensity and zone columns."""
    kinds = {"time": TIME_COLUMNS, "intensity": INTENSITY_COLUMNS}
    found = {kind: next((name for name in wanted if name in names), None) for kind, wanted in kinds.items()}
    missing = [kind for kind, column in found.items() if column is None]
    if missing:
        calls = " and ".join(
            f"the {kind} column {kinds[kind][0]} (or {', '.join(kinds[kind][1:])})" for kind in missing
        )
        raise TraceError(
            f"{path} has no {' and no '.join(missing)} column: it has {', '.join(names) or 'no columns'}. "
            f"Call {calls}; docs/sources.md describes a trace."
        )
    return str(found["time"]), str(found["intensity"]), ZONE_COLUMN if ZONE_COLUMN in names else None


def _check_separator(names: Sequence[str], path: Path) -> None:
    """Nothing for columns that commas separate; with another separator, the whole header is one column's name."""
    other = next((mark for mark in OTHER_SEPARATORS if len(names) == 1 and mark in names[0]), None)
    if other is not None:
        raise TraceError(f"{path} separates its columns by {other!r}: separate them by commas, and write 1.5, not 1,5.")


def _time(value: Any, path: Path, number: int) -> datetime:
    """The time in UTC that microseconds since the epoch, or text, say."""
    try:
        at = EPOCH + timedelta(microseconds=value) if isinstance(value, int) else datetime.fromisoformat(value.strip())
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise TraceError(f"{path}, row {number}: {value!r} is no time. Write for example 2023-01-31T14:30Z.") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _intensity(value: Any, path: Path, number: int, at: datetime) -> float:
    try:
        intensity = float(value)
    except (TypeError, ValueError):
        intensity = math.nan
    if not (math.isfinite(intensity) and intensity > 0):
        raise TraceError(
            f"{path}, row {number} ({_utc(at)}): {value!r} is no carbon intensity in gCO2eq/kWh, which is more than 0. "
            "Correct it, or use a part of the trace without such rows."
        )
    return intensity


def _without_stop(error: Exception) -> str:
    return str(error).strip().rstrip(".")


def _of(zone: str | None) -> str:
    return f" in the zone {zone}" if zone is not None else ""


def _minutes(step: timedelta) -> str:
    return f"{step.total_seconds() / 60:g} min"


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
