"""NVML's functions, for hosts without a card."""

import os
from types import SimpleNamespace


class FakeNvml:
    """Cards with an energy counter (millijoules; None: not supported) and a power (milliwatts; None: not supported)."""

    class NVMLError(Exception):
        pass

    def __init__(self, *millijoules: int | None, milliwatts: int | None = None, mig: bool = False) -> None:
        self.millijoules = list(millijoules)
        self.milliwatts = milliwatts
        self.mig = mig
        self.used: dict[int, int] = {}  # pid -> percent of the card

    def nvmlInit(self):
        if not self.millijoules:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self):
        return len(self.millijoules)

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetName(self, handle):
        return b"NVIDIA H200"

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{handle}aaa-bbbb"

    def nvmlDeviceGetMigMode(self, handle):
        if not self.mig:
            raise self.NVMLError("Not Supported")
        return [1, 1]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        return self._known(self.millijoules[handle])

    def nvmlDeviceGetPowerUsage(self, handle):
        return self._known(self.milliwatts)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(pid=pid) for pid in self.used or [os.getpid()]]

    def nvmlDeviceGetProcessUtilization(self, handle, last_seen):
        return [SimpleNamespace(pid=pid, smUtil=used, timeStamp=last_seen + 1) for pid, used in self.used.items()]

    def _known(self, value):
        if value is None:
            raise self.NVMLError("Not Supported")
        return value
