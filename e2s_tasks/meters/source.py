"""What an energy source is: a counter or a model, behind one small protocol."""

from typing import Protocol

from e2s_tasks.core.attribution import Reading
from e2s_tasks.core.records import SourceRecord


class Source(Protocol):
    """One source of energy figures for one component of the host."""

    @property
    def records(self) -> list[SourceRecord]:
        """What the source covers, its provenance and range: it stands in every summary."""

    def read(self) -> int | None:
        """The raw counter now (any unit); None is a gap. Called at each boundary: microseconds, never raises."""

    def reading(self, before: int | None, after: int | None, duration_s: float, busy_s: float) -> Reading:
        """The joules over a segment, from two raw counters, its duration, and the CPU seconds in it."""
