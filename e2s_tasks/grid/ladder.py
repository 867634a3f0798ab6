"""The best source of carbon intensity at hand: a trace, a service, the country's average, the world's."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from e2s_tasks.core.planning import Forecast
from e2s_tasks.errors import GridError, ZoneError
from e2s_tasks.grid.country import average, same_zone, written
from e2s_tasks.grid.gb import CarbonIntensityApi
from e2s_tasks.grid.trace import read_trace

if TYPE_CHECKING:
    from e2s_tasks.settings import Settings


class Rung(StrEnum):
    """Where an outlook comes from, the best first."""

    TRACE = "trace"
    SERVICE = "service"
    AVERAGE = "average"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Outlook:
    """The forecast that could be had (without a slot: none at all), its rung, and why each higher rung failed."""

    forecast: Forecast
    rung: Rung
    failures: tuple[str, ...] = ()

    @property
    def knows_timing(self) -> bool:
        """Whether it tells one hour from another; an average does not."""
        return self.rung in {Rung.TRACE, Rung.SERVICE}


def forecast_for(zone: str | None, start: datetime, end: datetime, settings: "Settings") -> Outlook:
    """The best outlook for `zone` from `start` to `end`; for None, the trace's only zone or the world's average.

    A trace that is set replaces every service. A dead service, or a trace of another time, leads one rung down.

    Raises:
        ZoneError: nobody knows the zone.
        TraceError: the trace is broken.
    """
    try:
        if settings.trace is not None:
            return Outlook(read_trace(settings.trace).forecast(zone, start, end), Rung.TRACE)
        if zone is not None and same_zone(zone, "GB"):
            api = CarbonIntensityApi(settings.gb_api_url, settings.grid_timeout_s)
            return Outlook(api.forecast(zone, start, end), Rung.SERVICE)
    except GridError as error:
        return average_for(zone, start, end, (str(error),))
    return average_for(zone, start, end)


def actual_for(zone: str, start: datetime, end: datetime, settings: "Settings") -> Forecast:
    """What was observed in `zone` from `start` to `end`, by whom `forecast_for` asks first; slots may be missing.

    Raises:
        GridError: nobody tells.
        TraceError: the trace is broken.
    """
    if settings.trace is not None:
        return read_trace(settings.trace).actual(zone, start, end)
    if same_zone(zone, "GB"):
        return CarbonIntensityApi(settings.gb_api_url, settings.grid_timeout_s).actual(zone, start, end)
    raise GridError(f"Nobody tells what the grid of {zone} was: set E2S_TRACE to a trace of that time.")


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


def nothing_for(zone: str | None, failures: tuple[str, ...]) -> Outlook:
    """Below the lowest rung: nobody knows an intensity."""
    named = "world" if zone is None else written(zone)
    return Outlook(Forecast(named, (), "missing", "none"), Rung.NOTHING, failures)
