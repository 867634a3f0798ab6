"""Which part of a GPU's energy is this process's: all of it alone, a part by NVML's utilisation with others."""

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

LOOK_EVERY_S = 0.9
# The kernel's first pid namespace, PROC_PID_INIT_INO in include/linux/proc_ns.h: NVML gives pids of this one.
FIRST_PID_NAMESPACE = "pid:[4026531836]"


class Part(NamedTuple):
    """The fraction of a card's energy that is this process's.

    own: it belongs to this process alone; else, on a card that nobody uses or whose users cannot be told, it is shared
    with the other measured processes as idle power is. shared: others use the card as well, so that it is a model.
    """

    fraction: float = 1.0
    own: bool = False
    shared: bool = False


class CardUsers:
    """The processes on one card. measured: the pids of all processes of this host that have a meter."""

    def __init__(self, nvml: Any, handle: Any, measured: Callable[[], set[int]] | None = None) -> None:
        self._nvml = nvml
        self._handle = handle
        self._measured = measured or set
        self._looked_s = float("-inf")
        self._seen_us = 0
        self._part = Part()

    def part(self) -> Part:
        """What this process answers for, asked of the driver at most once a tick. Never raises."""
        now = time.monotonic()
        if now - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now
            try:
                self._part = self._look()
            except Exception:  # noqa: BLE001 - a driver that does not tell the card's users leaves them untold
                self._part = Part()
        return self._part

    def _look(self) -> Part:
        pids = {int(one.pid) for one in self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)}
        if not pids:
            return Part()
        if not _sees_every_pid():
            return Part(shared=len(pids) > 1)
        mine = self._mine(pids)
        if mine == pids:
            return Part(own=True)
        if not mine:
            return Part(0.0, own=True)
        weights = self._utilisation()
        total = sum(weights.get(pid, 0) for pid in pids)
        own = sum(weights.get(pid, 0) for pid in mine)
        fraction = own / total if total else len(mine) / len(pids)
        return Part(fraction, own=True, shared=True)

    def _utilisation(self) -> dict[int, int]:
        """Per cent of the card's processors by pid, summed over the driver's samples since the last question."""
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(self._handle, self._seen_us)
        except self._nvml.NVMLError:  # no new samples, or a card that takes none
            return {}
        weights: dict[int, int] = {}
        for sample in samples:
            self._seen_us = max(self._seen_us, int(sample.timeStamp))
            weights[int(sample.pid)] = weights.get(int(sample.pid), 0) + int(sample.smUtil)
        return weights

    def _mine(self, pids: Iterable[int]) -> set[int]:
        """The pids that are this process, or children of it that have no meter of their own."""
        own, others = os.getpid(), self._measured() - {os.getpid()}
        return {pid for pid in pids if _descends(pid, own, others)}


def _descends(pid: int, own: int, others: set[int]) -> bool:
    while pid > 1 and pid not in others:
        if pid == own:
            return True
        pid = _parent(pid)
    return False


def _parent(pid: int) -> int:
    """The parent of a process; 0 where it does not run (see proc(5))."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(line.rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _sees_every_pid() -> bool:
    """Whether this process's pids are those that NVML gives: not so inside most containers."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == FIRST_PID_NAMESPACE
    except OSError:
        return True
