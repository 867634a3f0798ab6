"""External meters: whatever a Prometheus server knows of this host's energy or power, in place of our own sources.

They stand in a TOML file that E2S_EXTERNAL_METERS names; docs/sources.md has queries for Kepler, Scaphandre, the DCGM
exporter, Intel PCM and a metered PDU. A thread of its own asks the server, so that no measured work waits for it.
"""

import bisect
import logging
import os
import threading
import time
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path

from e2s_tasks.core.attribution import Reading
from e2s_tasks.core.energy import HOST
from e2s_tasks.core.records import SourceRecord
from e2s_tasks.errors import SettingError
from e2s_tasks.meters.prometheus import QueryError, query
from e2s_tasks.settings import Settings

JOULES_PER = {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "kJ": 1e3, "Wh": 3600.0, "kWh": 3.6e6}
WATTS_PER = {"W": 1.0, "mW": 1e-3, "kW": 1e3}
NS = 1_000_000_000
IDLE_NS = 30 * NS  # nobody has asked for so long: the server is left alone
KEPT = 4096

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalMeter:
    """One entry of the file. kind: counter (energy so far) or gauge (power). every_s: seconds between two questions.

    idle_w: the part of the power that is there without work, in watts. token_env: the environment variable that holds a
    bearer token. patience_s: after so long without an answer its time is a gap. covers: further components that are in
    its figure, as a PDU's holds the whole machine; they have no source of their own then.
    """

    name: str
    component: str
    url: str
    query: str
    kind: str
    unit: str
    every_s: float = 1.0
    patience_s: float = 60.0
    idle_w: float = 0.0
    token_env: str = ""
    covers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        units = {"counter": JOULES_PER, "gauge": WATTS_PER}
        for value, choices, what in (
            (self.component, HOST, "component"),
            (self.kind, units, "kind"),
            (self.unit, units.get(self.kind, {}), f"unit of a {self.kind}"),
        ):
            if value not in choices:
                raise SettingError(f"external meter {self.name!r}: {what} {value!r}: give one of {', '.join(choices)}.")
        strangers = set(self.covers) - set(HOST)
        if strangers:
            raise SettingError(f"external meter {self.name!r}: covers {strangers}: give some of {', '.join(HOST)}.")
        if not (self.every_s > 0 and self.patience_s > 0 and self.idle_w >= 0):
            raise SettingError(f"external meter {self.name!r}: every_s, patience_s and idle_w: give numbers above 0.")

    def ask(self) -> float:
        """What the server says now, in joules or watts.

        Raises:
            QueryError: no single finite number; the message names the remedy.
        """
        token = os.environ.get(self.token_env, "") if self.token_env else ""
        scale = JOULES_PER[self.unit] if self.kind == "counter" else WATTS_PER[self.unit]
        return query(self.url, self.query, token) * scale


