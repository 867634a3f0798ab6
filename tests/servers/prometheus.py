"""A Prometheus server of the tests' own: the system's program, with a configuration and data directory of its own."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

READY_S = 30.0


def missing() -> str | None:
    """Why there is no server to be had; None if there is one."""
    gone = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    return f"no {gone[0]} was found (apt-get install prometheus)" if gone else None


def required() -> bool:
    """Whether a test has to fail without it."""
    return os.environ.get("TEST_SERVERS") == "required" and os.environ.get("TEST_PROMETHEUS") != "absent"


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What promtool says of files, or of tests of rules."""
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)


class Prometheus:
    """A server on 127.0.0.1 with a configuration (YAML text) of its own; scrapes as often as that says."""

    def __init__(self, configuration: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="e2s-prometheus-", dir="/tmp"))
        (self._folder / "prometheus.yml").write_text(configuration)
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = int(one.getsockname()[1])
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> "Prometheus":
        """Start it, and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        give_up = time.monotonic() + READY_S
        while time.monotonic() < give_up and self._server.poll() is None:
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=2).close()
                return self
            time.sleep(0.05)
        raise RuntimeError(f"Prometheus does not start: {(self._folder / 'log').read_text()[-2000:]}")

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its HTTP API."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {json.load(error)['error']}") from None

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The labels and values of an instant query's series; NaN is no figure."""
        found = self.ask("query", query=expression)["result"]
        series = [(one["metric"], float(one["value"][1])) for one in found]
        return [(labels, value) for labels, value in series if value == value]

    def value(self, expression: str) -> float | None:
        """The only value of a query; None where it has none."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return found[0][1] if found else None

    def wait_for(self, expression: str, seconds: float = 20.0) -> None:
        """Wait until a query has a series."""
        give_up = time.monotonic() + seconds
        while not self.query(expression):
            assert time.monotonic() < give_up, f"{expression} has no data after {seconds} s"
            time.sleep(0.1)

    def remove(self) -> None:
        """End it and delete what it kept."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
