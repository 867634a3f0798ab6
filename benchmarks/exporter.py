"""What `e2s exporter` takes to answer a scrape of a ledger of 1,000,000 spans: the first time, and afterwards.

    .venv/bin/python benchmarks/exporter.py

The first reading goes over all runs, once after each start, while scrapes are answered without them; each later scrape
reads what was written since: nothing, the run of a daily pipeline (40 spans), or 100 of those. Times are from the
request to the end of the answer, over HTTP. The last row is what OpenTelemetry costs the measured thread: a span that
does nothing, with OpenTelemetry told of it and without, in processes in turns.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from common import ROOT, Row, fresh, main
from large_ledger import daily_run, fill

if TYPE_CHECKING:
    from e2s_tasks.ledger import Ledger

SMALL, LARGE = 10_000, 1_000_000
FRESH = count(10**7)  # numbers of runs that are not in the ledger yet
SPANS = """
import os, time
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
set_meter_provider(MeterProvider(metric_readers=[InMemoryMetricReader()]))
from e2s_tasks import span
with span("around"):
    times = []
    for _ in range({batches}):
        start = time.perf_counter()
        for _ in range(200):
            with span("work"):
                pass
        times.append((time.perf_counter() - start) / 200)
print(sorted(times)[len(times) // 2] * 1e6)
"""


def measure(quick: bool) -> list[Row]:
    """Seconds and milliseconds of scrapes, megabytes, microseconds of spans."""
    from tests.servers.postgresql import PostgreSQL

    size = SMALL if quick else LARGE
    rows: list[Row] = []
    for database in ("SQLite", "PostgreSQL"):
        server = PostgreSQL().start() if database == "PostgreSQL" else None
        try:
            with tempfile.TemporaryDirectory() as folder:
                url = server.create("ledger") if server else f"sqlite:///{folder}/ledger.db"
                rows += _rows(database, url, folder, size, 1 if quick else 15)
        finally:
            if server is not None:
                server.remove()
    return [*rows, *_spans(10 if quick else 200)]


def _rows(database: str, url: str, folder: str, size: int, repeats: int) -> list[Row]:
    from e2s_tasks.ledger import Ledger

    ledger = Ledger.open(url)
    _, spans = fill(ledger, size)
    environment = os.environ | {"E2S_LEDGER_URL": url, "E2S_DATA_DIR": f"{folder}/data", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from e2s_tasks.integrations.cli import main; main()", "exporter", "--port", "0"]
    exporter = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert exporter.stderr is not None
        begun = time.perf_counter()
        found = re.search(r"http://\S+", exporter.stderr.readline())
        assert found is not None
        at = found[0].rstrip(",")
        exporter.stderr.readline()  # that the ledger has been read
        first = time.perf_counter() - begun
        megabytes = _resident(exporter.pid)
        said = f"{database}: a later scrape"
        return [
            Row(f"{database}: the first reading, once after a start", first, "s", 60.0, note=f"{spans:,} spans"),
            Row(f"{said}, nothing new", _scrapes(at, repeats, lambda: None), "ms", 100.0),
            Row(f"{said}, one new run of 40 spans", _scrapes(at, repeats, lambda: _write(ledger, 1)), "ms", 100.0),
            Row(f"{said}, 100 new runs", _scrapes(at, repeats, lambda: _write(ledger, 100)), "ms"),
            Row(f"{database}: resident memory", megabytes, "MB", 200.0),
        ]
    finally:
        exporter.kill()
        exporter.wait()
        ledger.close()


def _write(ledger: "Ledger", runs: int) -> None:
    ledger.ingest([record for _ in range(runs) for record in daily_run(next(FRESH))])


def _scrapes(url: str, repeats: int, before: Callable[[], None]) -> float:
    """Median milliseconds of a scrape, each after something, and so long after the last that the ledger is read."""
    took = []
    for _ in range(repeats):
        before()
        time.sleep(1.2)
        start = time.perf_counter()
        text = urllib.request.urlopen(url).read()
        took.append(time.perf_counter() - start)
        assert b"e2s_energy_joules_total{" in text
    return statistics.median(took) * 1e3


def _resident(pid: int) -> float:
    with open(f"/proc/{pid}/status") as file:  # noqa: PTH123 - as short as it is
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))


def _spans(batches: int) -> list[Row]:
    """Microseconds of a span on its own thread, without and with OpenTelemetry told of it, in turns."""
    took: dict[str, list[float]] = {"false": [], "true": []}
    for _ in range(3):
        for switch, times in took.items():
            os.environ["E2S_OTEL"] = switch
            times.append(float(fresh(SPANS.format(batches=batches)).split()[-1]))
    del os.environ["E2S_OTEL"]
    without, with_it = (statistics.median(times) for times in took.values())
    note = f"{without:.3g} us without"
    return [Row("a span that does nothing, with OpenTelemetry told of it", with_it, "us", note=note)]


if __name__ == "__main__":
    main(measure)
