"""JSON from a web service within a time limit that also holds for name resolution and for answers that drip in."""

import json
import os
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from math import isfinite
from time import monotonic, sleep, time
from typing import Any

from e2s_tasks.errors import GridError
from e2s_tasks.settings import without_login

TRIES = 3
BACK_OFF_S = 0.2
LARGEST_ANSWER = 4 << 20  # bytes; a year of half-hours is about 2 MB
REMEDY = "Try again later; until then the country average is used."
HIDDEN = "(a secret)"


class RefusedError(GridError):
    """The service does not know who asks, or does not let them: 401 or 403."""


class _PassingError(GridError):
    """A failure that may have passed when the request is tried again."""


@dataclass(frozen=True, slots=True)
class Service:
    """A web service: its address, the time limit of one try in seconds, and what each request carries.

    headers may hold secrets: they go to this address only (no redirect is followed), and into no message; nor do other
    secrets.
    """

    base_url: str
    timeout_s: float
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def get(self, path: str) -> Any:
        """What the service answers to GET base_url/path.

        One try takes at most `timeout_s`, all of them (after a time-out, a 5xx or a 429 answer) at most twice that.

        Raises:
            GridError: no usable answer; the message names the path, what was wrong and the remedy.
        """
        try:
            return self._tried(path)
        except GridError as error:
            raise type(error)(self._without_secrets(str(error)), error.after_s) from None

    def _tried(self, path: str) -> Any:
        import httpx  # noqa: F401  before the clock starts: a slow import is not a slow network
        from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt

        give_up = monotonic() + 2 * self.timeout_s

        def pause_s(state: Any) -> float:
            asked = getattr(state.outcome.exception(), "after_s", None)
            return float(asked if asked is not None else BACK_OFF_S * 2 ** (state.attempt_number - 1))

        def hopeless(state: Any) -> bool:
            pause = pause_s(state)
            return stop_after_attempt(TRIES)(state) or give_up - monotonic() < max(2 * pause, 0.0)

        attempts = Retrying(stop=hopeless, wait=pause_s, retry=retry_if_exception_type(_PassingError), sleep=sleep)
        try:
            return attempts(lambda: self._once(path, min(self.timeout_s, give_up - monotonic())))
        except RetryError as error:
            last, tried = error.last_attempt.exception(), error.last_attempt.attempt_number
            tries = f" (tried {tried} times)" if tried > 1 else ""
            raise GridError(f"GET {path} {last}{tries}. {REMEDY}", getattr(last, "after_s", None)) from None
        except GridError as error:
            raise type(error)(f"GET {path} {error}", error.after_s) from None

    def _once(self, path: str, seconds: float) -> Any:
        return _within(seconds, lambda left: _fetch(self, path, left))

    def _without_secrets(self, text: str) -> str:
        text = text.replace(self.base_url, without_login(self.base_url))
        for secret in (*self.headers.values(), *self.secrets):
            for part in (secret, secret.rpartition(" ")[2]):
                for written in (part, repr(part)[1:-1]):
                    text = text.replace(written, HIDDEN) if written else text
        return text

    def excerpt(self, body: bytes) -> str:
        """The start of an answer, on one line, without secrets."""
        return repr(" ".join(self._without_secrets(body[:5000].decode("utf-8", "replace")).split())[:80])


def get_json(base_url: str, path: str, timeout_s: float) -> Any:
    """What a service that knows no secret answers; see `Service.get`.

    Raises:
        GridError: no usable answer.
    """
    return Service(base_url, timeout_s).get(path)


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
        answer = answers.get(timeout=max(seconds, 0.0))
    except queue.Empty:
        raise _PassingError(f"timed out after {seconds:.1f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


_clients: dict[str, Any] = {}  # by address, so that requests that follow each other share a connection
os.register_at_fork(after_in_child=_clients.clear)


def _client(base_url: str) -> Any:
    import httpx

    if base_url not in _clients:
        _clients.setdefault(base_url, httpx.Client())
    return _clients[base_url]


def _fetch(service: Service, path: str, seconds: float) -> Any:
    """One request."""
    import httpx

    give_up, base_url = monotonic() + seconds, service.base_url
    headers = {"Accept": "application/json", **service.headers}
    try:
        address = base_url.rstrip("/") + path
        with _client(base_url).stream("GET", address, headers=headers, timeout=seconds) as response:
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if monotonic() > give_up:
                    raise _PassingError(f"timed out after {seconds:.1f} s")
                if len(body) > LARGEST_ANSWER:
                    raise GridError(f"answered more than {LARGEST_ANSWER >> 20} MiB. Check the base URL {base_url}.")
            return _parse(response.status_code, response.headers, body, service)
    except httpx.TimeoutException:
        raise _PassingError(f"timed out after {seconds:.1f} s") from None
    except httpx.RemoteProtocolError as error:
        raise _PassingError(f"got a broken answer ({error})") from None
    except httpx.TransportError as error:
        raise GridError(f"found no service at {base_url} ({error}). {REMEDY}") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise GridError(f"failed at {base_url} ({error}). Check the base URL.") from None


def _parse(status: int, headers: Mapping[str, str], body: bytes, service: Service) -> Any:
    base_url = service.base_url
    after_s = _seconds(headers.get("retry-after", "")) if status in (429, 503) else None
    if status >= 500 or (status == 429 and after_s is not None):
        raise _PassingError(f"answered {status}{' (too many requests)' if status == 429 else ''}", after_s)
    if status == 429:
        raise GridError(f"answered 429 (too many requests). {REMEDY}")
    if status in (401, 403):
        raise RefusedError(
            f"answered {status}: {service.excerpt(body)}. Check the base URL {base_url}, and the key if it has one."
        )
    if status != 200:
        raise GridError(f"answered {status}: {service.excerpt(body)}. Check the base URL {base_url}.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        content_type = headers.get("content-type", "") or "a body"
        raise GridError(
            f"answered {content_type} that is not JSON: {service.excerpt(body)}. Check the base URL {base_url}."
        ) from None


def _seconds(retry_after: str) -> float | None:
    """What a Retry-After header asks for, in seconds or by a date; None for nonsense: the usual pause will do."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if isfinite(seconds) else None
