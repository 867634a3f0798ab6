"""Whether spans + other + idle are what the sources counted: per process, over processes, and after a kill -9.

    .venv/bin/python benchmarks/conservation.py

Four measured processes, each with threads, nested spans, coroutines and an unmeasured child process, read one fake RAPL
tree whose counter wraps every few seconds. The machine (machine.py) draws power only between the moment when all the
outermost spans are open and the moment before the first closes, so that its total is known to the microjoule. One
process is killed on the way. All sums are taken from the ledger.
"""

import asyncio
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from common import FOLDER, Row, burn, main, own_cpu_s, run_of, span_joules
from machine import BUSY_W, IDLE_W, RANGE_UJ, Machine, machine

WORKERS = 4
BURN = "import time\nwhile time.process_time() < {}: pass"


@dataclass
class Total:
    """What the ledger has of one process's run, in joules."""

    spans_j: float
    rest_j: float
    cpu_j: float
    static_j: float
    count: int


def measure(quick: bool) -> list[Row]:
    """How far the sums are off."""
    seconds = 2.0 if quick else 12.0
    with machine(FOLDER, tree=True) as truth:
        os.environ |= {
            "E2S_POWERCAP_ROOT": str(FOLDER / "powercap"),
            "E2S_CPU_IDLE_W": str(IDLE_W),
            "E2S_CPU_TDP_W": str(IDLE_W + BUSY_W * (os.cpu_count() or 1)),
            "E2S_STATIC_POLICY": "dedicated",
        }
        drawn, at_kill, duration_s, used_s = _run(truth, seconds)
    totals = [_total(f"worker {number}") for number in range(WORKERS)]
    killed, lived = totals[-1], totals[:-1]
    worst = max(abs((one.spans_j + one.rest_j) / drawn - 1) for one in lived)
    dynamic = sum(one.cpu_j for one in lived) / (BUSY_W * used_s)
    static = sum(one.static_j for one in totals)
    remainder = at_kill - killed.spans_j - killed.rest_j
    wraps = int(drawn * 1e6 / RANGE_UJ)
    spans = sum(one.count for one in totals)
    return [
        Row("spans + other + idle against the counter, worst of 3 processes", worst * 1e6, "ppm", 0.01,
            note=f"{drawn:.1f} J, {wraps} wraps, {spans} spans in all"),
        Row("CPU joules of 3 processes against their own CPU clocks", abs(dynamic - 1) * 100, "%", 1,
            note=f"child processes in it; factor {dynamic:.4f}"),
        Row("idle power over all processes, of 40 W x time", static / (IDLE_W * duration_s) * 100, "%", 100.01,
            note="the dead process's part, until it is noticed, is nobody's"),
        Row("the killed process: not booked, in time at the mean power", remainder / drawn * duration_s, "s", 1.1,
            note=f"{remainder:.1f} J of {at_kill:.1f} J, at most a tick"),
    ]  # fmt: skip


def _run(truth: Machine, seconds: float) -> tuple[float, float, float, float]:
    """Joules that the counter moved by, in all and until the kill; seconds it took; CPU seconds of those that lived."""
    context = multiprocessing.get_context("spawn")
    together, closing = context.Barrier(WORKERS + 1), context.Event()
    done = context.Queue()
    processes = [
        context.Process(target=_worker, args=(number, seconds, together, closing, done)) for number in range(WORKERS)
    ]
    truth.flow(on=False)
    for process in processes:
        process.start()
    together.wait(30)  # all the outermost spans are open
    before, start = truth.counter_uj(), time.monotonic()
    truth.flow(on=True)
    together.wait(30)
    time.sleep(seconds * random.Random(7).uniform(0.5, 0.9))
    assert processes[-1].pid is not None
    os.kill(processes[-1].pid, signal.SIGKILL)
    at_kill = truth.counter_uj()
    used_s = sum(done.get(timeout=seconds * 5 + 30) for _ in range(WORKERS - 1))
    duration_s = time.monotonic() - start
    truth.flow(on=False)
    after = truth.counter_uj()
    closing.set()
    for process in processes:
        process.join(30)
    return (after - before) * 1e-6, (at_kill - before) * 1e-6, duration_s, used_s


def _worker(number: int, seconds: float, together: Any, closing: Any, done: Any) -> None:
    from e2s_tasks import span
    from e2s_tasks.recorder import process_recorder

    with span(f"worker {number}"):
        together.wait(30)
        together.wait(30)
        before = _cpu_s()
        _work(random.Random(number), time.monotonic() + seconds)
        done.put(_cpu_s() - before)
        closing.wait(60)
    process_recorder().close()


def _cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended, without the recorder's own thread."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() - own_cpu_s() + children.ru_utime + children.ru_stime


def _work(draw: random.Random, end: float) -> None:
    """Threads, nested spans, coroutines and a child process, at random, until a moment."""
    from e2s_tasks import span

    def thread(draw: random.Random) -> None:
        while time.monotonic() < end:
            with span("thread"):
                burn(draw.uniform(0, 0.02))
                with span("nested"):
                    burn(draw.uniform(0, 0.01))
            time.sleep(draw.uniform(0, 0.05))

    # A plain thread does not inherit its span; Prefect's threads do, and so do these.
    threads = [
        threading.Thread(target=copy_context().run, args=(thread, random.Random(draw.random()))) for _ in range(3)
    ]
    for one in threads:
        one.start()
    while time.monotonic() < end:
        asyncio.run(_coroutines(draw))
        with span("child"):
            subprocess.run([sys.executable, "-S", "-c", BURN.format(draw.uniform(0.02, 0.1))], check=True)
    for one in threads:
        one.join()


async def _coroutines(draw: random.Random) -> None:
    from e2s_tasks.recorder import drive, process_recorder

    recorder = process_recorder()

    async def one(cpu_s: float) -> None:
        for _ in range(3):
            burn(cpu_s)
            await asyncio.sleep(cpu_s)

    await asyncio.gather(*(drive(recorder.span("coroutine"), one(draw.uniform(0, 0.01))) for _ in range(3)))


def _total(name: str) -> Total:
    spans = run_of(name).spans
    return Total(
        spans_j=sum(span_joules(one) for one in spans),
        rest_j=sum((one.other_j or 0.0) + (one.idle_j or 0.0) for one in spans),
        cpu_j=sum(one.cpu_j or 0.0 for one in spans),
        static_j=sum(one.static_j or 0.0 for one in spans),
        count=len(spans),
    )


if __name__ == "__main__":
    main(measure)
