"""Starts of runs that share a place of which only so many may run at once, each with its own grid and slack."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from e2s_tasks.core.capacity import Runs, plan_together
from e2s_tasks.core.planning import Forecast, mean_intensity
from e2s_tasks.errors import GridError

STEP = timedelta(minutes=5)  # two runs of which one follows the other share at most so much
DIRTIER = 10  # times the dirtiest known slot: how a slot that nobody knows is weighed


@dataclass(frozen=True, slots=True)
class Busy:
    """A time for which a run has its place, whatever is planned."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Movable:
    """A run that may start anywhere from `earliest` to `latest`; power weighs its emissions, in any unit."""

    forecast: Forecast
    earliest: datetime
    latest: datetime
    length: timedelta
    power: float = 1.0

    def at(self, start: datetime) -> Busy:
        return Busy(start, start + self.length)

    def cost(self, start: datetime) -> float:
        """Its mean intensity from `start` on, times its length and power; infinite where the forecast has a gap."""
        try:
            return mean_intensity(self.forecast, start, self.length) * self.power * self.length.total_seconds()
        except GridError:
            return float("inf")


def above(cap: int, times: Iterable[Busy], *, slack: timedelta = STEP) -> timedelta:
    """For how long more than `cap` run at once, times how many more; what two share of at most `slack` is no crowd."""
    changes = []
    for one in times:
        if one.end - one.start > slack:
            changes += [(one.start, 1), (one.end - slack, -1)]
    changes.sort()
    total, running = timedelta(), 0
    for (at, change), (until, _) in pairwise(changes):
        running += change
        total += max(0, running - cap) * (until - at)
    return total


def starts_within(cap: int, runs: Sequence[Movable], busy: Sequence[Busy], now: datetime) -> list[datetime]:
    """A start for each run, so that with what is busy at most `cap` run at once, but where their slack leaves none."""
    if not runs:
        return []
    origin, zones = _origin(runs[0].forecast, now), sorted({run.forecast.zone for run in runs})
    rows = [(*_row(run, origin), zones.index(run.forecast.zone)) for run in runs]
    rows += [row for one in busy if (row := _busy(one, origin))]
    arrivals, lengths, slacks, powers, grids = (np.array(column) for column in zip(*rows, strict=True))
    many = int((arrivals + lengths + slacks).max())
    values = np.array([_values([run for run in runs if run.forecast.zone == zone], origin, many) for zone in zones])
    plan = plan_together(values, Runs(arrivals, lengths, slacks, powers.astype(float)), cap, grids)
    return [max(run.earliest, origin + int(slot) * STEP) for run, slot in zip(runs, plan.starts, strict=False)]


def _origin(forecast: Forecast, now: datetime) -> datetime:
    """The step that `now` lies in, counted so that the forecast's own slots begin with a step."""
    edge = forecast.slots[0].start
    return edge + (now.astimezone(UTC) - edge) // STEP * STEP


def _row(run: Movable, origin: datetime) -> tuple[int, int, int, float]:
    """Slot of the arrival, slots that it runs, and slots that it may wait."""
    arrival = max(0, (run.earliest - origin) // STEP)
    return arrival, -(-run.length // STEP), max(0, (run.latest - origin) // STEP - arrival), run.power


def _busy(one: Busy, origin: datetime) -> tuple[int, int, int, float, int] | None:
    """As `_row` and a grid, of what cannot be moved; None where it is over."""
    start, end = max(0, (one.start - origin) // STEP), (one.end - origin) // STEP
    return (start, end - start, 0, 0.0, 0) if end > start else None


def _values(runs: Sequence[Movable], origin: datetime, many: int) -> NDArray[np.float64]:
    """The intensity (gCO2eq/kWh) of each slot, as far as any of the runs' forecasts knows it."""
    values = np.full(many, np.nan)
    for forecast in {id(run.forecast): run.forecast for run in runs}.values():
        for slot in range(many):
            if np.isnan(values[slot]):
                values[slot] = forecast.at(origin + slot * STEP + STEP / 2) or np.nan
    known = values[~np.isnan(values)]
    found: NDArray[np.float64] = np.nan_to_num(values, nan=DIRTIER * float(known.max(initial=1.0)))
    return found
