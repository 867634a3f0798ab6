"""`@e2s_task` against plain `@task`: the time inside our wrapper, and the wall time of no-op task runs.

    .venv/bin/python benchmarks/prefect_task.py

Three no-op tasks take turns in one flow run, in random order: plain, plain again (the A/A control) and measured; first
one run of each, then 20 of each. A single run that takes longer also has more of the work that Prefect's own threads do
for the runs beside it on the same CPU; 20 in a row have their own. The process is pinned to one CPU where the system
allows it, Prefect's server to the others. Whether the control resolves the goal stands beside the figure: where its own
interval is wider, the wall time is inconclusive.
"""

import os
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from common import Row, decided, interval, main, quantile, quiet

GOAL = 4.0
BLOCK = 20


def measure(quick: bool) -> list[Row]:
    """Microseconds inside the wrapper, and percent of wall time."""
    from prefect import flow, task

    from e2s_tasks import e2s_flow, e2s_task

    def noop() -> None:
        return None

    tasks = {"plain": task(noop), "again": task(noop), "measured": e2s_task(noop)}
    self_us: list[float] = []

    def runs(count: int, block: int = 1) -> dict[str, list[float]]:
        draw = random.Random(1)
        names = list(tasks)
        walls: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(count):
            draw.shuffle(names)
            for name in names:
                start = time.perf_counter()
                for _ in range(block):
                    tasks[name]()
                walls[name].append((time.perf_counter() - start) / block)
        return walls

    def both() -> tuple[list[Row], dict[str, list[float]], dict[str, list[float]]]:
        """In one flow run: thousands of task runs keep Prefect's server too busy to begin another one."""
        singly = runs(10 if quick else 2_000)
        rows = _self_time(self_us)
        return rows, singly, runs(2 if quick else 2_000 // BLOCK, BLOCK)

    with quiet(), _pinned(), _timed(type(tasks["measured"].fn), self_us):
        flow(name="warm-up")(runs)(3 if quick else 50)
        self_us.clear()
        rows, singly, in_blocks = e2s_flow(name="noop")(both)()
    return [*rows, *_wall_time(singly, ""), *_wall_time(in_blocks, f", {BLOCK} in a row")]


def _self_time(self_us: list[float]) -> list[Row]:
    return [
        Row("self time of the wrapper, median", statistics.median(self_us), "us", 50,
            note=f"p99 {quantile(self_us, 0.99):.0f} us, {len(self_us)} runs"),
    ]  # fmt: skip


def _wall_time(walls: dict[str, list[float]], how: str) -> list[Row]:
    plain = statistics.median(walls["plain"])
    more, low, high = _more(walls["measured"], walls["plain"], plain)
    _, control_low, control_high = _more(walls["again"], walls["plain"], plain)
    resolved = decided(GOAL, (low, high), (control_low, control_high))
    return [
        Row(f"wall time more than plain, median of the pairs{how}", more, "%", GOAL, resolved=resolved,
            note=f"95 % interval {low:+.1f} to {high:+.1f}; control {control_low:+.1f} to {control_high:+.1f}"),
        Row(f"a plain no-op task run, median{how}", plain * 1e3, "ms"),
    ]  # fmt: skip


def _more(these: list[float], those: list[float], unit: float) -> tuple[float, float, float]:
    """Median of the differences of pairs, and its 95 % interval, in percent of a unit."""
    differences = [(this - that) / unit * 100 for this, that in zip(these, those, strict=True)]
    return statistics.median(differences), *interval(differences, rounds=500)


@contextmanager
def _timed(wrapper: type[Any], found: list[float]) -> Iterator[None]:
    """Each call of the measured function is timed; the no-op itself takes a tenth of a microsecond."""
    call = wrapper.__call__

    def timed(self: Any, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return call(self, *args, **kwargs)
        finally:
            if self.__name__ == "noop":
                found.append((time.perf_counter() - start) * 1e6)

    wrapper.__call__ = timed
    try:
        yield
    finally:
        wrapper.__call__ = call


@contextmanager
def _pinned() -> Iterator[None]:
    """Threads started from here on, and this one, stay on one CPU; Prefect's server, started before, on the others."""
    from prefect import flow

    flow(name="start-the-server")(_nothing)()
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if len(cpus) < 2:
        yield
        return
    mine = min(cpus)
    with suppress(OSError):
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), {mine})
        for child in _children():
            os.sched_setaffinity(child, cpus - {mine})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)


def _nothing() -> None:
    return


def _children() -> list[int]:
    """The processes that this one has started: Prefect's server."""
    lists = [(thread / "children").read_text().split() for thread in Path("/proc/self/task").iterdir()]
    return [int(pid) for pids in lists for pid in pids]


if __name__ == "__main__":
    main(measure)
