"""One number from a Prometheus server, by its HTTP API (/api/v1/query), as any of its look-alikes answers it."""

import math
from typing import Any

TIMEOUT_S = 3.0


class QueryError(Exception):
    """The server gave no single finite number; the message says why, and what to do."""


def query(url: str, expression: str, token: str = "") -> float:
    """The value of an instant query that yields one series.

    Raises:
        QueryError: no answer, no JSON, an error, no series, several, or no finite number.
    """
    import httpx

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = f"{url.rstrip('/')}/api/v1/query"
    try:
        answer = httpx.get(address, params={"query": expression}, headers=headers, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise QueryError(f"{address} cannot be reached ({error}): check the url") from None
    if answer.status_code in (401, 403):
        raise QueryError(f"{address} answered {answer.status_code}: set token_env to a variable with a bearer token")
    try:
        found = answer.json()
    except ValueError:
        raise QueryError(f"{address} answered {answer.status_code} without JSON: check the url") from None
    if not isinstance(found, dict) or found.get("status") != "success":
        reason = found.get("error") if isinstance(found, dict) else None
        raise QueryError(f"{address} answered {answer.status_code}: {reason or 'no result'}: check the query")
    return _number(found.get("data"), expression)


def _number(data: Any, expression: str) -> float:
    try:
        result = data["result"]
        if data["resultType"] == "scalar":
            value = float(result[1])
        elif len(result) == 1:
            value = float(result[0]["value"][1])
        else:
            remedy = "wrap it in sum(...), or name the host" if result else "check its name and labels"
            raise QueryError(f"the query {expression!r} yields {len(result)} series: {remedy}")
    except (KeyError, IndexError, TypeError, ValueError):
        raise QueryError(f"the query {expression!r} yields no instant vector: leave out any range") from None
    if not math.isfinite(value):
        raise QueryError(f"the query {expression!r} yields {value}: check the exporter")
    return value
