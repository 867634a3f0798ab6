"""What an energy source is: a counter or a model, behind one small protocol."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from e2s_tasks import users_code
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


@runtime_checkable
class LateSource(Protocol):
    """A source whose figures come late: a segment is best settled once it is ready."""

    def ready(self, mark: int | None) -> bool:
        """Whether what was counted up to a raw counter is known, or has been waited for long enough."""


def ready(sources: Sequence[Source], after: Sequence[int | None]) -> bool:
    """Whether every source can tell the joules of a segment that ended with these raw counters.

    One that is settled before is estimated, and put right in later segments.
    """
    pairs = zip(sources, after, strict=True)
    return all(source.ready(mark) for source, mark in pairs if isinstance(source, LateSource))


def warn(message: str) -> None:
    """A warning, even where warnings are errors: metering never fails the work."""
    users_code.warn(f"e2s: {message}", UserWarning)
