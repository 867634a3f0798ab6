"""Forecasts that all processes of a host share, a file per service and zone, so that each is asked for once.

A file holds the last good forecast, when a service failed last and why, and what the intensity was at the times when it
was looked at, for six weeks: the history from which a profile is made. A file that cannot be read or written costs only
what it would have saved.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from e2s_tasks.core.planning import Forecast, Slot
from e2s_tasks.core.profile import DAYS
from e2s_tasks.errors import GridError

KEEP_S = 300.0  # forecasts are made anew every half-hour
KEEP_FAILURE_S = 60.0  # a dead service delays one run a minute, not every run
LONGEST_REST_S = 3600.0  # a service that asks to be left alone is, for so long at most
POLL_S = 0.02
SOON_S, PART = 6 * 3600.0, 0.9

Ask = Callable[[], Forecast]


@dataclass(slots=True)
class _Page:
    """What a file holds. Times are seconds since the epoch; slots are (from, to, gCO2eq/kWh)."""

    asked_at: float = 0.0
    begin: float = 0.0  # what was asked for: from, to
    end: float = 0.0
    zone: str = ""
    signal: str = ""
    source: str = ""
    slots: list[list[float]] = field(default_factory=list)
    failed_at: float = 0.0
    failure: str = ""
    rest_s: float = KEEP_FAILURE_S  # from then on nobody asks
    history: list[list[float]] = field(default_factory=list)

    @property
    def forecast(self) -> Forecast:
        at = datetime.fromtimestamp(self.asked_at, UTC)
        return Forecast(self.zone, _slots(self.slots), self.signal, self.source, issued_at=at)

    def take(self, found: Forecast, now: float) -> None:
        self.zone, self.signal, self.source = found.zone, found.signal, found.source
        self.slots = _lists(found.slots)
        self.asked_at, self.failure = now, ""
        self.remember([one for one in self.slots if one[0] <= now < one[1]], now)

    def remember(self, slots: list[list[float]], now: float) -> None:
        """Add to what the intensity was; a later word on a slot replaces an earlier one."""
        known = {one[0]: one for one in [*self.history, *slots] if one[0] > now - DAYS * 86400}
        self.history = [known[start] for start in sorted(known)]


class Shelf:
    """The files of one service for one zone.

    patience_s: how long another process that asks is waited for. age_s: how old a forecast may be that is still used.
    """

    def __init__(self, folder: Path, service: str, zone: str, patience_s: float, age_s: float = 0.0) -> None:
        name = f"{service} {zone.strip().casefold()}"
        self._path = folder / f"{sha256(name.encode()).hexdigest()[:24]}.json"
        self._patience_s, self._age_s = patience_s, age_s

    def fresh(self, start: datetime, end: datetime, until: datetime, ask: Ask) -> Forecast:
        """A forecast of the last five minutes for start..end: another process's, or what `ask` answers now.

        until: how far `ask` asks, at least to the end.

        Raises:
            GridError: `ask` gave none, or one that knows less than the last one did; or so it was a minute ago.
        """
        found = self._kept(start, end)
        if found is not None:
            return found
        with self._locked():
            found = self._kept(start, end)  # whoever was waited for may have asked
            return found if found is not None else self._asked(start, until, ask)

    def last(self, start: datetime) -> Forecast:
        """The last good forecast, which must not be too old, and know the time of `start`.

        Raises:
            GridError: there is none.
        """
        page = self._read()
        if not page.slots:
            raise GridError("no earlier forecast is kept")
        at = datetime.fromtimestamp(page.asked_at, UTC)
        if not 0 <= time.time() - page.asked_at <= self._age_s:
            raise GridError(f"the last forecast is of {at:%Y-%m-%d %H:%M} UTC, more than {self._age_s / 3600:g} h old")
        found = page.forecast
        if found.at(start) is None:
            raise GridError(f"the last forecast, of {at:%Y-%m-%d %H:%M} UTC, does not reach {start:%Y-%m-%d %H:%M} UTC")
        return Forecast(found.zone, found.slots, found.signal, f"{found.source} (asked at {at:%H:%M} UTC)", at)

    def history(self) -> Forecast:
        """What the intensity was, as far as anybody looked.

        Raises:
            GridError: nothing is known.
        """
        page = self._read()
        if not page.history:
            raise GridError("no history is kept")
        return Forecast(page.zone, _slots(page.history), page.signal, page.source)

    def remember(self, seen: Forecast) -> None:
        """Keep what was observed."""
        with self._locked():
            page = self._read()
            page.zone, page.signal, page.source = seen.zone, seen.signal, seen.source
            page.remember(_lists(seen.slots), time.time())
            self._write(page)

    def _kept(self, start: datetime, end: datetime) -> Forecast | None:
        page, now = self._read(), time.time()
        if page.failure and 0 <= now - page.failed_at < page.rest_s:
            raise GridError(page.failure)
        covered = page.begin <= start.timestamp() and end.timestamp() <= page.end
        return page.forecast if covered and 0 <= now - page.asked_at < KEEP_S and page.slots else None

    def _asked(self, start: datetime, until: datetime, ask: Ask) -> Forecast:
        page = self._read()
        try:
            found = ask()
            self._check(found, page, until)
        except GridError as error:
            page.failed_at, page.failure = time.time(), str(error)
            page.rest_s = min(max(KEEP_FAILURE_S, error.after_s or 0.0), LONGEST_REST_S)
            self._write(page)
            raise
        page.begin, page.end = start.timestamp(), until.timestamp()
        page.take(found, time.time())
        self._write(page)
        return found

    def _check(self, found: Forecast, page: _Page, until: datetime) -> None:
        """Nothing, for one that knows the next hours and most of the rest as the last one did, while that is good."""
        now = time.time()
        if not page.slots or not 0 <= now - page.asked_at <= self._age_s:
            return
        begin, end = page.slots[-1][:2]
        end = min(until.timestamp(), end) - (end - begin)
        soon = min(now + SOON_S, end)
        knows, knew = _known_s(_lists(found.slots), now, end), _known_s(page.slots, now, end)
        knows_soon, knew_soon = _known_s(_lists(found.slots), now, soon), _known_s(page.slots, now, soon)
        if knows_soon < knew_soon - 1 or knows < PART * knew:
            raise GridError(
                f"{found.source} told {knows / 3600:.3g} h of what is to come, and {knew / 3600:.3g} h the time before."
                " What is missing may come with its next answer."
            )

    def _read(self) -> _Page:
        try:
            page = _Page(**json.loads(self._path.read_text("utf-8")))
            _slots(page.slots), _slots(page.history)
        except (OSError, ValueError, TypeError, GridError, OverflowError):
            return _Page()
        return page

    def _write(self, page: _Page) -> None:
        beside = self._path.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(asdict(page)), "utf-8")
            beside.replace(self._path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time; without a lock that can be had in time, all at once."""
        import fcntl

        fd, give_up = None, time.monotonic() + self._patience_s
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        while fd is not None and time.monotonic() < give_up:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(POLL_S)
        try:
            yield
        finally:
            if fd is not None:
                os.close(fd)


def _slots(rows: list[list[float]]) -> tuple[Slot, ...]:
    return tuple(Slot(_moment(start), _moment(end), float(value)) for start, end, value in rows)


def _lists(slots: tuple[Slot, ...]) -> list[list[float]]:
    return [[one.start.timestamp(), one.end.timestamp(), one.intensity] for one in slots]


def _known_s(rows: list[list[float]], begin: float, end: float) -> float:
    """For how many seconds of a span there is a figure."""
    return sum(max(0.0, min(one[1], end) - max(one[0], begin)) for one in rows)


def _moment(seconds: Any) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
