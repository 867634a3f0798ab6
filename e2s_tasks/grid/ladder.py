"""The best source of carbon intensity at hand, rung by rung.

A trace; a service's forecast; its last one, while it is not too old; a profile of what the zone was; the country's
average, the world's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from e2s_tasks.core.planning import Forecast, mean_intensity
from e2s_tasks.core.profile import DAYS, from_history
from e2s_tasks.errors import GridError, ZoneError
from e2s_tasks.grid import NoForecastError, NoKeyError
from e2s_tasks.grid.country import average, written
from e2s_tasks.grid.services import Named, service_for
from e2s_tasks.grid.shelf import KEEP_S, Shelf
from e2s_tasks.grid.trace import read_trace

if TYPE_CHECKING:
    from e2s_tasks.settings import Settings

HELD_S = 1.0
REACH = timedelta(hours=48)  # at least so much is asked for, so that the next one need not ask again


class Rung(StrEnum):
    """Where an outlook comes from, the best first."""

    TRACE = "trace"
    SERVICE = "service"
    CACHED = "cached"
    PROFILE = "profile"
    AVERAGE = "average"
    NOTHING = "nothing"


Step = tuple[Rung, Callable[[], Forecast]]


@dataclass(frozen=True, slots=True)
class Outlook:
    """The forecast that could be had (without a slot: none at all), its rung, and why each higher rung failed."""

    forecast: Forecast
    rung: Rung
    failures: tuple[str, ...] = ()

    @property
    def knows_timing(self) -> bool:
        """Whether it tells one hour from another; an average does not."""
        return self.rung not in {Rung.AVERAGE, Rung.NOTHING}


def forecast_for(
    zone: str | None, start: datetime, end: datetime, settings: "Settings", needed: timedelta = timedelta(0)
) -> Outlook:
    """The best outlook for `zone` from `start` to `end`; for None, the trace's only zone or the world's average.

    A trace that is set replaces every service. A dead service, one whose key is not there, or one that does not tell
    all of the first `needed` from `start` on, leads down the rungs, as does a trace of another time.

    Raises:
        ZoneError: nobody knows the zone.
        TraceError: the trace is broken.
    """
    try:
        if settings.trace is not None:
            return Outlook(read_trace(settings.trace).forecast(zone, start, end), Rung.TRACE)
        service = service_for(zone, settings) if zone is not None else None
    except NoKeyError as error:
        kept = _kept(_shelf(error.service, zone or "", settings), start, end)
        return _first_of(kept, start, needed, [str(error)]) or average_for(zone, start, end, (str(error),))
    except GridError as error:
        return average_for(zone, start, end, (str(error),))
    if service is None or zone is None:
        return average_for(zone, start, end)
    return _from_service(service, zone, start, end, settings, needed=needed)


def _shelf(service: str, zone: str, settings: "Settings") -> Shelf:
    patience_s = 2 * settings.grid_timeout_s + HELD_S  # longer than the process that asks can take
    return Shelf(settings.data_dir / "grid", service, zone, patience_s, settings.forecast_age_s)


def _from_service(
    service: Named, zone: str, start: datetime, end: datetime, settings: "Settings", *, needed: timedelta
) -> Outlook:
    shelf = _shelf(service.name, zone, settings)
    begin = min(start, datetime.now(UTC))
    last = end + timedelta(seconds=KEEP_S)  # of one that asks as far ahead as long as this answer is kept
    until = begin + REACH * max(1, -(-(last - begin) // REACH))  # the same for many that ask for a little more

    def asked() -> Forecast:
        try:
            return shelf.fresh(begin, end, until, lambda: service.provider.forecast(zone, begin, until))
        except NoForecastError:
            _look_back(service, zone, start, shelf)
            raise

    failures: list[str] = []
    found = _first_of([(Rung.SERVICE, asked), *_kept(shelf, start, end)], start, needed, failures)
    return found or _average_in(zone, start, end, tuple(failures))


def _kept(shelf: Shelf, start: datetime, end: datetime) -> list[Step]:
    return [
        (Rung.CACHED, lambda: shelf.last(start)),
        (Rung.PROFILE, lambda: from_history(shelf.history(), start, end)),
    ]


def _first_of(rungs: list[Step], start: datetime, needed: timedelta, failures: list[str]) -> Outlook | None:
    """What the first rung finds that finds anything; why each before it failed is added to the failures."""
    for rung, find in rungs:
        try:
            return Outlook(_reaching(find(), start, needed), rung, tuple(failures))
        except GridError as error:
            failures.append(str(error))
    return None


def _reaching(found: Forecast, start: datetime, needed: timedelta) -> Forecast:
    """The forecast, if it tells what is needed from `start` on.

    Raises:
        GridError: it does not.
    """
    if found.at(start) is None:
        raise GridError(f"{found.source} has no figure for {start:%Y-%m-%d %H:%M} UTC")
    if needed:
        mean_intensity(found, start, needed)
    return found


def _look_back(service: Named, zone: str, start: datetime, shelf: Shelf) -> None:
    """Ask a service that makes no forecast what the intensity was, if it tells."""
    try:
        shelf.remember(service.provider.actual(zone, start - timedelta(days=DAYS), start))
    except GridError:
        return


def actual_for(zone: str, start: datetime, end: datetime, settings: "Settings") -> Forecast:
    """What was observed in `zone` from `start` to `end`, by whom `forecast_for` asks first; slots may be missing.

    Raises:
        GridError: nobody tells.
        TraceError: the trace is broken.
    """
    if settings.trace is not None:
        return read_trace(settings.trace).actual(zone, start, end)
    service = service_for(zone, settings)
    if service is None:
        raise GridError(f"Nobody tells what the grid of {zone} was: set E2S_TRACE to a trace of that time.")
    return service.provider.actual(zone, start, end)


def average_for(zone: str | None, start: datetime, end: datetime, failures: tuple[str, ...] = ()) -> Outlook:
    """The lowest rung: the yearly average of the country, or of the world.

    Raises:
        ZoneError: nobody knows the zone.
    """
    try:
        return Outlook(average(zone, start, max(end, start + timedelta(minutes=1))), Rung.AVERAGE, failures)
    except GridError as error:
        return nothing_for(zone, (*failures, str(error)))
    except ZoneError as error:
        if failures:
            raise ZoneError(f"{error} ({failures[-1]})") from None
        raise


def _average_in(zone: str, start: datetime, end: datetime, failures: tuple[str, ...]) -> Outlook:
    """The average of a zone that a service may know by a name of its own, so that it need not be a country's."""
    try:
        return average_for(zone, start, end, failures)
    except ZoneError:
        return nothing_for(zone, failures)


def nothing_for(zone: str | None, failures: tuple[str, ...]) -> Outlook:
    """Below the lowest rung: nobody knows an intensity."""
    named = "world" if zone is None else written(zone)
    return Outlook(Forecast(named, (), "missing", "none"), Rung.NOTHING, failures)
