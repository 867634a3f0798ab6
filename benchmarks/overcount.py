"""How many times four concurrent tasks are counted: threads and processes, at 100 % and 10 % duty, CodeCarbon beside.

    .venv/bin/python benchmarks/overcount.py

Ours: the joules of four spans over what they truly used: 60 W x the CPU time that each task's own thread clock saw, and
the machine's 40 W of idle power once, on a fake RAPL tree that follows the host's real CPU time (machine.py).
CodeCarbon: the CPU energy of four trackers, one around each task as its decorator does, over that of one machine
tracker around all of them. Its models and not its sensors are compared: the factor is what remains.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from common import FOLDER, Row, burn_for, codecarbon, main, quiet, runs_of, span_joules
from machine import BUSY_W, IDLE_W, machine

TASKS = 4
MODES = ("machine", "process")


@dataclass(frozen=True)
class Setting:
    """How the four tasks run."""

    processes: bool
    duty: float
    seconds: float

    def __str__(self) -> str:
        return f"4 {'processes' if self.processes else 'threads'}, {self.duty:.0%} duty"


@dataclass
class Done:
    """What a task did: CPU seconds, its window on the monotonic clock, and a tracker's joules."""

    cpu_s: float
    start: float
    end: float
    joules: float = 0.0


def measure(quick: bool) -> list[Row]:
    """Factors of ours, and of CodeCarbon in both modes, by setting."""
    seconds = 1.0 if quick else 6.0
    settings = [Setting(processes, duty, seconds) for processes in (False, True) for duty in (1.0, 0.1)]
    rows = []
    with machine(FOLDER, tree=True):
        os.environ |= {
            "E2S_POWERCAP_ROOT": str(FOLDER / "powercap"),
            "E2S_CPU_IDLE_W": str(IDLE_W),
            "E2S_CPU_TDP_W": str(IDLE_W + BUSY_W * (os.cpu_count() or 1)),
            "E2S_STATIC_POLICY": "dedicated",
        }
        for setting in settings:
            joules, cpu = _ours(setting)
            rows.append(_row(f"{setting}: energy", joules))
            rows.append(_row(f"{setting}: CPU time", cpu))
            if not quick:
                rows[-2].note += "; " + ", ".join(
                    f"CodeCarbon {mode} mode {_carbon(setting, mode):.2f}" for mode in MODES
                )
    return rows


def _row(what: str, factor: float) -> Row:
    return Row(what, abs(factor - 1) * 100, "% off", 1, note=f"factor {factor:.4f}")


def _ours(setting: Setting) -> tuple[float, float]:
    """Our joules, and our CPU seconds, over the true ones."""
    from e2s_tasks.recorder import process_recorder

    name = f"task {setting}"
    done = _run(setting, _span, name)
    process_recorder().flush()
    spans = [one for run in runs_of(name) for one in run.spans]
    assert len(spans) == TASKS, f"the ledger has {len(spans)} spans of {name}"
    used_s = sum(one.cpu_s for one in done)
    window_s = max(one.end for one in done) - min(one.start for one in done)
    energy = sum(span_joules(one) for one in spans) / (BUSY_W * used_s + IDLE_W * window_s)
    return energy, sum(one.cpu_ns for one in spans) * 1e-9 / used_s


def _carbon(setting: Setting, mode: str) -> float:
    """CodeCarbon's factor."""
    with quiet():
        around = codecarbon("machine")
        _warm_up(mode)
        done = _run(setting, _tracked, mode, around)
    return sum(one.joules for one in done) / _cpu_j(around)


def _run(setting: Setting, work: Callable[..., Done], name: str, around: Any = None) -> list[Done]:
    """Four at once; `around` is a tracker that starts just before the first and stops after the last."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(TASKS + 1), context.Queue()
    kind = context.Process if setting.processes else threading.Thread
    tasks = [kind(target=_one, args=(work, setting, name, barrier, results)) for _ in range(TASKS)]
    for task in tasks:
        task.start()
    barrier.wait()
    if around is not None:
        around.start()
    barrier.wait()
    done = [results.get(timeout=60) for _ in tasks]
    if around is not None:
        around.stop()
    for task in tasks:
        task.join()
    return done


def _one(work: Callable[..., Done], setting: Setting, name: str, barrier: Any, results: Any) -> None:
    in_child = multiprocessing.parent_process() is not None
    if in_child and work is _tracked:
        with quiet():
            _warm_up(name)
    barrier.wait()
    barrier.wait()
    with quiet() if in_child else nullcontext():
        results.put(work(setting, name))
    if in_child and work is _span:
        from e2s_tasks.recorder import process_recorder

        process_recorder().close()


def _span(setting: Setting, name: str) -> Done:
    from e2s_tasks import span

    with span(name):
        start = time.monotonic()
        used = burn_for(setting.seconds, setting.duty)
        return Done(used, start, time.monotonic())


def _tracked(setting: Setting, mode: str) -> Done:
    tracker = codecarbon(mode)
    start = time.monotonic()
    tracker.start()
    used = burn_for(setting.seconds, setting.duty)
    tracker.stop()
    return Done(used, start, time.monotonic(), _cpu_j(tracker))


def _warm_up(mode: str) -> None:
    """CodeCarbon's first start in a process takes seconds, which are not what is compared here."""
    tracker = codecarbon(mode)
    tracker.start()
    tracker.stop()


def _cpu_j(tracker: Any) -> float:
    return float(tracker.final_emissions_data.cpu_energy) * 3.6e6


if __name__ == "__main__":
    main(measure)