def load(path: Path) -> list[ExternalMeter]:
    """The meters of the file.

    Raises:
        SettingError: the file cannot be read or used; the message names the value and the remedy.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("meter", [])
    except (OSError, ValueError) as error:
        raise SettingError(f"E2S_EXTERNAL_METERS={str(path)!r} cannot be read: {error}.") from None
    known = {one.name for one in fields(ExternalMeter)}
    meters = []
    for entry in entries if isinstance(entries, list) else [entries]:
        unknown = set(entry) - known
        if unknown:
            raise SettingError(
                f"{path}: a meter knows no {', '.join(sorted(unknown))}: use {', '.join(sorted(known))}."
            )
        try:
            meters.append(ExternalMeter(**entry))
        except TypeError as error:
            raise SettingError(f"{path}: meter {entry.get('name', '?')!r}: {error}.") from None
    if not meters:
        raise SettingError(f"{path} has no [[meter]]: add one, or unset E2S_EXTERNAL_METERS.")
    return meters


def external_meters(settings: Settings) -> list["PolledSource"]:
    """A source for each external meter; a file that cannot be used costs a warning, and our own sources hold."""
    if settings.external_meters is None:
        return []
    try:
        return [PolledSource(meter) for meter in load(settings.external_meters)]
    except SettingError as error:
        _log.warning("External meters are not used: %s", error)
        return []


@dataclass(slots=True)
class Curve:
    """Energy over time as far as it is known: joules at moments (monotonic ns), linear in between.

    A counter that stands still for some questions (the server scrapes more slowly) adds a point only where it moves, so
    that what it then jumps is spread over the time in which it was used.
    """

    moments: list[int] = field(default_factory=list)
    joules: list[float] = field(default_factory=list)
    _raw: float | None = None
    _power: tuple[int, float] | None = None

    def counted(self, now: int, raw: float) -> None:
        """A counter shows `raw` joules at `now`; one that fell has been reset and began from 0."""
        before, self._raw = self._raw, raw
        if before is None:
            self._add(now, 0.0)
        elif raw != before:
            self._add(now, self.joules[-1] + (raw - before if raw > before else raw))

    def drew(self, now: int, watts: float) -> None:
        """A gauge shows `watts` at `now`: energy by the trapezoidal rule."""
        before, self._power = self._power, (now, watts)
        if before is None:
            self._add(now, 0.0)
        else:
            self._add(now, self.joules[-1] + (before[1] + watts) / 2 * (now - before[0]) * 1e-9)

    def at(self, moment: int) -> float | None:
        """Joules at a moment; before and after what is known with the nearest slope; None while nothing is known."""
        if len(self.moments) < 2:
            return None
        right = min(max(bisect.bisect_left(self.moments, moment), 1), len(self.moments) - 1)
        left_ns, right_ns = self.moments[right - 1], self.moments[right]
        slope = (self.joules[right] - self.joules[right - 1]) / (right_ns - left_ns)
        return self.joules[right] + slope * (moment - right_ns)

    def _add(self, now: int, joules: float) -> None:
        if not self.moments or now > self.moments[-1]:
            self.moments.append(now)
            self.joules.append(joules)
            del self.moments[:-KEPT], self.joules[:-KEPT]


class PolledSource:
    """An external meter as a source. What it reads is the time; the joules follow once the server has told them."""

    def __init__(self, meter: ExternalMeter) -> None:
        self._meter = meter
        self.component = meter.component
        self._curve = Curve()
        self._lock = threading.Lock()
        self._answered_ns = self._asked_for_ns = 0
        self._thread: threading.Thread | None = None
        self._booked: tuple[int, float] | None = None
        self.records = [
            SourceRecord(meter.component, meter.name, "measured", detail=f"{meter.kind} {meter.query} at {meter.url}")
        ]
        if meter.component == "cpu":
            detail = f"idle part of {meter.name}: {meter.idle_w:g} W (idle_w)"
            self.records.append(SourceRecord("static", "idle power model", "modelled", 0.5, 2.0, detail))
        for covered in meter.covers:
            detail = f"in the figure of {meter.name} ({meter.component})"
            self.records.append(SourceRecord(covered, meter.name, "missing", detail=detail, absent=True))

    def read(self) -> int | None:
        """The time (monotonic ns); starts the thread that asks the server."""
        self._asked_for_ns = now = time.monotonic_ns()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._poll, name=f"e2s-{self._meter.name}", daemon=True)
            self._thread.start()
        return now

    def is_known(self, moment: int | None) -> bool:
        """Whether the server has told the energy up to a moment, or has been silent for too long to wait for it."""
        if moment is None or time.monotonic_ns() - moment > self._meter.patience_s * NS:
            return True
        with self._lock:
            return len(self._curve.moments) > 1 and self._curve.moments[-1] >= moment

    def reading(self, before: int | None, after: int | None, duration_s: float, busy_s: float) -> Reading:  # noqa: ARG002
        """Joules over a segment. Segments that follow each other book exactly what the curve shows over all of them."""
        if before is None or after is None:
            return self._gap()
        with self._lock:
            if self._booked is None or self._booked[0] != before:
                start = self._curve.at(before)
                self._booked = None if start is None else (before, start)
            end = self._curve.at(after)
            silent_ns = after - self._answered_ns
        if self._booked is None or end is None or silent_ns > self._meter.patience_s * NS:
            return self._gap()
        joules = max(0.0, end - self._booked[1])
        self._booked = after, self._booked[1] + joules
        return Reading(self.component, joules, self._meter.idle_w * duration_s, _idle_goes_to(self.component))

    def _gap(self) -> Reading:
        self._booked = None
        return Reading(self.component, None)

    def _poll(self) -> None:
        troubled = False
        while time.monotonic_ns() - self._asked_for_ns < IDLE_NS:
            try:
                value = self._meter.ask()
            except QueryError as error:
                if not troubled:
                    _log.warning("The external meter %s does not answer: %s", self._meter.name, error)
                troubled = True
            else:
                troubled = False
                self._take(time.monotonic_ns(), value)
            time.sleep(self._meter.every_s)

    def _take(self, now: int, value: float) -> None:
        with self._lock:
            self._answered_ns = now
            if self._meter.kind == "counter":
                self._curve.counted(now, value)
            else:
                self._curve.drew(now, value)


def _idle_goes_to(component: str) -> str:
    return "static" if component == "cpu" else component
