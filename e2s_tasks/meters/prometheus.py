"""The value of a Prometheus query, by /api/v1/query; each fault is named with its remedy."""

import json
import math
import os
import time
from typing import Any

from e2s_tasks.errors import E2SError
from e2s_tasks.meters.external import ExternalMeter


class MeterError(E2SError):
    """An external meter that gave no usable answer; the message says why and, after the last colon, what to do."""

    @property
    def fix(self) -> str:
        """What to do."""
        return str(self).rpartition(": ")[2]


def client(meter: ExternalMeter) -> Any:
    """An HTTP client for a meter's server: its time limit, headers and bearer token."""
    import httpx

    headers = dict(meter.headers)
    token = os.environ.get(meter.token_env, "") if meter.token_env else ""
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return httpx.Client(timeout=meter.timeout_s, headers=headers)


def ask(http: Any, meter: ExternalMeter) -> float:
    """The value of the meter's query now, in joules (counter) or watts (gauge).

    Raises:
        MeterError: there is no usable value.
    """
    import httpx

    began, text = time.monotonic(), b""
    try:
        with http.stream("GET", f"{meter.url.rstrip('/')}/api/v1/query", params={"query": meter.query}) as answer:
            for part in answer.iter_bytes():
                text += part
                if time.monotonic() - began > meter.timeout_s:  # httpx counts from one part to the next
                    raise httpx.ReadTimeout("the answer came too slowly")
    except httpx.TimeoutException:
        raise MeterError(
            f"{meter.place} did not answer within {meter.timeout_s:g} s: see whether it is up, or raise timeout_s"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise MeterError(f"{meter.place} cannot be reached ({error}): correct url, or start the server") from None
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if answer.status_code in {401, 403}:
        raise MeterError(
            f"{meter.place} refused the request (HTTP {answer.status_code}): set token_env to the name of an "
            "environment variable that holds a bearer token, or give headers"
        )
    said = str(body.get("error", "") if isinstance(body, dict) else "")[:200]
    if answer.status_code >= 500:
        raise MeterError(
            f"{meter.place} is down or overloaded (HTTP {answer.status_code}{said and f', {said}'}): "
            "see whether the server, or the proxy before it, works"
        )
    if not isinstance(body, dict) or "status" not in body:
        raise MeterError(
            f"{meter.place} answered HTTP {answer.status_code} but not as a Prometheus server does: url is the "
            "server's own address (often port 9090), not an exporter's /metrics page or a dashboard"
        )
    if answer.status_code != 200 or body["status"] != "success":
        why = said or f"HTTP {answer.status_code}"
        raise MeterError(f"{meter.place} refused the query {meter.query}: {why}: try the query in its web page")
    return _value(body.get("data"), meter) * meter.factor


def _value(data: Any, meter: ExternalMeter) -> float:
    """The one value of an answer."""
    try:
        kind, result = data["resultType"], data["result"]
        if kind == "scalar":
            text = result[1]
        elif kind != "vector":
            raise MeterError(f"{meter.query} gives a {kind}, not one value now: leave out the [...] after the metric")
        elif not result:
            raise MeterError(
                f"{meter.query} finds no series: see whether its exporter is scraped, and correct the name and labels"
            )
        elif len(result) > 1:
            raise MeterError(
                f"{meter.query} finds {len(result)} series: choose this host's by a label (instance=...), and add up "
                "several of one host with sum(...)"
            )
        else:
            text = result[0]["value"][1]
        value = float(text)
    except (KeyError, IndexError, TypeError, ValueError):
        raise MeterError(
            f"{meter.place} gave an answer of an unknown form for {meter.query}: try the query in its web page"
        ) from None
    if not math.isfinite(value) or value < 0:
        raise MeterError(f"{meter.query} is {text} now, which is no energy or power: see what its exporter shows")
    return value
