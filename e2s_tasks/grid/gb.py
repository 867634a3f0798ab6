"""Great Britain: the Carbon Intensity API of the National Energy System Operator (half-hours, no key).

https://carbon-intensity.github.io/api-definitions/
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from e2s_tasks.core.planning import Forecast, Slot
from e2s_tasks.errors import GridError
from e2s_tasks.grid.country import written
from e2s_tasks.grid.http import REMEDY, get_json, recent_json

# Emissions of generation, imports and grid losses, without fuel supply and construction (the API's methodology paper).
SIGNAL = "average, direct"
SOURCE = "GB Carbon Intensity API"
HALF_HOUR = timedelta(minutes=30)
LONGEST_QUERY = timedelta(days=13)  # the API refuses 14 days and more
TIME = "%Y-%m-%dT%H:%MZ"


class CarbonIntensityApi:
    """The national forecast and observed intensity of Great Britain (gCO2eq/kWh)."""

    def __init__(self, base_url: str, timeout_s: float) -> None:
        self._base_url = base_url
        self._timeout_s = timeout_s

    def forecast(self, zone: str, start: datetime, end: datetime) -> Forecast:
        """The forecast for the 48 hours from `start`, at most 5 minutes old, as far as it touches start..end."""
        path = f"/intensity/{_half_hour(start)}/fw48h"
        return self._forecast(zone, start, end, self._slots(path, "forecast", recent_json), path)

    def actual(self, zone: str, start: datetime, end: datetime) -> Forecast:
        """What was observed from `start` to `end`; half-hours that have no observation yet are left out."""
        slots: dict[datetime, Slot] = {}
        path, begin = "", start
        while begin < end:
            until = min(begin + LONGEST_QUERY, end)
            path = f"/intensity/{_half_hour(begin)}/{_half_hour(until + HALF_HOUR)}"
            slots |= {slot.start: slot for slot in self._slots(path, "actual")}
            begin = until
        return self._forecast(zone, start, end, [slots[key] for key in sorted(slots)], path)

    def _slots(self, path: str, figure: str, ask: Callable[[str, str, float], Any] = get_json) -> list[Slot]:
        answer = ask(self._base_url, path, self._timeout_s)
        entries = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(entries, list):
            raise GridError(f"GET {path} answered without a list under 'data'. Check the base URL {self._base_url}.")
        slots = {slot.start: slot for entry in entries if (slot := _slot(entry, figure))}
        return [slots[start] for start in sorted(slots)]

    def _forecast(self, zone: str, start: datetime, end: datetime, slots: list[Slot], path: str) -> Forecast:
        touching = tuple(slot for slot in slots if slot.end > start and slot.start < max(end, start + HALF_HOUR))
        if not touching:
            raise GridError(f"GET {path} gave no usable figure for that time: all missing, null or 0. {REMEDY}")
        return Forecast(written(zone), touching, SIGNAL, SOURCE, issued_at=datetime.now(UTC))


def _slot(entry: Any, figure: str) -> Slot | None:
    """One half-hour of an answer; None where its figure is null, 0 or no number, or its times are not two times."""
    try:
        start, end = _time(entry["from"]), _time(entry["to"])
        intensity = entry["intensity"][figure]
        usable = not isinstance(intensity, bool) and math.isfinite(intensity) and intensity > 0
    except (KeyError, TypeError, ValueError):
        return None
    return Slot(start, end, float(intensity)) if usable and end > start else None


def _time(text: str) -> datetime:
    return datetime.strptime(text, TIME).replace(tzinfo=UTC)


def _half_hour(at: datetime) -> str:
    """The start of the half-hour that `at` lies in, as the API writes times."""
    at = at.astimezone(UTC)
    return at.replace(minute=at.minute - at.minute % 30).strftime(TIME)
