"""A machine whose power is known: P(t) = 40 W + 60 W x m(t) x busy CPUs, integrated 500 times a second by a process.

What it has drawn can be read exactly at any moment (`energy_j`), and it moves the counters of a tree like RAPL's, which
wrap. busy is the CPU time of the host, or of chosen processes alone, whose clocks have no steps. m(t) is 1, or drifts
between 1 and 1.5.
"""

import mmap
import multiprocessing
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2s_tasks.core.attribution import Reading
from e2s_tasks.core.records import SourceRecord
from e2s_tasks.meters.clocks import host_busy_clock
from e2s_tasks.meters.process_tree import process_cpu_ns

IDLE_W = 40.0
BUSY_W = 60.0
PERIOD_S = 5.0
STATE = struct.Struct("<qdqdq")  # number, time (s), busy ns, joules, number again: torn if they differ
STEP_S = 0.002
RANGE_UJ = 400_000_000  # the counter wraps every few seconds


@dataclass(frozen=True)
class Busy:
    """CPU time in ns: of the host, or of the processes whose ids are given."""

    pids: tuple[int, ...] = ()

    def reader(self) -> Callable[[], int]:
        """A function that reads it."""
        if not self.pids:
            host = host_busy_clock()
            return lambda: host.read() or 0
        return lambda: sum(process_cpu_ns(pid) or 0 for pid in self.pids)


class ExactBusy:
    """A meter's busy clock over the chosen processes: nanoseconds, no steps."""

    coarse = False

    def __init__(self, busy: Busy) -> None:
        self.read = busy.reader()


class Machine:
    """The machine as a source of a meter, and as the truth. drift: whether m(t) goes from 1 to 1.5 and back."""

    def __init__(self, path: Path, busy: Busy, *, drift: bool, flowing: Any = None) -> None:
        self._flowing = flowing
        with path.open("r+b") as file:
            self._state = mmap.mmap(file.fileno(), STATE.size)
        self._busy = busy.reader()
        self._drift = drift
        self.records = [
            SourceRecord("cpu", "known machine", "measured"),
            SourceRecord("static", "known machine", "measured"),
        ]

    def factor(self, now_s: float) -> float:
        """m(t) at a moment of the monotonic clock."""
        if not self._drift:
            return 1.0
        phase = now_s / PERIOD_S % 1.0
        return 1.0 + (phase if phase < 0.5 else 1.0 - phase)

    def flow(self, *, on: bool) -> None:
        """Switched off, it draws nothing, so that what was drawn between two moments is known to the microjoule."""
        if on:
            self._flowing.set()
        else:
            self._flowing.clear()
            time.sleep(10 * STEP_S)

    def counter_uj(self) -> int:
        """Microjoules that its counter has moved by, the wraps undone."""
        return round(self._last()[2] * 1e6)

    def _last(self) -> tuple[float, int, float]:
        while True:
            number, at, busy_ns, joules, again = STATE.unpack_from(self._state, 0)
            if number == again:
                return at, busy_ns, joules

    def energy_j(self) -> float:
        """Joules drawn until now, while it is on."""
        at, busy_ns, joules = self._last()
        busy, now = self._busy(), time.monotonic()
        used_s = max(0, busy - busy_ns) * 1e-9
        return float(joules + IDLE_W * (now - at) + BUSY_W * self.factor((now + at) / 2) * used_s)

    def read(self) -> int | None:
        """See Source: microjoules."""
        return round(self.energy_j() * 1e6)

    def reading(self, before: int | None, after: int | None, duration_s: float, busy_s: float) -> Reading:  # noqa: ARG002
        """See Source."""
        if before is None or after is None:
            return Reading("cpu", None)
        return Reading("cpu", (after - before) / 1e6, IDLE_W * duration_s)


@contextmanager
def machine(folder: Path, busy: Busy | None = None, *, drift: bool = False, tree: bool = False) -> Iterator[Machine]:
    """A running machine; with `tree`, the counters under folder/powercap follow it."""
    busy = busy or Busy()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "machine"
    path.write_bytes(STATE.pack(0, time.monotonic(), busy.reader()(), 0.0, 0))
    counter = _plant(folder / "powercap") if tree else None
    context = multiprocessing.get_context("spawn")
    flowing = context.Event()
    flowing.set()
    process = context.Process(target=_integrate, args=(path, busy, drift, counter, flowing), daemon=True)
    process.start()
    made = Machine(path, busy, drift=drift, flowing=flowing)
    while not STATE.unpack_from(made._state, 0)[0]:  # noqa: SLF001 - the process has begun
        time.sleep(0.01)
    try:
        yield made
    finally:
        process.terminate()
        process.join()


def _plant(root: Path) -> Path:
    from tests.fakes.powercap import Powercap

    if not root.exists():
        Powercap(root)
    package = root / "intel-rapl:0"
    (package / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    return package / "energy_uj"


def _integrate(path: Path, busy: Busy, drift: bool, counter: Path | None, flowing: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(PermissionError):
        os.nice(-15)  # a counter of real hardware does not wait for a CPU
    made = Machine(path, busy, drift=drift)
    file = os.open(counter, os.O_WRONLY) if counter else None
    read = busy.reader()
    number, at, joules = 0, time.monotonic(), 0.0
    busy_ns = read()
    while True:
        time.sleep(STEP_S)
        used, now = read(), time.monotonic()
        if flowing.is_set():
            joules += IDLE_W * (now - at) + BUSY_W * made.factor((now + at) / 2) * (used - busy_ns) * 1e-9
        number, at, busy_ns = number + 1, now, used
        STATE.pack_into(made._state, 0, number, at, busy_ns, joules, number)  # noqa: SLF001
        if file is not None:
            os.pwrite(file, b"%020d\n" % (round(joules * 1e6) % RANGE_UJ), 0)
