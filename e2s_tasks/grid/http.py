"""JSON from a web service within a time limit that also holds for name resolution and for answers that drip in."""

import json
import queue
import threading
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from e2s_tasks.errors import GridError

TRIES = 3
BACK_OFF_S = 0.2
LARGEST_ANSWER = 4 << 20  # bytes; a year of half-hours is about 2 MB
KEEP_S = 300.0  # forecasts are made anew every half-hour
KEEP_FAILURE_S = 60.0  # a dead service delays one run a minute, not every run
MOST_KEPT = 32  # answers
REMEDY = "Try again later; until then the country average is used."


class _PassingError(GridError):
    """A failure that may have passed when the request is tried again."""


_recent: dict[tuple[str, str], tuple[float, Any]] = {}


def recent_json(base_url: str, path: str, timeout_s: float) -> Any:
    """What `get_json` gives or raises, remembered in this process: an answer 5 minutes, a failure 1 minute."""
    key = (base_url, path)
    good_until, answer = _recent.get(key, (0.0, None))
    if monotonic() > good_until:
        try:
            answer = get_json(base_url, path, timeout_s)
        except GridError as error:
            answer = error
        if len(_recent) >= MOST_KEPT:
            _recent.clear()
        _recent[key] = (monotonic() + (KEEP_FAILURE_S if isinstance(answer, GridError) else KEEP_S), answer)
    if isinstance(answer, GridError):
        raise GridError(str(answer))
    return answer


def forget() -> None:
    """Ask every service anew from now on."""
    _recent.clear()


def get_json(base_url: str, path: str, timeout_s: float) -> Any:
    """What the service answers to GET base_url/path.

    One try takes at most `timeout_s`, all of them (after a time-out or a 5xx answer) at most twice that.

    Raises:
        GridError: no usable answer; the message names the path, what was wrong and the remedy.
    """
    import httpx  # noqa: F401  before the clock starts: a slow import is not a slow network

    give_up = monotonic() + 2 * timeout_s
    for attempt in range(1, TRIES + 1):
        left = give_up - monotonic()
        try:
            return _within(min(timeout_s, left), lambda seconds: _fetch(base_url, path, seconds))
        except _PassingError as error:
            pause = BACK_OFF_S * 2 ** (attempt - 1)
            if attempt == TRIES or give_up - monotonic() < 2 * pause:
                tries = f" (tried {attempt} times)" if attempt > 1 else ""
                raise GridError(f"GET {path} {error}{tries}. {REMEDY}") from None
        except GridError as error:
            raise GridError(f"GET {path} {error}") from None
        sleep(pause)
    raise AssertionError("unreachable")


def _within(seconds: float, fetch: Callable[[float], Any]) -> Any:
    """What `fetch` returns, waited for at most so long.

    Name resolution knows no time limit, so the call runs on a daemon thread that is left behind when it is late.
    """
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(fetch(seconds))
        except Exception as error:  # noqa: BLE001  whatever it is, it is raised in the caller's thread
            answers.put(error)

    threading.Thread(target=run, name="e2s-grid", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise _PassingError(f"timed out after {seconds:.1f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _fetch(base_url: str, path: str, seconds: float) -> Any:
    """One request."""
    import httpx

    give_up = monotonic() + seconds
    try:
        with (
            httpx.Client(timeout=seconds, headers={"Accept": "application/json"}) as client,
            client.stream("GET", base_url.rstrip("/") + path) as response,
        ):
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if monotonic() > give_up:
                    raise _PassingError(f"timed out after {seconds:.1f} s")
                if len(body) > LARGEST_ANSWER:
                    raise GridError(f"answered more than {LARGEST_ANSWER >> 20} MiB. Check the base URL {base_url}.")
            return _parse(response.status_code, response.headers.get("content-type", ""), body, base_url)
    except httpx.TimeoutException:
        raise _PassingError(f"timed out after {seconds:.1f} s") from None
    except httpx.RemoteProtocolError as error:
        raise _PassingError(f"got a broken answer ({error})") from None
    except httpx.TransportError as error:
        raise GridError(f"found no service at {base_url} ({error}). {REMEDY}") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise GridError(f"failed at {base_url} ({error}). Check the base URL.") from None


def _parse(status: int, content_type: str, body: bytes, base_url: str) -> Any:
    if status >= 500:
        raise _PassingError(f"answered {status}")
    if status == 429:
        raise GridError(f"answered 429 (too many requests). {REMEDY}")
    if status != 200:
        raise GridError(f"answered {status}: {_excerpt(body)}. Check the base URL {base_url}.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise GridError(
            f"answered {content_type or 'a body'} that is not JSON: {_excerpt(body)}. Check the base URL {base_url}."
        ) from None


def _excerpt(body: bytes) -> str:
    """The start of an answer, on one line."""
    return repr(" ".join(body[:200].decode("utf-8", "replace").split())[:80])
