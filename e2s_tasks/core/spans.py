"""The door through which everything opens spans: a protocol, and the one recorder that serves it.

I/O lies below the recorder, so it asks here; `e2s_tasks/__init__.py` says which recorder answers.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from e2s_tasks.core.records import Kind, Status

File = list[Any]  # [path below the URI ("" for a single file), bytes, stamp: modification time in ns, or an ETag]
MOST_FILES = 10_000  # of a write or read of more, the list of its files is not kept


class Span(Protocol):
    """An open span: what its work moved, wrote and read is told to it. Never raises into the work it measures."""

    kind: Kind

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
        content_digest: str | None = None,
        written: list[File] | None = None,
    ) -> None:
        """Record a completed write of `uri`: a new version of that artifact.

        files: how many it consists of. written: those that this write made; None: not known, or all of it is new.
        """

    def read(self, uri: str, *, files: list[File] | None = None) -> None:
        """Record that this span read `uri`. files: those that it opened; None: not known, it may be any of them."""

    def note(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes (JSON values) to the span."""


class Block(Protocol):
    """What `with` takes and gives the open span for; whatever goes on inside is none of its business.

    Work in steps is instead a `start`, a `resume` and `suspend` around each step, and an `end`.
    """

    def __enter__(self) -> Span:
        """The span begins."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any, /) -> None:
        """The span ends."""

    def start(self) -> None:
        """The span begins, on no thread yet."""

    def resume(self) -> None:
        """The span's work runs on this thread from now on."""

    def suspend(self) -> None:
        """The span's work has paused, or ended."""

    def end(self, status: Status) -> None:
        """The span, suspended, is over."""


class SteppedSpan(Span, Block, Protocol):
    """A span whose work goes in steps, each on whatever thread calls for it."""


class Recorder(Protocol):
    """What opens spans."""

    def span(self, name: str, kind: Kind = Kind.SPAN, facts: Mapping[str, Any] = ...) -> SteppedSpan:
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


def _none() -> None:
    return None


finder: Callable[[], Span | None] = _none


def look_here(new: Callable[[], Span | None]) -> None:
    """Say who knows the span that the calling code runs in; called where spans are opened."""
    global finder  # noqa: PLW0603
    finder = new


def current() -> Span | None:
    """The span that the calling code runs in; None outside measured work. Starts no recorder."""
    return finder()


def status_of(error: BaseException | None) -> Status:
    """How a span ended, by the exception that left it."""
    if error is None or isinstance(error, GeneratorExit | StopIteration | StopAsyncIteration):
        return Status.COMPLETED
    loaded = sys.modules.get("asyncio.exceptions")  # without it, as while it is imported, nobody has raised its error
    if isinstance(error, (KeyboardInterrupt, getattr(loaded, "CancelledError", KeyboardInterrupt))):
        return Status.CANCELLED
    if isinstance(error, TimeoutError):
        return Status.TIMED_OUT
    return Status.FAILED if isinstance(error, Exception) else Status.CRASHED
