"""The CPU time that spans are given, against a known burn: coroutines, live and ended child processes.

    .venv/bin/python benchmarks/cpu_time.py

Each coroutine sums what its own thread's clock saw between its awaits; each child process tells what its own process
clock showed last. The caller's own CPU time in the span of a child (starting it, reading its answer) is subtracted.
"""

import asyncio
import os
import subprocess
import sys
import threading
import time
from typing import Any

from common import Row, burn, main, run_of

SHARES = (1, 2, 4)
CHILD = """
import os, sys, time
while time.process_time() < {seconds}: pass
os.write(1, b"%.9f\\n" % time.process_time())
{then}
"""


def measure(quick: bool) -> list[Row]:
    """Errors in percent."""
    seconds = 0.1 if quick else 1.0
    return [
        *_coroutines(seconds / 2),
        _row("a child process that has ended", *_child(seconds * 2, "os._exit(0)")),
        _row("a child process that still runs", *_child(seconds * 2, "sys.stdin.read()")),
        _row("a grandchild that has ended", *_child(seconds * 2, "os._exit(0)", below=True)),
        _row("twenty children of 50 ms", *_many(4 if quick else 20)),
        *_short_ones_at_once(2 if quick else 8),
    ]


def _row(what: str, given_s: float, true_s: float) -> Row:
    return Row(what, abs(given_s / true_s - 1) * 100, "%", 1, note=f"{given_s:.4f} s of {true_s:.4f} s")


def _coroutines(seconds: float) -> list[Row]:
    """Three at once on one loop, each in turns."""
    from e2s_tasks import span
    from e2s_tasks.recorder import drive, process_recorder

    true = {}
    recorder = process_recorder()

    async def work(share: int) -> None:
        used = 0.0
        for _ in range(10):
            used += burn(seconds * share / 10)
            await asyncio.sleep(0)
        true[share] = used

    async def gathered() -> None:
        await asyncio.gather(*(drive(recorder.span(f"coroutine {share}"), work(share)) for share in SHARES))

    with span("loop"):
        asyncio.run(gathered())
    given = {record.name: record.cpu_ns * 1e-9 for record in _spans("loop")}
    return [
        _row(f"one of 3 gathered coroutines, {share} parts of 7", given[f"coroutine {share}"], true[share])
        for share in SHARES
    ]


def _child(seconds: float, then: str, *, below: bool = False) -> tuple[float, float]:
    """CPU seconds given to the span of a child process, and used by it. below: as a child of a shell."""
    from e2s_tasks import span

    command = [sys.executable, "-S", "-c", CHILD.format(seconds=seconds, then=then)]
    if below:
        command = ["/bin/sh", "-c", '"$@"; true', "sh", *command]
    name = f"child {then} {below}"
    with span(name):
        own = time.thread_time()
        with_child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert with_child.stdout is not None
        used = float(with_child.stdout.readline())
        if then.startswith("os"):
            with_child.wait()
        own = time.thread_time() - own
    with_child.communicate()
    return _given(name) - own, used


def _many(count: int) -> tuple[float, float]:
    """The same for short children, one after another; used: what the kernel tells of each one, its end included."""
    from e2s_tasks import span

    with span("many"):
        own = time.thread_time()
        used = sum(_short(0.05) for _ in range(count))
        own = time.thread_time() - own
    return _given("many") - own, used


def _short(seconds: float) -> float:
    """The CPU seconds of a child process, by the kernel."""
    command = [sys.executable, "-S", "-c", CHILD.format(seconds=seconds, then="os._exit(0)")]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, _, usage = os.wait4(child.pid, 0)
    child.returncode = 0
    return float(usage.ru_utime + usage.ru_stime)


def _short_ones_at_once(count: int) -> list[Row]:
    """Children of three spans at once on three threads, each of which begins and ends within a tick."""
    from e2s_tasks import span

    true: dict[int, float] = {}
    began = threading.Barrier(len(SHARES) + 1)

    def work(share: int) -> None:
        with span(f"at once {share}"):
            began.wait()
            own = time.thread_time()
            used = sum(_short(0.02 * share) for _ in range(count))
            true[share] = used + time.thread_time() - own

    with span("at once"):
        threads = [threading.Thread(target=work, args=(share,)) for share in SHARES]
        [thread.start() for thread in threads]
        began.wait()
        [thread.join() for thread in threads]
    given = {record.name: record.cpu_ns * 1e-9 for record in _spans("at once")}
    return [
        _row(f"{count} children of {20 * share} ms, of one of 3 spans at once", given[f"at once {share}"], true[share])
        for share in SHARES
    ]


def _given(name: str) -> float:
    return float(sum(record.cpu_ns for record in _spans(name))) * 1e-9


def _spans(name: str) -> list[Any]:
    from e2s_tasks.recorder import process_recorder

    process_recorder().flush()
    return list(run_of(name).spans)


if __name__ == "__main__":
    main(measure)
