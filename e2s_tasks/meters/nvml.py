"""GPU energy from NVML's own counters (millijoules since the driver was loaded)."""

import os
from pathlib import Path
from typing import Any

from e2s_tasks.core.attribution import Reading
from e2s_tasks.core.records import SourceRecord


class GpuCounter:
    """The energy counter of one GPU; with one measured process on the device, all of its energy."""

    def __init__(self, nvml: Any, handle: Any, name: str) -> None:
        self._nvml = nvml
        self._handle = handle
        self.records = [SourceRecord("gpu", f"NVML {name}", "measured", detail="total energy counter of the device")]

    def read(self) -> int | None:
        """Millijoules since the driver was loaded; None where the card does not answer."""
        try:
            return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except self._nvml.NVMLError:
            return None

    def reading(self, before: int | None, after: int | None, duration_s: float, busy_s: float) -> Reading:  # noqa: ARG002
        """Joules over a segment, shared by time over the work that was open: NVML does not know threads."""
        if before is None or after is None or after < before:
            return Reading("gpu", None)
        joules = (after - before) / 1000
        return Reading("gpu", joules, joules, "gpu")


def has_nvidia_device() -> bool:
    """Whether the system shows an NVIDIA GPU (or cannot tell: then NVML is asked)."""
    if os.name != "posix":
        return True
    dev = Path("/dev")
    return (dev / "dxg").exists() or any(dev.glob("nvidia[0-9]*")) or any(dev.glob("nvidia-caps"))


def gpus(nvml: Any = None) -> tuple[list[GpuCounter], SourceRecord | None]:
    """A counter for each GPU; and, where there is none, the record that says why."""
    absent = SourceRecord("gpu", "NVML", "missing", detail="no NVIDIA GPU on this host", absent=True)
    if nvml is None and not has_nvidia_device():
        return [], absent  # loading NVML would take a third of the time that a first span may take
    try:
        if nvml is None:
            import pynvml

            nvml = pynvml
        nvml.nvmlInit()
    except Exception as error:  # noqa: BLE001 - whatever the driver's library throws, it is the reason
        if not has_nvidia_device():
            return [], absent
        return [], SourceRecord("gpu", "NVML", "missing", detail=f"NVML cannot be used: {error}")
    counters = []
    refused = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        name = nvml.nvmlDeviceGetName(handle)
        counter = GpuCounter(nvml, handle, f"{index} {name.decode() if isinstance(name, bytes) else name}")
        if counter.read() is None:
            refused.append(str(name))
        else:
            counters.append(counter)
    if counters:
        return counters, None
    if not refused:
        return [], absent
    return [], SourceRecord("gpu", "NVML", "missing", detail=f"no energy counter on {', '.join(refused)}")
