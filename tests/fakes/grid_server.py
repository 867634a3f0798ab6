"""A carbon-intensity service on localhost: it answers as it was told, faults included, and remembers what was asked."""

import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

HALF_HOUR = timedelta(minutes=30)


@dataclass(frozen=True)
class Answer:
    """One answer: `cut` announces more bytes than it sends, `drip_s` sends one byte at a time, `stall_s` comes late."""

    body: str = ""
    status: int = 200
    content_type: str = "application/json; charset=utf-8"
    cut: bool = False
    drip_s: float = 0.0
    stall_s: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()


def half_hours(start: datetime, figures: Iterable[Any], actuals: Iterable[Any] | None = None) -> dict[str, Any]:
    """The GB API's answer for consecutive half-hours from `start`."""
    figures = list(figures)
    pairs = zip(figures, list(actuals) if actuals is not None else [None] * len(figures), strict=True)
    return {
        "data": [
            {
                "from": f"{start + index * HALF_HOUR:%Y-%m-%dT%H:%MZ}",
                "to": f"{start + (index + 1) * HALF_HOUR:%Y-%m-%dT%H:%MZ}",
                "intensity": {"forecast": forecast, "actual": actual, "index": "moderate"},
            }
            for index, (forecast, actual) in enumerate(pairs)
        ]
    }


class GridServer:
    """Serves its `answers` in turn, and the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [Answer(status=404)]
        self.paths: list[str] = []
        self.logins: list[str | None] = []
        self._stop = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def say(self, *answers: Answer | dict[str, Any] | str) -> None:
        """Answer with these in turn: JSON values, bodies, or whole answers."""
        self.answers = [
            item if isinstance(item, Answer) else Answer(item if isinstance(item, str) else json.dumps(item))
            for item in answers
        ]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()

    def _next(self, path: str) -> Answer:
        self.paths.append(path)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def _handler(self) -> Callable[..., BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.logins.append(self.headers.get("Authorization"))
                answer = fake._next(self.path)
                body = answer.body.encode()
                if answer.stall_s and fake._stop.wait(answer.stall_s):
                    return
                try:
                    self.send_response(answer.status)
                    self.send_header("Content-Type", answer.content_type)
                    for name, value in answer.headers:
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body) + (100 if answer.cut else 0)))
                    self.end_headers()
                    for begin in range(0, len(body), 1 if answer.drip_s else max(1, len(body))):
                        self.wfile.write(body[begin : begin + (1 if answer.drip_s else len(body))])
                        self.wfile.flush()
                        if answer.drip_s and fake._stop.wait(answer.drip_s):
                            return
                except OSError:
                    pass  # the client has hung up

            def log_message(self, *_: object) -> None:
                pass

        return Handler
