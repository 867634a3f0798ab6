"""Electricity Maps, over 200 zones by the hour, with a key (https://docs.electricitymaps.com, version 3)."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from e2s_tasks.core.planning import Forecast
from e2s_tasks.errors import GridError
from e2s_tasks.grid import NoForecastError
from e2s_tasks.grid.country import written
from e2s_tasks.grid.http import REMEDY, RefusedError, Service
from e2s_tasks.grid.points import slots

SOURCE = "Electricity Maps"
SIGNAL = "average, life-cycle"  # emissionFactorType=lifecycle is asked for
HOUR = timedelta(hours=1)
FIELDS = {"forecast": "forecast", "history": "history", "past-range": "data"}
HISTORY = timedelta(hours=24)  # what /history covers; more takes /past-range, which free keys do not have


class ElectricityMaps:
    """Forecasts, where the key has them, and history, the last hours of which may be estimates (gCO2eq/kWh)."""

    def __init__(self, base_url: str, key: str, timeout_s: float) -> None:
        self._service = Service(base_url, timeout_s, {"auth-token": key})

    def forecast(self, zone: str, start: datetime, end: datetime) -> Forecast:
        """What is expected from now on.

        Raises:
            NoForecastError: the key has none, as free ones.
            GridError: no usable figure.
        """
        try:
            return self._series("forecast", zone, start, end)
        except RefusedError as error:
            raise NoForecastError(f"{SOURCE} gives this key no forecast ({error})") from None

    def actual(self, zone: str, start: datetime, end: datetime) -> Forecast:
        """What was observed or estimated; without a key for more, of the last 24 hours.

        Raises:
            GridError: no usable figure.
        """
        if datetime.now(UTC) - start > HISTORY:
            try:
                return self._series(
                    "past-range", zone, start, end, start=_time(start), end=_time(max(end, start + HOUR))
                )
            except RefusedError:
                pass
        return self._series("history", zone, start, end)

    def _series(self, call: str, zone: str, begin: datetime, until: datetime, **times: str) -> Forecast:
        field = FIELDS[call]
        asked = {"zone": zone.strip().upper(), "emissionFactorType": "lifecycle", **times}
        path = f"/carbon-intensity/{call}?{urlencode(asked, quote_via=quote)}"
        answer = self._service.get(path)
        entries = answer.get(field) if isinstance(answer, dict) else None
        if not isinstance(entries, list):
            raise GridError(f"GET {path} answered without a list under {field!r}. {REMEDY}")
        points = [(one.get("datetime"), one.get("carbonIntensity")) for one in entries if isinstance(one, dict)]
        touching = tuple(one for one in slots(points, HOUR) if one.end > begin and one.start < max(until, begin + HOUR))
        if not touching:
            raise GridError(f"GET {path} gave no usable figure for that time: all missing, null or 0. {REMEDY}")
        return Forecast(written(zone), touching, SIGNAL, _source(entries), issued_at=datetime.now(UTC))


def _source(entries: list[Any]) -> str:
    estimated = sum(one.get("isEstimated") is True for one in entries if isinstance(one, dict))
    return f"{SOURCE} ({estimated} of {len(entries)} hours estimated)" if estimated else SOURCE


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
