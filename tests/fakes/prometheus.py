"""A Prometheus server on localhost: it answers /api/v1/query for the series that it was given, faults included."""

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Value = float | str | Callable[[], float | str]


class PrometheusServer:
    """Series by exposition text (`name{label="value"}`); a fault (status, content type, body) is given instead."""

    def __init__(self, series: Mapping[str, Value] | None = None) -> None:
        self.series: dict[str, Value] = dict(series or {})
        self.fault: tuple[int, str, str] | None = None
        self.stall_s = 0.0
        self.token: str | None = None
        self.asked: list[tuple[str, dict[str, str], int]] = []
        self._stop = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, query: str) -> dict[str, Any]:
        """What Prometheus answers to `name{a="b"}`, `sum(...)`, `rate`-less, with an optional `* number`."""
        found = re.fullmatch(r"\s*(sum\()?\s*([\w:]+)\s*(\{[^}]*\})?\s*(\[\w+\])?\)?\s*(?:\*\s*([\d.]+))?\s*", query)
        if found is None:
            return {"status": "error", "errorType": "bad_data", "error": "parse error: unexpected character"}
        total, name, labels, span, factor = found.groups()
        wanted = _labels(labels or "")
        matching = []
        for text, value in self.series.items():
            known, own = text.partition("{")[0], _labels(text)
            if known == name and all(own.get(label) == fits for label, fits in wanted.items()):
                shown = value() if callable(value) else value
                if factor:
                    shown = float(shown) * float(factor)
                matching.append(({"__name__": name, **own}, shown))
        if total and matching:
            matching = [({}, sum(float(value) for _, value in matching))]
        now = time.time()
        key, kind = ("values", "matrix") if span else ("value", "vector")
        samples = [
            {"metric": metric, key: [[now, str(value)]] if span else [now, str(value)]} for metric, value in matching
        ]
        return {"status": "success", "data": {"resultType": kind, "result": samples}}

    def _handler(self) -> Callable[..., BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = parse_qs(parts.query).get("query", [""])[0]
                fake.asked.append((query, dict(self.headers.items()), threading.get_ident()))
                if fake.stall_s and fake._stop.wait(fake.stall_s):
                    return
                status, kind, body = 200, "application/json", ""
                if fake.fault is not None:
                    status, kind, body = fake.fault
                elif fake.token and self.headers.get("Authorization") != f"Bearer {fake.token}":
                    status, kind, body = 401, "text/plain", "Unauthorized"
                elif parts.path != "/api/v1/query":
                    status, kind, body = 404, "text/html", "<html>404 page not found</html>"
                else:
                    answer = fake.answer(query)
                    status, body = (200 if answer["status"] == "success" else 400), json.dumps(answer)
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(body.encode())))
                    self.end_headers()
                    self.wfile.write(body.encode())
                except OSError:
                    pass  # the client has hung up

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _labels(text: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', text))
