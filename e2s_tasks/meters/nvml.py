"""GPU energy from NVML: the card's own counter, or its power where it has none; each visible card of this process.

NVML does not know threads: a card's energy is shared by time over the work that was open. Where other processes use the
card too, this process answers for its part of the utilisation that NVML tells.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2s_tasks.core.attribution import Reading
from e2s_tasks.core.records import SourceRecord

ASK_AGAIN_NS = 1_000_000_000
POWER_RANGE = (0.8, 1.2)  # power between two readings may have been anything; ours, from its steps over a second
NOT_COVERED = "MIG is enabled: NVML tells no energy of its instances, so it is not covered"


class Share:
    """The fraction of a card's energy that this process answers for: by utilisation, asked once a second at most."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        self._asked_ns = 0
        self._last_seen_us = 0
        self._fraction = 1.0

    def fraction(self) -> float:
        """1.0 while no other process computes on the card, or where NVML does not tell."""
        now = time.monotonic_ns()
        if now - self._asked_ns >= ASK_AGAIN_NS:
            self._asked_ns = now
            try:
                self._fraction = self._ask()
            except Exception:  # noqa: BLE001 - not supported on this card or driver: what was known holds
                return self._fraction
        return self._fraction

    def others(self) -> int:
        """How many other processes compute on the card."""
        pids = {one.pid for one in self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)}
        return len(pids - {os.getpid()}) if os.getpid() in pids else max(0, len(pids) - 1)

    def _ask(self) -> float:
        others = self.others()
        if not others:
            return 1.0
        used: dict[int, int] = {}
        for sample in self._nvml.nvmlDeviceGetProcessUtilization(self._handle, self._last_seen_us):
            used[sample.pid] = used.get(sample.pid, 0) + sample.smUtil
            self._last_seen_us = max(self._last_seen_us, sample.timeStamp)
        total = sum(used.values())
        if not total or os.getpid() not in used:  # idle, or pids of another namespace: equal parts
            return 1 / (others + 1)
        return used[os.getpid()] / total


class GpuCounter:
    """The energy counter of one card (millijoules since the driver was loaded)."""

    def __init__(self, nvml: Any, handle: Any, name: str) -> None:
        self._nvml = nvml
        self._handle = handle
        self._share = Share(nvml, handle)
        self.records = [_record(self._share, name, "total energy counter of the device", (1.0, 1.0))]

    def read(self) -> int | None:
        """Millijoules since the driver was loaded; None where the card does not answer."""
        try:
            return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except self._nvml.NVMLError:
            return None

    def reading(self, before: int | None, after: int | None, duration_s: float, busy_s: float) -> Reading:  # noqa: ARG002
        """Joules over a segment."""
        if before is None or after is None or after < before:
            return Reading("gpu", None)
        joules = (after - before) / 1000
        return Reading("gpu", joules, joules, "gpu", self._share.fraction())


class GpuPower:
    """A card without an energy counter: its power, integrated from reading to reading (at boundaries and ticks)."""

    def __init__(self, nvml: Any, handle: Any, name: str) -> None:
        self._nvml = nvml
        self._handle = handle
        self._share = Share(nvml, handle)
        self._last: tuple[int, int] | None = None
        self._microjoules = 0.0
        self.records = [_record(self._share, name, "power, integrated between readings", POWER_RANGE)]

    def read(self) -> int | None:
        """Microjoules since the first reading, by the trapezoidal rule; None where the card does not answer."""
        now = time.monotonic_ns()
        try:
            milliwatts = int(self._nvml.nvmlDeviceGetPowerUsage(self._handle))
        except self._nvml.NVMLError:
            self._last = None
            return None
        if self._last is not None:
            then, before = self._last
            self._microjoules += (now - then) * 1e-6 * (before + milliwatts) / 2
        self._last = now, milliwatts
        return round(self._microjoules)

    def reading(self, before: int | None, after: int | None, duration_s: float, busy_s: float) -> Reading:  # noqa: ARG002
        """Joules over a segment."""
        if before is None or after is None:
            return Reading("gpu", None)
        joules = (after - before) / 1e6
        return Reading("gpu", joules, joules, "gpu", self._share.fraction())


