"""Who used which joules of a segment: the split that conserves.

A segment is a stretch of time over which the set of open spans was (nearly) constant. Each source counted joules over
it. Dynamic energy goes to spans by CPU time over max(host busy, own total); what other programs used is `other`.
Background energy (idle power) goes to the holders of the segment by their time in it. What nobody can be given is
`idle`. Spans + other + idle = counted, to float rounding, for every segment (law 1).
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class Reading:
    """What one source counted over a segment, in joules; None is a gap.

    background: the part (<= joules) that does not depend on activity; it is booked under `background_to`.
    attributed: the fraction of the background that measured work answers for (1.0 under the policy `dedicated`).
    own: the background belongs to this process's work alone, whatever other processes answer for (a GPU of its own).
    estimated: joules that rest on no sample, less those of earlier readings that samples have put right by now; None
    for a source that never estimates.
    """

    component: str
    joules: float | None
    background: float = 0.0
    background_to: str = "static"
    attributed: float = 1.0
    own: bool = False
    estimated: float | None = None


@dataclass(slots=True)
class Segment(Generic[Key]):
    """A segment's facts. cpu_s: own CPU seconds of each span.

    holders: seconds for which each answers for idle power; where they sum to less than the segment's duration, work of
    other processes answered for the rest.
    """

    duration_s: float
    busy_s: float
    cpu_s: Mapping[Key, float]
    holders: Mapping[Key, float]
    readings: list[Reading]


@dataclass(slots=True)
class Split(Generic[Key]):
    """The joules of a segment: by span and component, the other programs', and what nobody is given."""

    spans: dict[Key, dict[str, float]] = field(default_factory=dict)
    gaps: set[str] = field(default_factory=set)
    other_j: float = 0.0
    idle_j: float = 0.0

    def add(self, key: Key, component: str, joules: float) -> None:
        """Book joules of a component on a span."""
        booked = self.spans.setdefault(key, {})
        booked[component] = booked.get(component, 0.0) + joules

    @property
    def total_j(self) -> float:
        """All joules of the split: equal to what the sources counted."""
        booked = sum(joules for components in self.spans.values() for joules in components.values())
        return booked + self.other_j + self.idle_j


def split(segment: Segment[Key]) -> Split[Key]:
    """The joules of each span, of other programs and of nobody, for one segment."""
    result: Split[Key] = Split()
    for reading in segment.readings:
        if reading.joules is None:
            result.gaps |= {reading.component, "static"} if reading.component == "cpu" else {reading.component}
            continue  # idle power is a part of the CPU's figure: it is missing with it
        background = min(max(reading.background, 0.0), reading.joules)
        _share_background(segment, reading, background, result)
        _share_dynamic(segment, reading.component, reading.joules - background, result)
    return result


def _share_background(segment: Segment[Key], reading: Reading, joules: float, result: Split[Key]) -> None:
    held = sum(segment.holders.values())
    here = min(1.0, held / segment.duration_s) if segment.duration_s > 0 and not reading.own else float(held > 0)
    attributed = joules * reading.attributed * here
    result.idle_j += joules - attributed
    if attributed:
        for key, seconds in segment.holders.items():
            result.add(key, reading.background_to, attributed * seconds / held)


def _share_dynamic(segment: Segment[Key], component: str, joules: float, result: Split[Key]) -> None:
    own = sum(segment.cpu_s.values())
    busy = max(segment.busy_s, own)
    if busy <= 0:
        result.idle_j += joules
        return
    for key, seconds in segment.cpu_s.items():
        result.add(key, component, joules * seconds / busy)
    result.other_j += joules * (busy - own) / busy
