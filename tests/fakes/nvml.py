"""NVML's functions as pynvml offers them, for cards that exist only here. No real card has been measured with it."""

from dataclasses import dataclass, field
from types import SimpleNamespace


@dataclass
class Card:
    """One GPU: its counters (None: the card does not have it), its processes {pid: per cent}, and what was asked."""

    energy_mj: int | None = 5_000
    power_mw: int | None = 100_000
    uuid: str = ""
    name: str | bytes = b"NVIDIA H200"
    mig: bool | None = None
    processes: dict[int, int] = field(default_factory=dict)
    dead: bool = False
    calls: list[str] = field(default_factory=list)


class FakeNvml:
    """A stand-in for the module pynvml: the same function names, results and error classes."""

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):  # noqa: N801, N818 - pynvml's name
        pass

    class NVMLError_NotFound(NVMLError):  # noqa: N801, N818
        pass

    class NVMLError_GpuIsLost(NVMLError):  # noqa: N801, N818
        pass

    class NVMLError_DriverNotLoaded(NVMLError):  # noqa: N801, N818
        pass

    def __init__(self, *cards: Card) -> None:
        self.cards = list(cards)
        self.time_us = 1_000_000
        for index, card in enumerate(self.cards):
            card.uuid = card.uuid or f"GPU-{index}{index}{index}{index}aaaa-0000-0000-0000-000000000000"

    def _told(self, handle: int, what: str, value: object) -> object:
        card = self.cards[handle]
        card.calls.append(what)
        if card.dead:
            raise self.NVMLError_GpuIsLost("GPU is lost")
        if value is None:
            raise self.NVMLError_NotSupported("Not Supported")
        return value

    def nvmlInit(self):
        if not self.cards:
            raise self.NVMLError_DriverNotLoaded("Driver Not Loaded")

    def nvmlDeviceGetCount(self):
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetName(self, handle):
        return self.cards[handle].name

    def nvmlDeviceGetUUID(self, handle):
        return self.cards[handle].uuid

    def nvmlDeviceGetMigMode(self, handle):
        mode = self.cards[handle].mig
        return self._told(handle, "mig", None if mode is None else [int(mode), int(mode)])

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        return self._told(handle, "energy", self.cards[handle].energy_mj)

    def nvmlDeviceGetPowerUsage(self, handle):
        return self._told(handle, "power", self.cards[handle].power_mw)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        pids = [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in self.cards[handle].processes]
        return self._told(handle, "processes", pids)

    def nvmlDeviceGetProcessUtilization(self, handle, last_seen):
        busy = {pid: share for pid, share in self.cards[handle].processes.items() if share}
        if not busy or last_seen >= self.time_us:
            raise self.NVMLError_NotFound("Not Found")
        samples = [
            SimpleNamespace(pid=pid, timeStamp=self.time_us, smUtil=share, memUtil=0, encUtil=0, decUtil=0)
            for pid, share in busy.items()
        ]
        return self._told(handle, "utilisation", samples)
