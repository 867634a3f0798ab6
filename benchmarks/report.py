"""What `e2s report` takes over 30 days of 10,000 runs, and how large the file is; and of one run of 1,000 steps.

    .venv/bin/python benchmarks/report.py

Commands are whole processes, from start to exit. The runs are of 10 flows of 5 solutions, with 6 attempts and 5 reads
and writes each; one in 50 has a failed attempt, one in 20 waited, and all knew the grid by the half hour.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice

from common import FOLDER, ROOT, Row, main

DAY_S = 86_400.0
SLOT_S = 1800.0
TASKS = ("import", "clean", "features", "train", "score", "publish")
BATCH = 20_000


def measure(quick: bool) -> list[Row]:
    """Seconds and megabytes of both reports."""
    from e2s_tasks.ledger import Ledger

    runs, steps = (500, 100) if quick else (10_000, 1000)
    urls = [f"sqlite:///{FOLDER / name}.db" for name in ("fleet", "large")]
    records = (_fleet(runs, random.Random(1)), _large(steps, random.Random(2)))
    for url, given in zip(urls, records, strict=True):
        ledger = Ledger.open(url)
        while batch := list(islice(given, BATCH)):
            ledger.ingest(batch)
    found = []
    for what, url, goal, words in (
        (f"30 days, {runs:,} runs of 12 spans", urls[0], 5.0, ["--since", "30d"]),
        (f"a run of {steps:,} steps", urls[1], None, ["large"]),
    ):
        times = [_seconds(url, words) for _ in range(2 if quick else 5)]
        size = (FOLDER / "report.html").stat().st_size
        found += [
            Row(f"e2s report, {what}", sorted(times)[len(times) // 2], "s", goal, note=f"{min(times):.3g} s at best"),
            Row(f"the file, {what}", size / 1e6, "MB", 1.0),
        ]
    return found


def _seconds(url: str, words: list[str]) -> float:
    environment = os.environ | {"E2S_LEDGER_URL": url, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from e2s_tasks.integrations.cli import main; main()", "report", *words]
    start = time.perf_counter()
    subprocess.run([*command, "-o", str(FOLDER / "report.html")], env=environment, capture_output=True, check=True)
    return time.perf_counter() - start


def _fleet(runs: int, draw: random.Random) -> Iterator:
    from e2s_tasks.core.records import ProcessRecord, SourceRecord

    now, hours = time.time(), 24 * 29.5
    sources = [SourceRecord("cpu", "RAPL", "measured"), SourceRecord("static", "idle", "modelled", 0.5, 4.0)]
    for number in range(runs):
        at = now - draw.random() * hours * 3600 - 7200
        process = f"process-{number}"
        yield ProcessRecord(process, f"host-{number % 7}", "boot", 1, 1, at, "dedicated", list(sources))
        yield from _run(number, at, process, draw)


def _run(number: int, at: float, process: str, draw: random.Random) -> Iterator:
    from e2s_tasks.core.records import OutcomeRecord, SpanRecord

    run_id, flow = f"{draw.getrandbits(128):032x}", number % 10
    given = {"seq": 1, "process_id": process, "run_id": run_id, "flow_run_id": run_id}
    waits, fails = number % 20 == 0, number % 50 == 7
    begun = at + 3600 if waits else at
    root = SpanRecord(
        id=f"{run_id}-f", kind="flow", name=f"flow-{flow}", status="completed", started_at=at, ended_at=begun + 300,
        solution=f"solution-{flow % 5}", cpu_j=5.0, static_j=1.0, attributes={"flow_run_name": f"run-{number}"},
        **given,
    )  # fmt: skip
    yield root
    if waits:
        yield SpanRecord(id=f"{run_id}-w", kind="wait", name="wait", status="completed", started_at=at, ended_at=begun,
                         parent_id=root.id, cpu_j=0.2, static_j=0.1, **given)  # fmt: skip
    for place, task in enumerate(TASKS):
        start = begun + 45 * place
        span = SpanRecord(
            id=f"{run_id}-{place}", kind="attempt", name=task, parent_id=root.id, attempt=1,
            task_run_id=f"{run_id}-t{place}", status="failed" if fails and place == 3 else "completed",
            started_at=start, ended_at=start + 44, cpu_j=100 * draw.random() * (flow + 1), static_j=10.0,
            stage="training" if task == "train" else None, attributes={"task_run_name": f"{task}-{number}"}, **given,
        )  # fmt: skip
        yield span
        if place < 5:
            yield SpanRecord(
                id=f"{run_id}-{place}-io", kind="read" if place % 2 else "write", name="io", status="completed",
                parent_id=span.id, started_at=start, ended_at=start + 2, cpu_j=1.0, static_j=0.1, storage_j=0.01,
                **given,
            )  # fmt: skip
    yield OutcomeRecord(
        f"{run_id}-o", run_id, f"{run_id}-4", begun + 280, "row", 1000.0 + draw.random() * 100, accurate=900.0
    )
    yield _decision(run_id, at, begun, draw, arrived=waits)


def _decision(run_id: str, at: float, begun: float, draw: random.Random, *, arrived: bool) -> object:
    from e2s_tasks.core.records import DecisionRecord

    first = at // SLOT_S * SLOT_S
    slots = [[first + SLOT_S * n, first + SLOT_S * (n + 1), 100 + 100 * draw.random()] for n in range(24)]
    plan = {"rung": "service", "slots": slots} | ({"arrived": at} if arrived else {})
    return DecisionRecord(
        f"{run_id}-d",
        run_id,
        at,
        "average, direct",
        "service",
        "why",
        "GB",
        150.0,
        begun,
        begun + 300,
        120.0,
        180.0,
        plan,
    )


def _large(steps: int, draw: random.Random) -> Iterator:
    from e2s_tasks.core.records import ProcessRecord, SourceRecord, SpanRecord, VersionRecord

    at, run_id = time.time() - 7200, "large"
    yield ProcessRecord("p", "host", "boot", 1, 1, at, "dedicated", [SourceRecord("cpu", "RAPL", "measured")])
    given = {"seq": 1, "process_id": "p", "run_id": run_id, "flow_run_id": run_id, "status": "completed"}
    yield SpanRecord(id="f", kind="flow", name="large", started_at=at, ended_at=at + 3600, cpu_j=50.0, **given)
    for number in range(steps):
        start = at + 3600 * draw.random()
        yield SpanRecord(
            id=f"s{number}", kind="attempt", name=f"step {number}", parent_id="f", attempt=1, task_run_id=f"t{number}",
            started_at=start, ended_at=start + 20, cpu_j=100 * draw.random(), **given,
        )  # fmt: skip
        if number % 100 == 99:
            yield VersionRecord(
                f"v{number}", f"file:///d/part-{number}.parquet", f"s{number}", run_id, start + 20, 10**6
            )


if __name__ == "__main__":
    main(measure)