def _record(share: Share, name: str, detail: str, span: tuple[float, float]) -> SourceRecord:
    try:
        others = share.others()
    except Exception:  # noqa: BLE001 - not told: taken as its only user
        others = 0
    if others:
        detail += f"; shared with {others} other process{'es' if others > 1 else ''} by utilisation"
        return SourceRecord("gpu", f"NVML {name}", "modelled", 0.5, 2.0, detail)
    provenance = "measured" if span == (1.0, 1.0) else "modelled"
    return SourceRecord("gpu", f"NVML {name}", provenance, *span, detail)


@dataclass(frozen=True, slots=True)
class _Card:
    index: int
    handle: Any
    name: str
    uuid: str


def has_nvidia_device() -> bool:
    """Whether the system shows an NVIDIA GPU (or cannot tell: then NVML is asked)."""
    if os.name != "posix":
        return True
    dev = Path("/dev")
    return (dev / "dxg").exists() or any(dev.glob("nvidia[0-9]*")) or any(dev.glob("nvidia-caps"))


def gpus(nvml: Any = None, visible: str | None = None) -> tuple[list[GpuCounter | GpuPower], list[SourceRecord]]:
    """A source for each card that this process may use, and a record for each reason why one is not covered.

    visible: the value of CUDA_VISIBLE_DEVICES; by default the environment's.
    """
    none = SourceRecord("gpu", "NVML", "missing", detail="no NVIDIA GPU on this host", absent=True)
    if nvml is None and not has_nvidia_device():
        return [], [none]  # loading NVML would take a third of the time that a first span may take
    try:
        if nvml is None:
            import pynvml

            nvml = pynvml
        nvml.nvmlInit()
        cards = [_card(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
    except Exception as error:  # noqa: BLE001 - whatever the driver's library throws, it is the reason
        if not has_nvidia_device():
            return [], [none]
        return [], [SourceRecord("gpu", "NVML", "missing", detail=f"NVML cannot be used: {error}")]
    if not cards:
        return [], [none]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
    chosen = cards if visible is None else list(_visible(cards, visible))
    sources: list[GpuCounter | GpuPower] = []
    problems = []
    for card in chosen:
        found = _source(nvml, card)
        if isinstance(found, SourceRecord):
            problems.append(found)
        else:
            sources.append(found)
    if "MIG-" in (visible or ""):
        problems.append(SourceRecord("gpu", "NVML", "missing", detail=NOT_COVERED))
    if not sources and not problems:
        detail = f"no GPU is visible to this process (CUDA_VISIBLE_DEVICES={visible!r})"
        problems.append(SourceRecord("gpu", "NVML", "missing", detail=detail, absent=True))
    return sources, problems


def _card(nvml: Any, index: int) -> _Card:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    return _Card(index, handle, _text(nvml.nvmlDeviceGetName(handle)), _text(nvml.nvmlDeviceGetUUID(handle)))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _visible(cards: list[_Card], visible: str) -> Iterator[_Card]:
    """The cards that CUDA shows, each once: by index or the start of a UUID, up to the first that there is not."""
    seen = set()
    for token in (token.strip() for token in visible.split(",")):
        if token.startswith("MIG-"):
            continue
        if token.isdigit():
            match = [card for card in cards if card.index == int(token)]
        else:
            match = [card for card in cards if token.startswith("GPU-") and card.uuid.startswith(token)]
        if len(match) != 1 or match[0].index in seen:
            return
        seen.add(match[0].index)
        yield match[0]


def _source(nvml: Any, card: _Card) -> GpuCounter | GpuPower | SourceRecord:
    name = f"{card.index} {card.name}"
    try:
        if nvml.nvmlDeviceGetMigMode(card.handle)[0] == 1:
            return SourceRecord("gpu", f"NVML {name}", "missing", detail=NOT_COVERED)
    except Exception:  # noqa: BLE001, S110 - a card that knows no MIG
        pass
    for source in (GpuCounter(nvml, card.handle, name), GpuPower(nvml, card.handle, name)):
        if source.read() is not None:
            return source
    return SourceRecord("gpu", f"NVML {name}", "missing", detail="the card tells neither energy nor power")
