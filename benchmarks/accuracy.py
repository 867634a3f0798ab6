"""The error of each task's joules against a machine whose power is known, P(t) = 40 + 60 m(t) busy, m drifting by 50 %.

    .venv/bin/python benchmarks/accuracy.py

Each task sums its own truth while it works: 60 m(t) per CPU second that its thread's clock counted, and its part of
the 40 W. Beside ours, in the same run: each task reading the counter around itself (its own window), and a sampler of
1 s, both dividing by CPU time as well. The first rows have a busy clock without steps, over the processes of this
benchmark; then the host's own clock, and /proc/stat alone, with the power integrated from the host's clock.
"""

import hashlib
import multiprocessing
import os
import statistics
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from common import BLOCK, FOLDER, Row, burn_for, main
from machine import BUSY_W, IDLE_W, Busy, ExactBusy, Machine, machine

DUTIES = (1.0, 0.6, 0.3)


@dataclass
class Task:
    """One task's truth, in joules and seconds, and what the other approaches say of its dynamic energy."""

    name: str
    dynamic_j: float = 0.0
    start: float = 0.0
    end: float = 0.0
    own_window_j: float = 0.0
    sampled_j: float = 0.0
    booked: Any = field(default=None, repr=False)
    clock: int = 0


class World:
    """A recorder on the known machine, and the two other approaches beside it."""

    def __init__(self, source: Machine, busy: Any, folder: Path) -> None:
        from e2s_tasks.meters.meter import Meter
        from e2s_tasks.recorder import SpanRecorder
        from e2s_tasks.settings import Settings

        self.source, self.busy = source, busy
        self.options = Settings(data_dir=folder)
        self.recorder = SpanRecorder(self.options, Meter([source], busy), source.records)
        self.open: dict[str, Task] = {}
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._sample)
        self._sampler.start()

    def task(self, name: str, seconds: float, duty: float, tasks: list[Task]) -> None:
        """Work for some seconds at a duty cycle, measured in all ways."""
        task = Task(name, clock=~threading.get_native_id() << 3 | 6)
        tasks.append(task)
        with self.recorder.span(name):
            task.start, cpu = time.monotonic(), time.thread_time()
            before = self._window()
            self.open[name] = task
            self._work(task, seconds, duty, cpu)
            self.open.pop(name)
            after = self._window()
            task.end = time.monotonic()
        joules, at, busy, own = (last - first for last, first in zip(after, before, strict=True))
        task.own_window_j = (joules - IDLE_W * at) * own / max(busy, own, 1)

    def _work(self, task: Task, seconds: float, duty: float, cpu: float) -> None:
        now = time.monotonic()
        end = now + seconds
        while now < end:
            chunk = now + 0.01
            while now < chunk:
                hashlib.sha256(BLOCK)
                used, then = time.thread_time(), time.monotonic()
                task.dynamic_j += BUSY_W * self.source.factor((now + then) / 2) * (used - cpu)
                cpu, now = used, then
            if duty < 1:
                time.sleep(0.01 * (1 - duty) / duty)
                now = time.monotonic()
        task.dynamic_j += BUSY_W * self.source.factor(now) * (time.thread_time() - cpu)

    def _window(self) -> tuple[float, float, int, int]:
        return self.source.energy_j(), time.monotonic(), self.busy.read() or 0, time.thread_time_ns()

    def _sample(self) -> None:
        """The energy of each second to the tasks that were open at both its ends, by CPU time."""
        joules, at, busy = self.source.energy_j(), time.monotonic(), self.busy.read() or 0
        seen: dict[str, int] = {}
        while not self._stop.wait(1.0):
            now_j, now, now_busy = self.source.energy_j(), time.monotonic(), self.busy.read() or 0
            found = {}
            for name, task in list(self.open.items()):
                try:
                    found[name] = time.clock_gettime_ns(task.clock)
                except OSError:
                    continue
                own = found[name] - seen.get(name, found[name])
                task.sampled_j += (now_j - joules - IDLE_W * (now - at)) * own / max(1, now_busy - busy)
            joules, at, busy, seen = now_j, now, now_busy, found

    def close(self, tasks: list[Task]) -> None:
        """Give each task the record that the ledger has of it."""
        from e2s_tasks.ledger import Ledger

        self._stop.set()
        self._sampler.join()
        self.recorder.flush()
        ledger = Ledger.open(self.options.ledger)
        records = [one for row in ledger.runs(limit=None) for one in ledger.run(row.run_id).spans]
        by_name = {record.name: record for record in records}
        for task in tasks:
            task.booked = by_name[task.name]
        self.recorder.close()


