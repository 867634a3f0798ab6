"""GPU energy by NVML: the cards' own energy counters, or their power integrated where a card has no counter."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from e2s_tasks.core.attribution import Reading
from e2s_tasks.core.records import SourceRecord
from e2s_tasks.meters.gpu_sharing import CardUsers
from e2s_tasks.meters.visible import visible_devices

MAX_POWER_W = 5000.0  # no card draws this
UPDATE_S = 0.2  # drivers update the counter each 20 to 100 ms, so that a short segment may hold an older update
# Integrated power against true energy: NVML's reading averages or samples a part of the time, within 5 % in a steady
# state and far worse for bursts (Yang, Adamek, Armour: "Part-time Power Measurements", arXiv 2312.02741).
POWER_RANGE = (0.7, 1.3)
# Utilisation counts the time in which a kernel ran, not how much of the card it used.
SHARED_RANGE = (0.5, 2.0)
MIG = "in MIG mode: NVML has no energy figure for a part of a card, so it is not covered"


class _Card:
    """One GPU: read once at each boundary; its energy goes to this process's work by time."""

    range = (1.0, 1.0)
    provenance = "measured"
    detail = "total energy counter of the device"

    def __init__(self, nvml: Any, handle: Any, name: str, users: CardUsers | None = None) -> None:
        self._nvml = nvml
        self._handle = handle
        self._users = users or CardUsers(nvml, handle)
        self._shared = self._said = False
        self.records = [SourceRecord("gpu", f"NVML {name}", self.provenance, *self.range, detail=self.detail)]

    def read(self) -> int | None:
        """One figure of the card; None where it does not answer. Never raises."""
        try:
            return int(self._ask())
        except Exception:  # noqa: BLE001 - whatever the driver's library throws is a gap
            return None

    def reading(self, before: int | None, after: int | None, duration_s: float, busy_s: float) -> Reading:  # noqa: ARG002
        """Joules over a segment, shared by time over the work that was open: NVML does not know threads."""
        joules = None if before is None or after is None else self._joules(before, after, duration_s)
        if joules is None or not 0 <= joules <= MAX_POWER_W * (duration_s + UPDATE_S):
            return Reading("gpu", None)
        part = self._users.part()
        self._shared |= part.shared
        # the record that says so was written when the process began; later, each reading has to tell
        estimated = (joules if part.shared else 0.0) if self._shared and not self._said else None
        return Reading("gpu", joules, joules, "gpu", part.fraction, own=part.own, estimated=estimated)

    def say_shared(self) -> None:
        """The card is shared from the beginning: its figure is a model, the card's energy split by utilisation."""
        self._said, record = True, self.records[0]
        record.provenance = "modelled"
        record.low, record.high = self.range[0] * SHARED_RANGE[0], self.range[1] * SHARED_RANGE[1]
        record.detail += "; shared with other processes, split by NVML's utilisation per process"

    def _ask(self) -> int:
        raise NotImplementedError

    def _joules(self, before: int, after: int, duration_s: float) -> float:
        raise NotImplementedError


class GpuCounter(_Card):
    """The energy counter of one GPU: millijoules since the driver was loaded; one that ran backwards was reset."""

    def _ask(self) -> int:
        return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    def _joules(self, before: int, after: int, duration_s: float) -> float:  # noqa: ARG002
        return (after - before) / 1000


class GpuPower(_Card):
    """A GPU without an energy counter: its power in milliwatts at each boundary and tick, by the trapezoid rule."""

    range = POWER_RANGE
    provenance = "modelled"
    detail = "no energy counter: power, integrated between readings at most a tick apart"

    def _ask(self) -> int:
        return int(self._nvml.nvmlDeviceGetPowerUsage(self._handle))

    def _joules(self, before: int, after: int, duration_s: float) -> float:
        return (before + after) / 2000 * duration_s


def gpus(
    nvml: Any = None, environ: Mapping[str, str] = os.environ, measured: Callable[[], set[int]] | None = None
) -> tuple[list[_Card], list[SourceRecord]]:
    """A source for each GPU that this process may use; and a record for what is not covered, with the reason.

    measured: the pids of all measured processes of the host, so that what a child with its own meter uses is its own.
    """
    try:
        if nvml is None:
            if not _may_have_a_gpu():  # importing pynvml alone takes 65 ms
                return [], [_absent("no NVIDIA GPU on this host")]
            import pynvml

            nvml = pynvml
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        uuids = [_text(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    except Exception as error:  # noqa: BLE001 - whatever the driver's library throws, it is the reason
        if not any(Path("/dev").glob("nvidia[0-9]*")):
            return [], [_absent("no NVIDIA GPU on this host")]
        return [], [SourceRecord("gpu", "NVML", "missing", detail=f"NVML cannot be used: {error}")]
    if not handles:
        return [], [_absent("no NVIDIA GPU on this host")]
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    chosen = visible_devices(visible, uuids)
    if not chosen:
        return [], [_absent(f"CUDA_VISIBLE_DEVICES={visible!r} shows this process no GPU")]
    found = [_card(nvml, handles[index], index, measured) for index in chosen]
    cards = [one for one in found if isinstance(one, _Card)]
    return cards, [one for one in found if isinstance(one, SourceRecord)]


def _card(nvml: Any, handle: Any, index: int, measured: Callable[[], set[int]] | None) -> _Card | SourceRecord:
    """The best source of a card, or the record that says why it has none."""
    name = f"{index} {_name(nvml, handle)}"
    if _in_mig_mode(nvml, handle):
        return SourceRecord("gpu", f"NVML {name}", "missing", detail=f"GPU {name} is {MIG}")
    users = CardUsers(nvml, handle, measured)
    for kind in (GpuCounter, GpuPower):
        card = kind(nvml, handle, name, users)
        if card.read() is not None:
            if users.part().shared:
                card.say_shared()
            return card
    return SourceRecord("gpu", f"NVML {name}", "missing", detail=f"GPU {name} tells neither its energy nor its power")


def _name(nvml: Any, handle: Any) -> str:
    try:
        return _text(nvml.nvmlDeviceGetName(handle))
    except nvml.NVMLError:
        return "unknown"


def _in_mig_mode(nvml: Any, handle: Any) -> bool:
    try:
        return int(nvml.nvmlDeviceGetMigMode(handle)[0]) == 1
    except (nvml.NVMLError, AttributeError):  # a card, or a driver, that does not know MIG
        return False


def _absent(why: str) -> SourceRecord:
    return SourceRecord("gpu", "NVML", "missing", detail=why, absent=True)


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _may_have_a_gpu() -> bool:
    """Whether an NVIDIA driver shows itself: device files, or those of WSL."""
    if not sys.platform.startswith("linux"):
        return True
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()
