"""What is written down about a read or write, kept away from the work itself."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from e2s_tasks.core.records import Status
from e2s_tasks.core.spans import File, Span, SteppedSpan, status_of
from e2s_tasks.io.factors import movement
from e2s_tasks.io.inventory import FoundFile, content_digest, entries
from e2s_tasks.io.places import Place

log = logging.getLogger("e2s_tasks.io")


@contextmanager
def bookkeeping() -> Iterator[None]:
    """A block whose trouble is one warning in the process, never the caller's."""
    try:
        yield
    except Exception as trouble:  # noqa: BLE001 - the user's read or write has succeeded, whatever happens here
        _warn_once(f"{type(trouble).__name__}: {trouble}")


@contextmanager
def in_one_step(span: SteppedSpan) -> Iterator[None]:
    """A block that is the span's work, and may pause the span in the middle."""
    span.start()
    span.resume()
    try:
        yield
    except BaseException as error:
        span.suspend()
        span.end(status_of(error))
        raise
    span.suspend()
    span.end(Status.COMPLETED)


@cache
def _warn_once(trouble: str) -> None:
    log.warning(
        "a read or write could not be recorded, so that its artifact and bytes are missing from the run: %s", trouble
    )


def note_read(span: Span, place: Place, *, size: int, rows: int | None = None, files: list[File] | None = None) -> None:
    """Tell the span that it read `size` bytes from the place. files: those that it opened, None where not known."""
    energy = movement(place.medium, size)
    span.moved(bytes_read=size, rows=rows, storage_j=energy.storage, network_j=energy.network)
    span.read(place.uri, files=files)


def note_write(
    span: Span,
    place: Place,
    *,
    files: list[FoundFile],
    format: str,  # noqa: A002
    new: set[str] | None = None,
    rows: int | None = None,
    rows_written: int | None = None,
    digest: str | None = None,
    bytes_written: int | None = None,
) -> None:
    """Tell the span that it wrote a version of the place.

    files: all that the version consists of. new: the paths of those that were written now, None for all; what is kept
    beside them goes into the version, so that it is read. rows: of the version. bytes_written, rows_written: of what
    was written now, where they are not the files' own.
    """
    made = [file for file in files if new is None or file.path in new]
    kept = [file for file in files if new is not None and file.path not in new]
    size = sum(file.size for file in made) if bytes_written is None else bytes_written
    energy = movement(place.medium, size)
    span.moved(
        bytes_written=size,
        rows=rows if rows_written is None else rows_written,
        storage_j=energy.storage,
        network_j=energy.network,
    )
    if kept:
        span.read(place.uri, files=entries(kept))
    span.wrote(
        place.uri,
        size=sum(file.size for file in files),
        rows=rows,
        format=format,
        schema_digest=digest,
        files=len(files),
        content_digest=content_digest(place, files),
        written=entries(made),
    )
