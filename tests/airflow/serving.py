"""Local servers in place of a carbon-intensity service and of one for metrics."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from socketserver import DatagramRequestHandler, UDPServer
from threading import Thread
from typing import Any


@contextmanager
def serving(answer: Any) -> Iterator[str]:
    """The address of a server whose answers are what `answer` gives, as JSON, for a request."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answer(self)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


class StatsD:
    """A StatsD server, and what it was sent: by name and tags, each value a list."""

    def __init__(self, port: int) -> None:
        self.received: dict[str, list[str]] = {}
        told = {"ON": "true", "HOST": "127.0.0.1", "PORT": str(port), "INFLUXDB_ENABLED": "true"}  # tags in the name
        known = find_spec("statsd") is not None
        self.switches = {f"AIRFLOW__METRICS__STATSD_{name}": value for name, value in told.items() if known}

    def take(self, sent: bytes) -> None:
        """Keep what was sent in one piece."""
        for line in sent.decode().splitlines():
            name, _, value = line.partition(":")
            self.received.setdefault(name, []).append(value)


@contextmanager
def receiving() -> Iterator[StatsD]:
    """A StatsD server that listens."""

    class Listens(DatagramRequestHandler):
        def handle(self) -> None:
            statsd.take(self.rfile.read())

    with UDPServer(("127.0.0.1", 0), Listens) as server:
        statsd = StatsD(server.server_address[1])
        Thread(target=server.serve_forever, daemon=True).start()
        yield statsd
        server.shutdown()
