"""Eight threads with 2 ms of Python work between spans: how long a span takes them, and how much longer the work takes.

    .venv/bin/python benchmarks/contention.py

Threads that compute in Python fight for the interpreter's lock, so that whatever gives it up waits to get it back.
Rounds with and without spans take turns; a second set without spans is the control (A/A).
"""

import random
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from common import Row, decided, interval, main, quantile

THREADS = 8
WORK_S = 0.002


def measure(quick: bool) -> list[Row]:
    """Milliseconds of latency, and percent of wall time."""
    from e2s_tasks import span

    rounds, turns = (2, 20) if quick else (15, 40)
    steps = _calibrated()
    latencies: list[float] = []

    def plain() -> None:
        _work(steps)

    def nothing() -> None:
        with nullcontext():
            _work(steps)

    def measured() -> None:
        one: Any = span("work")
        start = time.perf_counter()
        one.__enter__()
        entered = time.perf_counter()
        _work(steps)
        left = time.perf_counter()
        one.__exit__(None, None, None)
        latencies.append(entered - start + time.perf_counter() - left)

    walls: dict[Callable[[], None], list[float]] = {plain: [], nothing: [], measured: []}
    order = list(walls)
    for _ in range(rounds):
        random.shuffle(order)  # whatever the first of three meets is not always the same one's
        for work in order:
            walls[work].append(_round(work, turns))
    more = [(with_ / without - 1) * 100 for with_, without in zip(walls[measured], walls[plain], strict=True)]
    control = [(again / first - 1) * 100 for again, first in zip(walls[nothing], walls[plain], strict=True)]
    low, high = interval(more)
    control_low, control_high = interval(control)
    resolved = decided(1, (low, high), (control_low, control_high))
    return [
        Row("enter + exit, 8 threads, mean", statistics.mean(latencies) * 1e3, "ms", 0.5),
        Row("enter + exit, 8 threads, p99", quantile(latencies, 0.99) * 1e3, "ms", 2,
            note=f"median {statistics.median(latencies) * 1e3:.3f} ms, {len(latencies)} spans"),
        Row("wall time more with spans, median", statistics.median(more), "%", 1, resolved=resolved,
            note=f"95 % interval {low:+.2f} to {high:+.2f}; control {control_low:+.2f} to {control_high:+.2f}"),
    ]  # fmt: skip


def _work(steps: int) -> int:
    total = 0
    for number in range(steps):
        total += number * number
    return total


def _calibrated() -> int:
    """How many steps take 2 ms alone."""
    start = time.thread_time()
    _work(200_000)
    return int(200_000 * WORK_S / (time.thread_time() - start))


def _round(work: Callable[[], None], turns: int) -> float:
    """Seconds in which all threads do the work so many times."""

    def repeat() -> None:
        barrier.wait()
        for _ in range(turns):
            work()

    barrier = threading.Barrier(THREADS + 1)
    threads = [threading.Thread(target=repeat) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(measure)
