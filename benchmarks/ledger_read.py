"""A ledger of 1,000,000 spans and 50,000 artifact versions beside one of 10,000 spans: `e2s show` of one run,
`e2s artifact` of a version with 5,000 attempts upstream (over 250 runs), and how much longer the large one takes.

    .venv/bin/python benchmarks/ledger_read.py

Commands are whole processes, from start to exit, in turns on both ledgers; queries are what those commands ask of the
database, in one process, the first time and warm. It needs 1 GB of disk, and about 10 minutes.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING

from common import ROOT, Row, main
from large_ledger import CHAIN, CHAIN_TASKS, LAST, fill

if TYPE_CHECKING:
    from e2s_tasks.ledger import Ledger

SMALL, LARGE = 10_000, 1_000_000


def measure(quick: bool) -> list[Row]:
    """Seconds of whole commands, and milliseconds of their queries."""
    from tests.servers.postgresql import PostgreSQL

    sizes = (SMALL, 4 * SMALL) if quick else (SMALL, LARGE)
    rows: list[Row] = []
    for database in ("SQLite", "PostgreSQL"):
        server = PostgreSQL().start() if database == "PostgreSQL" else None
        try:
            with tempfile.TemporaryDirectory() as folder:
                urls = [server.create(f"l{size}") if server else f"sqlite:///{folder}/{size}.db" for size in sizes]
                rows += _rows(database, urls, sizes, folder, 3 if quick else 15)
        finally:
            if server is not None:
                server.remove()
    return rows


def _rows(database: str, urls: list[str], sizes: tuple[int, int], folder: str, repeats: int) -> list[Row]:
    from e2s_tasks.ledger import Ledger

    ledgers = [Ledger.open(url) for url in urls]
    filled = [fill(ledger, size) for ledger, size in zip(ledgers, sizes, strict=True)]
    runs = [run for run, _ in filled]
    rows = []
    for command, goal_s, goal_ms, words, query in (
        ("e2s show", 1.0, 50.0, [["show", run] for run in runs], _show),
        ("e2s artifact", 2.0, 200.0, [["artifact", LAST]] * 2, _artifact),
        ("e2s runs", 1.0, 50.0, [["runs"]] * 2, _runs),
    ):
        small, large = _in_turns([_command(url, folder, word) for url, word in zip(urls, words, strict=True)], repeats)
        queries = [partial(query, ledger, run) for ledger, run in zip(ledgers, runs, strict=True)]
        first = [_seconds(one) for one in queries]
        little, much = _in_turns(queries, 5 * repeats)
        what = f"{database}: {command}"
        rows += [
            Row(what, large, "s", goal_s, note=f"{filled[1][1]:,} spans; {small:.3g} s at {filled[0][1]:,}"),
            Row(f"{what}, against {sizes[0]:,} spans", large / small, "x", 1.3),
            Row(f"{what}, query", much * 1e3, "ms", goal_ms, note=f"{first[1] * 1e3:.3g} ms the first time"),
            Row(f"{what}, query, against {sizes[0]:,} spans", much / little, "x", 1.3),
        ]
    return rows


def _show(ledger: "Ledger", run: str) -> None:
    ledger.run(ledger.find_run(run))


def _artifact(ledger: "Ledger", _run: str) -> float:
    """The seconds that the ledger takes of finding out what led to the version, over all runs."""
    from e2s_tasks.core.lineage import RunGraph
    from e2s_tasks.core.records import RunRecords
    from e2s_tasks.core.upstream import Upstream

    start = time.perf_counter()
    version = ledger.versions(ledger.find_artifact(LAST))[-1]
    run, load = ledger.run(version.run_id), ledger.loader()
    took = [time.perf_counter() - start]

    def timed(run_ids: Collection[str], ahead: int) -> list[RunRecords]:
        start = time.perf_counter()
        found = load(run_ids, ahead)
        took.append(time.perf_counter() - start)
        return found

    loaded = Upstream(timed).of(RunGraph(run), version.id)
    assert sum(steps.bit_count() for steps in loaded.steps.values()) == CHAIN * CHAIN_TASKS
    return sum(took)


def _runs(ledger: "Ledger", _run: str) -> None:
    ledger.runs()


def _command(url: str, folder: str, words: list[str]) -> Callable[[], object]:
    environment = os.environ | {"E2S_LEDGER_URL": url, "E2S_DATA_DIR": f"{folder}/data", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from e2s_tasks.integrations.cli import main; main()", *words]
    return lambda: subprocess.run(command, env=environment, capture_output=True, check=True)


def _in_turns(calls: list[Callable[[], object]], repeats: int) -> tuple[float, float]:
    """The median seconds of each of two calls."""
    took: list[list[float]] = [[], []]
    for _ in range(repeats):
        for one, times in zip(calls, took, strict=True):
            times.append(_seconds(one))
    return statistics.median(took[0]), statistics.median(took[1])


def _seconds(call: Callable[[], object]) -> float:
    """How long a call takes, or what it says of that itself."""
    start = time.perf_counter()
    told = call()
    return told if isinstance(told, float) else time.perf_counter() - start


if __name__ == "__main__":
    main(measure)
