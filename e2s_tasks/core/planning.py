"""When to run: the cleanest window that a forecast of carbon intensity shows, as a pure function."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from e2s_tasks.core.energy import JOULES_PER_KWH
from e2s_tasks.core.policy import aware
from e2s_tasks.errors import GridError, SettingError

# Two means that differ by less (relatively) are the same figure, apart from rounding: the earlier start wins.
SAME = 1e-9
UNIT = "gCO2eq/kWh"


@dataclass(frozen=True, slots=True)
class Slot:
    """The carbon intensity (gCO2eq/kWh) from `start` to `end`."""

    start: datetime
    end: datetime
    intensity: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """Carbon intensities of a zone in slots that are in order and do not overlap; a missing slot is left out.

    signal: for example "average, direct". source: who says so. issued_at: when it was asked for or made.

    Raises:
        GridError: slots that are out of order, overlap, or hold no positive intensity.
    """

    zone: str
    slots: tuple[Slot, ...]
    signal: str
    source: str
    issued_at: datetime | None = None

    def __post_init__(self) -> None:
        # The same local clock on both sides of a night that changes it would be subtracted as if it had not.
        if any(end.tzinfo is not UTC for slot in self.slots for end in (slot.start, slot.end)):
            object.__setattr__(self, "slots", tuple(map(_in_utc, self.slots)))
        previous: datetime | None = None
        for slot in self.slots:
            if slot.start >= slot.end or (previous and slot.start < previous):
                raise GridError(
                    f"{self.source}: the slot at {slot.start.isoformat()} is empty or overlaps another: correct it."
                )
            if not (math.isfinite(slot.intensity) and slot.intensity > 0):
                raise GridError(
                    f"{self.source}: {slot.intensity} at {slot.start.isoformat()} is no carbon intensity: leave it out."
                )
            previous = slot.end

    def at(self, moment: datetime) -> float | None:
        """The intensity (gCO2eq/kWh) at `moment`; None where it is missing."""
        index = bisect_right(self.slots, moment, key=lambda slot: slot.start) - 1
        return self.slots[index].intensity if index >= 0 and moment < self.slots[index].end else None

    def between(self, start: datetime, end: datetime) -> tuple[Slot, ...]:
        """The slots that touch start..end."""
        return tuple(slot for slot in self.slots if slot.end > start and slot.start < end)


@dataclass(frozen=True, slots=True)
class Plan:
    """The chosen window: when, its mean intensity, that of starting at once (both gCO2eq/kWh), and why.

    energy_j: what the run is expected to use, in joules; None where nobody knows.
    """

    start: datetime
    end: datetime
    expected: float
    run_now: float
    reason: str
    energy_j: float | None = None

    @property
    def expected_g(self) -> float | None:
        """The predicted emissions of the planned window in gCO2eq; None without an expected energy."""
        return None if self.energy_j is None else self.expected * self.energy_j / JOULES_PER_KWH

    @property
    def run_now_g(self) -> float | None:
        """The predicted emissions of starting at once in gCO2eq; None without an expected energy."""
        return None if self.energy_j is None else self.run_now * self.energy_j / JOULES_PER_KWH


def mean_intensity(forecast: Forecast, start: datetime, duration: timedelta) -> float:
    """The time-weighted mean intensity (gCO2eq/kWh) from `start` on, exact for any start and duration.

    Raises:
        SettingError: the duration is not positive, or `start` has no time zone.
        GridError: the forecast does not cover the whole window.
    """
    _positive(duration)
    start = aware(start, "start").astimezone(UTC)
    for stretch in _stretches(forecast.slots):
        if stretch.start <= start and start + duration <= stretch.end:
            return stretch.mean(start, duration)
    raise GridError(
        f"{forecast.source} has no figures for all of {clock(start, start)} to {clock(start + duration, start)} UTC"
        f" in {forecast.zone}: it {_coverage(forecast)}. Use a shorter duration or another source."
    )


def best_window(forecast: Forecast, now: datetime, duration: timedelta, deadline: datetime) -> Plan:
    """The contiguous window of least mean intensity that starts at `now` or later and ends by `deadline`.

    Any start time is possible, not only slot edges. The mean is a piecewise linear function of the start, so its least
    value lies where an end of the window meets a slot edge, or at the first or the last possible start: exactly those
    are tried. Equal means: the earliest. Without slack, or where the deadline cannot be met: now.

    Raises:
        SettingError: the duration is not positive, or a time has no time zone.
        GridError: the forecast does not cover even the window that starts now.
    """
    now, deadline = aware(now, "now").astimezone(UTC), aware(deadline, "deadline").astimezone(UTC)
    run_now = mean_intensity(forecast, now, duration)
    best, start = run_now, now
    for candidate, mean in window_starts(forecast, now, duration, deadline):
        if mean < best * (1 - SAME):
            best, start = mean, candidate
    reason = _reason(start, now, best, run_now, deadline - duration) + _uncovered(forecast, now, deadline)
    return Plan(start, start + duration, best, run_now, reason)


def window_starts(
    forecast: Forecast, now: datetime, duration: timedelta, deadline: datetime
) -> Iterator[tuple[datetime, float]]:
    """The starts among which the best must be, in order, with the mean intensity (gCO2eq/kWh) of each window."""
    for stretch in _stretches(forecast.slots):
        for start in stretch.starts(now, duration, deadline):
            yield start, stretch.mean(start, duration)


class _Stretch:
    """Slots without a gap between them, and the integral of intensity over time along them."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = slots
        self.start, self.end = slots[0].start, slots[-1].end
        self._edges = [slot.start for slot in slots]
        self._integrals = [0.0]
        for slot in slots:
            self._integrals.append(self._integrals[-1] + slot.intensity * (slot.end - slot.start).total_seconds())

    def mean(self, start: datetime, duration: timedelta) -> float:
        """The mean intensity of a window inside the stretch."""
        first = bisect_right(self._edges, start) - 1
        if start + duration <= self._slots[first].end:
            return self._slots[first].intensity
        return (self._integral(start + duration) - self._integral(start)) / duration.total_seconds()

    def starts(self, now: datetime, duration: timedelta, deadline: datetime) -> list[datetime]:
        """The starts among which the best one must be, in order; none where no window fits."""
        first, last = max(now, self.start), min(deadline, self.end) - duration
        if first > last:
            return []
        meets_edge = {moment for edge in self._edges for moment in (edge, edge - duration) if first < moment < last}
        return sorted(meets_edge | {first, last})

    def _integral(self, at: datetime) -> float:
        index = bisect_right(self._edges, at) - 1
        return self._integrals[index] + self._slots[index].intensity * (at - self._edges[index]).total_seconds()


