"""Energy-Charts of Fraunhofer ISE: European countries by the quarter of an hour, no key (https://api.energy-charts.info)."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from e2s_tasks.core.planning import Forecast
from e2s_tasks.errors import GridError, ZoneError
from e2s_tasks.grid.country import country, written
from e2s_tasks.grid.http import REMEDY, get_json
from e2s_tasks.grid.points import slots, usable

SOURCE = "Energy-Charts"
SIGNAL = "average, life-cycle"  # emission factors of the UNECE's life-cycle assessment of electricity generation
QUARTER = timedelta(minutes=15)
COUNTRIES = {
    "AUT": "at", "BEL": "be", "BGR": "bg", "CHE": "ch", "CZE": "cz", "DEU": "de", "DNK": "dk", "ESP": "es", "EST": "ee",
    "FIN": "fi", "FRA": "fr", "GRC": "gr", "HRV": "hr", "HUN": "hu", "IRL": "ie", "ITA": "it", "LTU": "lt", "LUX": "lu",
    "LVA": "lv", "MNE": "me", "NLD": "nl", "NOR": "no", "POL": "pl", "PRT": "pt", "ROU": "ro", "SRB": "rs", "SVK": "sk",
    "SVN": "si", "SWE": "se",
}  # fmt: skip


def serves(zone: str) -> str | None:
    """The country as Energy-Charts writes it, if it is one of theirs and no part of one."""
    try:
        found = country(zone)
    except (ZoneError, GridError):
        return None
    return None if "-" in zone else COUNTRIES.get(found.code)


class EnergyCharts:
    """Observed intensity and its forecast until the end of tomorrow at most (gCO2eq/kWh)."""

    def __init__(self, base_url: str, timeout_s: float) -> None:
        self._base_url, self._timeout_s = base_url, timeout_s

    def forecast(self, zone: str, start: datetime, end: datetime) -> Forecast:
        """What was observed until now, and is expected from then on."""
        return self._series(zone, start, end, expected=True)

    def actual(self, zone: str, start: datetime, end: datetime) -> Forecast:
        """What was observed."""
        return self._series(zone, start, end, expected=False)

    def _series(self, zone: str, start: datetime, end: datetime, *, expected: bool) -> Forecast:
        begin = start.astimezone(UTC).date()
        until = max(end.astimezone(UTC).date(), begin)
        asked = {"country": serves(zone) or zone.lower(), "start": f"{begin}", "end": f"{until}"}
        path = f"/co2eq?{urlencode(asked)}"
        answer = get_json(self._base_url, path, self._timeout_s)
        times, seen, foreseen = (
            answer.get(name) if isinstance(answer, dict) else None
            for name in ("unix_seconds", "co2eq", "co2eq_forecast")
        )
        if not isinstance(times, list) or not isinstance(seen, list) or len(seen) != len(times):
            raise GridError(
                f"GET {path} answered without two lists of one length, 'unix_seconds' and 'co2eq'. {REMEDY}"
            )
        if not expected or not isinstance(foreseen, list) or len(foreseen) != len(times):
            foreseen = [None] * len(times)
        values = [other if usable(one) is None else one for one, other in zip(seen, foreseen, strict=True)]
        found = slots(zip(times, values, strict=True), QUARTER)
        touching = tuple(one for one in found if one.end > start and one.start < max(end, start + QUARTER))
        if not touching:
            raise GridError(f"GET {path} gave no usable figure for that time: all missing, null or 0. {REMEDY}")
        return Forecast(written(zone), touching, SIGNAL, SOURCE, issued_at=datetime.now(UTC))
