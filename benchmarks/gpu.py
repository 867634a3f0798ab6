"""NVML on a host with a GPU: counter against integral of power, two processes that share a card, cost of a boundary.

Run it with `.venv/bin/python benchmarks/gpu.py`. Without a GPU it says so and ends. The load is a matrix product by
torch or cupy, whichever is installed; without either the card is measured idle.
"""

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

from e2s_tasks.meters.gpu_sharing import CardUsers
from e2s_tasks.meters.nvml import GpuCounter, gpus

SECONDS = 20.0
BOUNDARIES = 2_000
NO_GPU = 2


def main() -> int:
    """Print a table; the exit code is 2 where there is no GPU."""
    if "--load" in sys.argv:
        _load(float(sys.argv[-1]))
        return 0
    if "--share" in sys.argv:
        _share(float(sys.argv[-1]))
        return 0
    cards, without = gpus()
    for record in without:
        print(f"not covered: {record.detail}")
    counters = [card for card in cards if isinstance(card, GpuCounter)]
    if not counters:
        print("No GPU with an energy counter can be used here: nothing was measured.")
        return NO_GPU
    import pynvml

    card = counters[0]
    handle = card._handle  # noqa: SLF001 - the benchmark looks behind the source
    print(f"{card.records[0].name}; load: {_library() or 'none (torch or cupy is not installed)'}")
    for name, seconds in (("idle", 0.0), ("under load", SECONDS)):
        _with_load(seconds, partial(counter_against_power, card, pynvml, handle, name))
    boundaries(cards)
    updates(card)
    _with_load(0.0, lambda: two_processes(card))
    return 0


def counter_against_power(card: GpuCounter, nvml: Any, handle: Any, name: str) -> None:
    """The energy counter's joules beside the trapezoid integral of power, read each 10 ms and at ticks of 1 s."""
    before, times, watts = card.read() or 0, [time.perf_counter()], [nvml.nvmlDeviceGetPowerUsage(handle) / 1000]
    while times[-1] - times[0] < SECONDS:
        time.sleep(0.01)
        times.append(time.perf_counter())
        watts.append(nvml.nvmlDeviceGetPowerUsage(handle) / 1000)
    counted = ((card.read() or 0) - before) / 1000
    fine = _integral(times, watts)
    step = max(1, round(len(times) / SECONDS))
    coarse = _integral(times[::step], watts[::step]) * (times[-1] - times[0]) / (times[::step][-1] - times[0])
    print(f"{name}: counter {counted:.1f} J; power each 10 ms {fine:.1f} J ({fine / counted:.3f} x counter); ", end="")
    print(f"power each second {coarse:.1f} J ({coarse / counted:.3f} x counter)")


def boundaries(cards: list[Any]) -> None:
    """What reading every visible card once costs, alone and beside eight busy threads."""
    alone = _times(lambda: [card.read() for card in cards])
    stop = threading.Event()
    threads = [threading.Thread(target=_spin, args=(stop,), daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        busy = _times(lambda: [card.read() for card in cards], 200)
    finally:
        stop.set()
    for name, found in (("alone", alone), ("beside 8 busy threads", busy)):
        p99 = sorted(found)[int(len(found) * 0.99)]
        print(f"a boundary's reading of {len(cards)} card(s), {name}: ", end="")
        print(f"median {statistics.median(found) * 1e6:.0f}, p99 {p99 * 1e6:.0f} microseconds")


def updates(card: GpuCounter) -> None:
    """How often the driver updates the counter."""
    changes, shown, end = [], card.read(), time.perf_counter() + 5
    while time.perf_counter() < end:
        now = card.read()
        if now != shown:
            shown = now
            changes.append(time.perf_counter())
    gaps = [after - before for before, after in pairwise(changes)]
    print(
        f"the counter moves each {statistics.median(gaps) * 1e3:.0f} ms (median)"
        if gaps
        else "the counter stands still"
    )


def two_processes(card: GpuCounter) -> None:
    """Two processes at work on the card: the part that each books, and their sum (1.00 is the card once)."""
    if _library() is None:
        print("two processes on one card: not measured, there is nothing to load it with")
        return
    command = [sys.executable, __file__, "--share", str(SECONDS)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    before = card.read() or 0
    parts = [float(process.communicate()[0].split()[-1]) for process in running]
    counted = ((card.read() or 0) - before) / 1000
    terms = " + ".join(f"{part:.2f}" for part in parts)
    print(f"two processes on one card: {terms} = {sum(parts):.2f} of {counted:.0f} J")


def _share(seconds: float) -> None:
    """Load the card, and print the mean part of it that this process would book."""
    import pynvml

    pynvml.nvmlInit()
    users = CardUsers(pynvml, pynvml.nvmlDeviceGetHandleByIndex(0))
    load = threading.Thread(target=_load, args=(seconds,))
    load.start()
    time.sleep(seconds / 2)  # both are at work from here on
    parts = []
    for _ in range(round(seconds / 2) - 2):
        time.sleep(1)
        parts.append(users.part().fraction)
    load.join()
    print(statistics.mean(parts))


def _with_load(seconds: float, measure: Callable[[], None]) -> None:
    """Measure while another process loads the card (0: none)."""
    if not seconds or _library() is None:
        measure()
        return
    load = subprocess.Popen([sys.executable, __file__, "--load", str(seconds + 15)])
    try:
        time.sleep(10)  # the library loads, the card warms up
        measure()
    finally:
        load.terminate()
        load.wait()


def _load(seconds: float) -> None:
    """Matrix products on the first visible card."""
    end = time.monotonic() + seconds
    if _library() == "torch":
        import torch

        matrix = torch.rand(4096, 4096, device="cuda")
        while time.monotonic() < end:
            matrix = torch.tanh(matrix @ matrix)
            torch.cuda.synchronize()
    else:
        import cupy

        matrix = cupy.random.rand(4096, 4096, dtype=cupy.float32)
        while time.monotonic() < end:
            matrix = cupy.tanh(matrix @ matrix)
            cupy.cuda.Device().synchronize()


def _library() -> str | None:
    from importlib.util import find_spec

    return next((name for name in ("torch", "cupy") if find_spec(name)), None)


def _times(call: Callable[[], object], repeats: int = BOUNDARIES) -> list[float]:
    found = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return found


def _spin(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(100))


def _integral(times: list[float], watts: list[float]) -> float:
    pairs = zip(times, times[1:], watts, watts[1:], strict=False)
    return sum((later - earlier) * (one + other) / 2 for earlier, later, one, other in pairs)


if __name__ == "__main__":
    sys.exit(main())