def _stretches(slots: Sequence[Slot]) -> list[_Stretch]:
    """The slots, cut where there is a gap."""
    cuts = [index for index in range(1, len(slots)) if slots[index].start > slots[index - 1].end]
    bounds = [0, *cuts, len(slots)]
    return [_Stretch(slots[begin:end]) for begin, end in pairwise(bounds) if begin < end]


def _in_utc(slot: Slot) -> Slot:
    start, end = aware(slot.start, "slot.start"), aware(slot.end, "slot.end")
    return Slot(start.astimezone(UTC), end.astimezone(UTC), slot.intensity)


def _positive(duration: timedelta) -> None:
    if duration <= timedelta(0):
        raise SettingError(f"duration={duration} is not positive: give how long the run takes, for example 90 minutes.")


def _reason(start: datetime, now: datetime, expected: float, run_now: float, latest_start: datetime) -> str:
    if start > now:
        then, at_once = told_apart(expected, run_now)
        return (
            f"start at {clock(start, now)} UTC instead of {clock(now, start)}: "
            f"{then} instead of {at_once} {UNIT} ({_change(expected, run_now)})"
        )
    if latest_start < now:
        return f"start now, at {figure(run_now)} {UNIT}: even so the run is expected to miss its deadline"
    if latest_start == now:
        return f"start now, at {figure(run_now)} {UNIT}: there is no slack to wait in"
    return f"start now: no start until {clock(latest_start, now)} UTC is cleaner than {figure(run_now)} {UNIT}"


def figure(intensity: float) -> str:
    """An intensity in words: whole above 10, to three digits below."""
    return f"{intensity:.0f}" if intensity >= 10 else f"{intensity:.3g}"


def told_apart(one: float, other: float) -> tuple[str, str]:
    """Two intensities with as many decimal places as it takes to see that they differ, and that neither is 0."""
    for places in range(9):
        texts = f"{one:.{places}f}", f"{other:.{places}f}"
        if texts[0] != texts[1] and all(map(float, texts)):
            return texts
    return f"{one:.3g}", f"{other:.3g}"


def _change(expected: float, run_now: float) -> str:
    percent = 100 * (expected / run_now - 1)
    return f"{percent:+.0f} %" if percent <= -1 else "less than 1 % lower"


def _uncovered(forecast: Forecast, now: datetime, deadline: datetime) -> str:
    """What part of now..deadline the plan could not look at, to be added to a reason; nothing where it saw all."""
    stretches = [stretch for stretch in _stretches(forecast.slots) if stretch.end > now and stretch.start < deadline]
    if stretches[-1].end < deadline:
        end, wanted = clock(stretches[-1].end, now), clock(deadline, now)
        return f" (the forecast ends at {end} UTC, before the latest end {wanted})"
    if len(stretches) > 1:
        gap = f"{clock(stretches[0].end, now)} to {clock(stretches[1].start, now)} UTC"
        return f" (the forecast has no figures for {gap})"
    return ""


def _coverage(forecast: Forecast) -> str:
    if not forecast.slots:
        return "holds no slot"
    first, last = forecast.slots[0].start, forecast.slots[-1].end
    gaps = " with gaps" if len(_stretches(forecast.slots)) > 1 else ""
    return f"covers {first.astimezone(UTC):%Y-%m-%d %H:%M} to {last.astimezone(UTC):%Y-%m-%d %H:%M} UTC{gaps}"


def clock(moment: datetime, now: datetime) -> str:
    """The time of day in UTC, with its date where that is more than a day away; with seconds within the same minute."""
    at, of = moment.astimezone(UTC), now.astimezone(UTC)
    if at != of and at.replace(second=0, microsecond=0) == of.replace(second=0, microsecond=0):
        return at.strftime("%H:%M:%S")
    return at.strftime("%H:%M" if abs(at - of) < timedelta(days=1) else "%Y-%m-%d %H:%M")
