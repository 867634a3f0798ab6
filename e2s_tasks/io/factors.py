"""Modelled energy of data movement: joules per gigabyte from a dated table, `factors.json`, with ranges and sources."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from e2s_tasks.core.energy import Energy, Provenance
from e2s_tasks.core.records import SourceRecord

Medium = Literal["storage", "network"]

BYTES_PER_GB = 1e9


@dataclass(frozen=True, slots=True)
class Factor:
    """Energy per gigabyte moved: a value with its range in `unit`, the year it stands for, and where it is from."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    year: int
    source: str

    def joules(self, size: float) -> float:
        """The modelled energy of moving `size` bytes, in joules."""
        return self.value * size / BYTES_PER_GB


@cache
def factors() -> dict[str, Factor]:
    """The factor of each medium: storage (local files) and network (remote file systems)."""
    table = json.loads(Path(__file__).with_name("factors.json").read_text(encoding="utf-8"))
    return {medium: Factor(**fields) for medium, fields in table["factors"].items()}


def movement(medium: Medium | None, size: int) -> Energy:
    """The modelled energy of moving `size` bytes over the medium; None (memory) is no movement."""
    return Energy(**{medium: factors()[medium].joules(size)}) if medium else Energy()


def movement_sources() -> list[SourceRecord]:
    """What modelled movement rests on, one source per medium; low and high are factors on the figure."""
    return [
        SourceRecord(
            component=medium,
            name=factor.name,
            provenance=Provenance.MODELLED,
            low=factor.low / factor.value,
            high=factor.high / factor.value,
            detail=f"{factor.value:g} {factor.unit} ({factor.year}): {factor.source}",
        )
        for medium, factor in factors().items()
    ]
