"""A Prometheus server that answers instant queries as told."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse


class FakePrometheus:
    """`series` maps a query to its values; `fault` (status, body) is answered instead; `tokens` are let in, if any."""

    def __init__(self) -> None:
        self.series: dict[str, list[float | str]] = {}
        self.fault: tuple[int, bytes] | None = None
        self.token = ""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = fake.answer(self.path, self.headers.get("Authorization", ""))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str, authorization: str) -> tuple[int, bytes]:
        if self.fault is not None:
            return self.fault
        if self.token and authorization != f"Bearer {self.token}":
            return 401, b"no"
        asked = urlparse(path)
        if asked.path != "/api/v1/query":
            return 404, b"<html>"
        values = self.series.get(parse_qs(asked.query)["query"][0], [])
        result = [{"metric": {"n": str(n)}, "value": [1.0, str(value)]} for n, value in enumerate(values)]
        return 200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
