"""What a span costs in a tight loop: boundaries coalesced, and when every boundary closes a segment; the peers beside.

    .venv/bin/python benchmarks/span_cost.py

All three libraries read the same fake tree of RAPL counters, in one process and one run. CodeCarbon's own loop is
`start_task` + `stop_task` of one tracker, Zeus's `begin_window` + `end_window` of one monitor.
"""

import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from common import FOLDER, Row, codecarbon, main, per_call, quiet

US = 1e6


def measure(quick: bool) -> list[Row]:
    """The rows of the issue on enter + exit and on a boundary."""
    from tests.fakes.powercap import Powercap

    tree = FOLDER / "powercap"
    Powercap(tree, nested=True)
    os.environ["E2S_POWERCAP_ROOT"] = str(tree)
    loops = 2_000 if quick else 40_000
    coalesced, all_in = _tight_loop(loops)
    with _every_boundary_closes():
        closing, _ = _tight_loop(loops // 4)
        boundaries = _boundaries(16, loops // 20)
    carbon = _codecarbon(20 if quick else 300)
    zeus = _zeus(tree, loops // 20)
    return [
        Row("enter + exit, 4 spans open, coalesced", coalesced, "us", 5, zeus, "Zeus's window"),
        Row(
            "CodeCarbon's task, times ours", carbon / coalesced, "x", 40, least=True, note=f"CodeCarbon {carbon:.0f} us"
        ),
        *([Row("Zeus's window, times ours", zeus / coalesced, "x", 1, least=True)] if zeus else []),
        Row("CPU time per span, all threads included", all_in, "us", note="recording and settling in it"),
        Row("enter + exit, every boundary closes a segment", closing, "us", 30, zeus, "Zeus's window"),
        Row("a boundary, 16 spans on 16 threads", statistics.median(boundaries), "us", 40),
    ]


@contextmanager
def _every_boundary_closes() -> Iterator[None]:
    from e2s_tasks.meters import meter

    before, meter.COALESCE_NS = meter.COALESCE_NS, 0
    try:
        yield
    finally:
        meter.COALESCE_NS = before


@contextmanager
def _open_spans(count: int) -> Iterator[None]:
    """So many spans open, each on a thread of its own."""
    from e2s_tasks import span

    ready, done = threading.Barrier(count + 1), threading.Event()

    def hold() -> None:
        with span("held"):
            ready.wait()
            done.wait()

    threads = [threading.Thread(target=hold) for _ in range(count)]
    for thread in threads:
        thread.start()
    ready.wait()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def _tight_loop(loops: int) -> tuple[float, float]:
    """Median microseconds of `with span(...)` beside 4 open spans, and the process's CPU time per span."""
    from e2s_tasks import span
    from e2s_tasks.recorder import process_recorder

    def once() -> None:
        with span("inner"):
            pass

    with _open_spans(3), span("outer"):
        per_call(once, 500)
        process_recorder().drain(force=True)
        before = time.process_time()
        median = per_call(once, loops)
        process_recorder().drain(force=True)
        return median * US, (time.process_time() - before) / loops * US


def _boundaries(count: int, loops: int) -> list[float]:
    """Microseconds of each boundary of a span opened and closed beside spans on `count` threads."""
    from e2s_tasks import span

    times = []
    with _open_spans(count):
        for _ in range(loops):
            one = span("one")
            start = time.perf_counter()
            one.__enter__()
            middle = time.perf_counter()
            one.__exit__(None, None, None)
            times += [(middle - start) * US, (time.perf_counter() - middle) * US]
    return times


def _codecarbon(loops: int) -> float:
    """Median microseconds of start_task + stop_task."""

    def once() -> None:
        tracker.start_task()
        tracker.stop_task()

    with quiet():
        tracker: Any = codecarbon()
        once()
        return per_call(once, loops, batch=1) * US


def _zeus(tree: Path, loops: int) -> float | None:
    """Median microseconds of begin_window + end_window on the tree; None where Zeus is not installed."""
    if find_spec("zeus") is None:
        return None
    with quiet():
        from zeus.device.cpu import rapl
        from zeus.monitor import ZeusMonitor

        rapl.RAPL_DIR = str(tree / "intel-rapl")
        monitor = ZeusMonitor(gpu_indices=[], cpu_indices=[0])

        def once() -> None:
            monitor.begin_window("w")
            monitor.end_window("w")

        once()
        return per_call(once, loops, batch=20) * US


if __name__ == "__main__":
    main(measure)
