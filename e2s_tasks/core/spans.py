"""The door through which everything opens spans: a protocol, and the one recorder that serves it.

I/O lies below the recorder, so it asks here; `e2s_tasks/__init__.py` says which recorder answers.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from e2s_tasks.core.records import Kind


class Span(Protocol):
    """An open span: what its work moved, wrote and read is told to it. Never raises into the work it measures."""

    @property
    def id(self) -> str:
        """The span's id."""

    def moved(
        self,
        *,
        bytes_read: int = 0,
        bytes_written: int = 0,
        rows: int | None = None,
        storage_j: float | None = None,
        network_j: float | None = None,
    ) -> None:
        """Add bytes, rows and modelled movement (joules) to the span."""

    def wrote(
        self,
        uri: str,
        *,
        size: int | None,
        rows: int | None,
        format: str,  # noqa: A002 - the field's own word
        schema_digest: str | None = None,
        files: int = 1,
    ) -> None:
        """Record a completed write of `uri`: a new version of that artifact."""

    def read(self, uri: str) -> None:
        """Record that this span read `uri`."""

    def note(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes (JSON values) to the span."""


class Block(Protocol):
    """What `with` takes and gives the open span for; whatever goes on inside is none of its business."""

    def __enter__(self) -> Span:
        """The span begins."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any, /) -> None:
        """The span ends."""


class Recorder(Protocol):
    """What opens spans."""

    def span(self, name: str, kind: Kind = Kind.SPAN, facts: Mapping[str, Any] = ...) -> "Block":
        """A span around a block, on this thread or in this coroutine. facts: further fields of its SpanRecord."""


def _nobody() -> Recorder:
    raise RuntimeError("no recorder: import e2s_tasks before its parts")


factory: Callable[[], Recorder] = _nobody


def use(new: Callable[[], Recorder]) -> None:
    """Say which recorder serves this process; called where the package is put together."""
    global factory  # noqa: PLW0603
    factory = new


def recorder() -> Recorder:
    """The recorder of this process."""
    return factory()
