"""What is written down about a read or write, kept away from the work itself."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from e2s_tasks.core.spans import Span
from e2s_tasks.io.factors import movement
from e2s_tasks.io.places import Place

log = logging.getLogger("e2s_tasks.io")


@contextmanager
def bookkeeping() -> Iterator[None]:
    """A block whose trouble is one warning in the process, never the caller's."""
    try:
        yield
    except Exception as trouble:  # noqa: BLE001 - the user's read or write has succeeded, whatever happens here
        _warn_once(f"{type(trouble).__name__}: {trouble}")


@cache
def _warn_once(trouble: str) -> None:
    log.warning("a read or write could not be recorded and leaves a gap: %s", trouble)


def note_read(span: Span, place: Place, *, size: int, rows: int | None = None) -> None:
    """Tell the span that it read `size` bytes from the place."""
    energy = movement(place.medium, size)
    span.moved(bytes_read=size, rows=rows, storage_j=energy.storage, network_j=energy.network)
    span.read(place.uri)


def note_write(
    span: Span,
    place: Place,
    *,
    size: int,
    format: str,  # noqa: A002
    files: int,
    rows: int | None = None,
    digest: str | None = None,
    moved: tuple[int, int] | None = None,
) -> None:
    """Tell the span that it wrote a version of the place, of `size` bytes in `files` files.

    moved: the bytes and rows that were written now, where they are not all of it.
    """
    bytes_written, rows_written = moved or (size, rows)
    energy = movement(place.medium, bytes_written)
    span.moved(bytes_written=bytes_written, rows=rows_written, storage_j=energy.storage, network_j=energy.network)
    span.wrote(place.uri, size=size, rows=rows, format=format, schema_digest=digest, files=files)
