"""GPU energy from NVML's own counters (millijoules since the driver was loaded)."""

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


def gpus(nvml: Any = None) -> tuple[list[GpuCounter], SourceRecord | None]:
    """A counter for each GPU; and, where there is none, the record that says why."""
    try:
        if nvml is None:
            import pynvml

            nvml = pynvml
        nvml.nvmlInit()
    except Exception as error:  # noqa: BLE001 - whatever the driver's library throws, it is the reason
        absent = not any(Path("/dev").glob("nvidia[0-9]*"))
        detail = "no NVIDIA GPU on this host" if absent else f"NVML cannot be used: {error}"
        return [], SourceRecord("gpu", "NVML", "missing", detail=detail, absent=absent)
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
    detail = f"no energy counter on {', '.join(refused)}" if refused else "no NVIDIA GPU on this host"
    return [], SourceRecord("gpu", "NVML", "missing", detail=detail, absent=not refused)
