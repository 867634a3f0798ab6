"""WattTime, the marginal emissions of grids around the world in five-minute points, with a login.

https://docs.watttime.org, version 3.
"""

import base64
import threading
from datetime import UTC, datetime, timedelta
from math import ceil
from time import monotonic
from typing import Any
from urllib.parse import quote, urlencode

from e2s_tasks.core.planning import Forecast
from e2s_tasks.errors import GridError
from e2s_tasks.grid.country import written
from e2s_tasks.grid.http import REMEDY, RefusedError, Service
from e2s_tasks.grid.points import slots

SOURCE = "WattTime"
SIGNAL = "marginal, direct"  # co2_moer: the operating emissions of the plants that answer to a change of load
G_PER_KWH = 0.45359237  # of a pound per MWh: 453.59237 g in a pound (exact), 1000 kWh in a MWh
UNIT = "lbs_co2_per_mwh"
FIVE_MINUTES = timedelta(minutes=5)
LONGEST_H = 72
TOKEN_S = 25 * 60.0  # a token lasts 30 minutes

_tokens: dict[tuple[str, str], tuple[float, str]] = {}
_turn = threading.Lock()


class WattTime:
    """Forecast and past marginal intensity (gCO2eq/kWh) of a WattTime region, such as CAISO_NORTH."""

    def __init__(self, base_url: str, user: str, password: str, timeout_s: float) -> None:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._login = Service(base_url, timeout_s, {"Authorization": f"Basic {pair}"}, (password,))

    def forecast(self, zone: str, start: datetime, end: datetime) -> Forecast:
        """What is expected from now on, at most 72 hours."""
        hours = min(LONGEST_H, max(1, ceil((end - datetime.now(UTC)).total_seconds() / 3600)))
        return self._series("/v3/forecast", zone, start, end, {"horizon_hours": str(hours)})

    def actual(self, zone: str, start: datetime, end: datetime) -> Forecast:
        """What was observed."""
        times = {"start": start.astimezone(UTC).isoformat(), "end": end.astimezone(UTC).isoformat()}
        return self._series("/v3/historical", zone, start, end, times)

    def _series(self, call: str, zone: str, start: datetime, end: datetime, asked: dict[str, str]) -> Forecast:
        region = {"region": zone.strip().upper(), "signal_type": "co2_moer"}
        path = f"{call}?{urlencode(region | asked, quote_via=quote)}"
        answer = self._get(path)
        entries, meta = (answer.get("data"), answer.get("meta")) if isinstance(answer, dict) else (None, None)
        if not isinstance(entries, list):
            raise GridError(f"GET {path} answered without a list under 'data'. {REMEDY}")
        unit = meta.get("units", UNIT) if isinstance(meta, dict) else UNIT
        if unit != UNIT:
            raise GridError(f"GET {path} answered in {unit!r}, not {UNIT}. {REMEDY}")
        points = [(one.get("point_time"), _grams(one.get("value"))) for one in entries if isinstance(one, dict)]
        touching = [
            one for one in slots(points, FIVE_MINUTES) if one.end > start and one.start < max(end, start + FIVE_MINUTES)
        ]
        if not touching:
            raise GridError(f"GET {path} gave no usable figure for that time: all missing, null or 0. {REMEDY}")
        return Forecast(written(zone), tuple(touching), SIGNAL, SOURCE, issued_at=datetime.now(UTC))

    def _get(self, path: str) -> Any:
        """An answer, with a new token where the old one is not welcome any more."""
        try:
            return self._with(self._token()).get(path)
        except RefusedError:
            return self._with(self._token(renew=True)).get(path)

    def _with(self, token: str) -> Service:
        login = self._login
        return Service(login.base_url, login.timeout_s, {"Authorization": f"Bearer {token}"}, login.secrets)

    def _token(self, *, renew: bool = False) -> str:
        key = self._login.base_url, self._login.headers["Authorization"]
        with _turn:
            good_until, token = _tokens.get(key, (0.0, ""))
            if renew or monotonic() > good_until:
                answer = self._login.get("/login")
                token = answer.get("token") if isinstance(answer, dict) else None  # type: ignore[assignment]
                if not isinstance(token, str) or not token:
                    raise GridError(
                        f"GET /login answered without a token. Check E2S_WATTTIME_USER and its password. {REMEDY}"
                    )
                _tokens[key] = monotonic() + TOKEN_S, token
            return token


def _grams(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value * G_PER_KWH if is_number else None
