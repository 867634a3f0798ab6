"""Great Britain and its regions: the Carbon Intensity API of the National Energy System Operator (half-hours, no key).

https://carbon-intensity.github.io/api-definitions/
"""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from e2s_tasks.core.planning import Forecast, Slot
from e2s_tasks.errors import GridError
from e2s_tasks.grid.country import same_zone, written
from e2s_tasks.grid.http import REMEDY, get_json
from e2s_tasks.grid.points import usable

# Emissions of generation, imports and grid losses, without fuel supply and construction (the API's methodology paper).
SIGNAL = "average, direct"
SOURCE = "GB Carbon Intensity API"
HALF_HOUR = timedelta(minutes=30)
LONGEST_QUERY = timedelta(days=13)  # the API refuses 14 days and more
REGIONS = 17
POSTCODE = re.compile(r"[A-Z]{1,2}[0-9][A-Z0-9]?")
TIME = "%Y-%m-%dT%H:%MZ"


class CarbonIntensityApi:
    """The forecast and observed intensity of Great Britain, or the forecast of a part of it (gCO2eq/kWh).

    A zone GB-BS7 is the region of an outward postcode, GB-13 a region by its number (1 to 17); of neither anybody tells
    what was observed.
    """

    def __init__(self, base_url: str, timeout_s: float) -> None:
        self._base_url = base_url
        self._timeout_s = timeout_s

    def forecast(self, zone: str, start: datetime, end: datetime) -> Forecast:
        """The forecast for the 48 hours from `start`, as far as it touches start..end."""
        part = _part(zone)
        path = (
            f"/regional/intensity/{_half_hour(start)}/fw48h/{part}" if part else f"/intensity/{_half_hour(start)}/fw48h"
        )
        return self._forecast(zone, start, end, self._slots(path, "forecast"), path)

    def actual(self, zone: str, start: datetime, end: datetime) -> Forecast:
        """What was observed from `start` to `end`; half-hours that have no observation yet are left out."""
        if _part(zone):
            raise GridError(f"{SOURCE} does not tell what the intensity of the region {zone} was: only all of GB's.")
        slots: dict[datetime, Slot] = {}
        path, begin = "", start
        while begin < end:
            until = min(begin + LONGEST_QUERY, end)
            path = f"/intensity/{_half_hour(begin)}/{_half_hour(until + HALF_HOUR)}"
            slots |= {slot.start: slot for slot in self._slots(path, "actual")}
            begin = until
        return self._forecast(zone, start, end, [slots[key] for key in sorted(slots)], path)

    def _slots(self, path: str, figure: str) -> list[Slot]:
        answer = get_json(self._base_url, path, self._timeout_s)
        entries = answer.get("data") if isinstance(answer, dict) else None
        if path.startswith("/regional") and isinstance(entries, dict):
            entries = entries.get("data")
        if not isinstance(entries, list):
            raise GridError(f"GET {path} answered without a list under 'data'. Check E2S_GB_API_URL.")
        slots = {slot.start: slot for entry in entries if (slot := _slot(entry, figure))}
        ordered = [slots[start] for start in sorted(slots)]
        cut = [replace(one, end=min(one.end, other.start)) for one, other in pairwise(ordered)]  # the later one counts
        return cut + ordered[-1:]

    def _forecast(self, zone: str, start: datetime, end: datetime, slots: list[Slot], path: str) -> Forecast:
        touching = tuple(slot for slot in slots if slot.end > start and slot.start < max(end, start + HALF_HOUR))
        if not touching:
            raise GridError(f"GET {path} gave no usable figure for that time: all missing, null or 0. {REMEDY}")
        return Forecast(written(zone), touching, SIGNAL, SOURCE, issued_at=datetime.now(UTC))


def _part(zone: str) -> str | None:
    """The end of the path of a region: its number, or an outward postcode in it; None for all of GB.

    Raises:
        GridError: it is neither.
    """
    if same_zone(zone, "GB"):
        return None
    name = zone.strip().upper().partition("-")[2]
    if name.isdigit() and 1 <= int(name) <= REGIONS:
        return f"regionid/{int(name)}"
    if POSTCODE.fullmatch(name):
        return f"postcode/{name}"
    raise GridError(
        f"{zone} is no part of GB: write an outward postcode such as GB-BS7, or the number of a region, GB-1 to"
        f" GB-{REGIONS}."
    )


def _slot(entry: Any, figure: str) -> Slot | None:
    """One half-hour of an answer; None where its figure is null, 0 or no number, or its times are not two times."""
    try:
        start, end = _time(entry["from"]), _time(entry["to"])
        intensity = usable(entry["intensity"][figure])
    except (KeyError, TypeError, ValueError):
        return None
    return Slot(start, end, intensity) if intensity is not None and end > start else None


def _time(text: str) -> datetime:
    return datetime.strptime(text, TIME).replace(tzinfo=UTC)


def _half_hour(at: datetime) -> str:
    """The start of the half-hour that `at` lies in, as the API writes times."""
    at = at.astimezone(UTC)
    return at.replace(minute=at.minute - at.minute % 30).strftime(TIME)