def measure(quick: bool) -> list[Row]:
    """Rows for long and for short tasks, by busy clock."""
    from e2s_tasks.meters.clocks import ProcStatBusy, host_busy_clock

    seconds, rounds = (1.0, 1) if quick else (8.0, 3)
    with _noise() as pid:
        exact = Busy((os.getpid(), pid))
        rows = _long(exact, ExactBusy(exact), seconds, rounds) + _short(exact, ExactBusy(exact), "nanosecond clock", 2)
        rows += _short(Busy(), host_busy_clock(), "the host's clock", 2)
        rows += _short(Busy(), ProcStatBusy(), "/proc/stat alone")
    return rows


class _noise:  # noqa: N801 - used as a context manager
    """Another program at 30 % of a CPU."""

    def __enter__(self) -> int:
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=burn_for, args=(3600.0, 0.3), daemon=True)
        self.process.start()
        time.sleep(0.5)
        assert self.process.pid is not None
        return self.process.pid

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.join()


def _long(world_busy: Busy, clock: Any, seconds: float, rounds: int) -> list[Row]:
    tasks: list[tuple[Task, float]] = []
    for number in range(rounds):
        folder = FOLDER / f"long-{number}"
        with machine(folder, world_busy, drift=True) as source:
            world = World(source, clock, folder)
            done: list[Task] = []
            threads = [
                threading.Thread(
                    target=world.task, args=(f"long {number} {duty}", seconds * (1 - lag / 10), duty, done)
                )
                for lag, duty in enumerate(DUTIES)
            ]
            for thread in threads:
                thread.start()
                time.sleep(seconds / 20)
            for thread in threads:
                thread.join()
            world.close(done)
            tasks += _with_total(done)
    ours = [_error(task.booked.cpu_j, task.dynamic_j) for task, _ in tasks]
    total = [_error(task.booked.cpu_j + task.booked.static_j, truth) for task, truth in tasks]
    window = [_error(task.own_window_j, task.dynamic_j) for task, _ in tasks]
    sampler = [_error(task.sampled_j, task.dynamic_j) for task, _ in tasks]
    return [
        Row(f"{len(ours)} long tasks, drift: mean error, CPU", statistics.mean(ours), "%", 0.2,
            statistics.mean(window), "own window"),
        Row("the same, against a 1 s sampler", statistics.mean(ours), "%", None, statistics.mean(sampler), "sampler"),
        Row("worst error, CPU", max(ours), "%", 1, max(window), "own window"),
        Row("mean error, with idle power", statistics.mean(total), "%", 0.2),
        Row("worst error, with idle power", max(total), "%", 1),
    ]  # fmt: skip


def _short(world_busy: Busy, clock: Any, name: str, goal: float | None = None) -> list[Row]:
    """Thirty tasks of 30 ms, beside one long task and another program."""
    folder = FOLDER / f"short-{name.replace('/', '')}"
    with machine(folder, world_busy, drift=True) as source:
        world = World(source, clock, folder)
        done: list[Task] = []
        beside = threading.Thread(target=world.task, args=("beside", 2.0, 0.5, []))
        beside.start()
        for number in range(30):
            world.task(f"short {number}", 0.03, 1.0, done)
            time.sleep(0.01)
        beside.join()
        world.close(done)
    ours = [_error(task.booked.cpu_j, task.dynamic_j) for task in done]
    window = [_error(task.own_window_j, task.dynamic_j) for task in done]
    missed = sum(not task.sampled_j for task in done)
    low, high = _signed(done)
    return [
        Row(f"30 tasks of 30 ms, {name}: median error", statistics.median(ours), "%", goal,
            statistics.median(window), "own window",
            f"from {low:+.1f} to {high:+.1f} %; the sampler missed {missed}"),
    ]  # fmt: skip


def _error(figure: float, truth: float) -> float:
    return abs(figure / truth - 1) * 100


def _signed(tasks: list[Task]) -> tuple[float, float]:
    errors = [(task.booked.cpu_j / task.dynamic_j - 1) * 100 for task in tasks]
    return min(errors), max(errors)


def _with_total(tasks: list[Task]) -> list[tuple[Task, float]]:
    """Each task with its true total: its dynamic energy and its part of the idle power over who was open when."""
    moments = sorted({moment for task in tasks for moment in (task.start, task.end)})
    totals = {task.name: task.dynamic_j for task in tasks}
    for first, last in pairwise(moments):
        held = [task for task in tasks if task.start <= first and task.end >= last]
        for task in held:
            totals[task.name] += IDLE_W * (last - first) / len(held)
    return [(task, totals[task.name]) for task in tasks]


if __name__ == "__main__":
    main(measure)
