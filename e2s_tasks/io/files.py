"""Any other format: `with reading(path):` and `with writing(path):` around the user's own reading and writing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from e2s_tasks.core.records import Kind
from e2s_tasks.core.spans import recorder
from e2s_tasks.io.bookkeeping import bookkeeping, note_read, note_write
from e2s_tasks.io.inventory import FoundFile, entries, inventory
from e2s_tasks.io.places import PathLike, Place, format_of, name_of, place_of, uri_of

P = TypeVar("P", bound=PathLike)


@contextmanager
def reading(
    path: P, *, rows: int | None = None, filesystem: Any = None, storage_options: dict[str, Any] | None = None
) -> Iterator[P]:
    """The path, inside a READ span that records its whole size (bytes) and files once the block has succeeded.

    For inputs that are read by other means than `read_parquet`, for example CSV::

        with reading("planes.csv") as path:
            planes = pandas.read_csv(path)
    """
    with recorder().span(f"read {_name(path)}", Kind.READ) as span:
        yield path
        with bookkeeping():
            place = place_of(path, filesystem, storage_options)
            files = inventory(place)
            note_read(span, place, size=sum(file.size for file in files), rows=rows, files=entries(files))


@contextmanager
def writing(
    path: P, *, rows: int | None = None, filesystem: Any = None, storage_options: dict[str, Any] | None = None
) -> Iterator[P]:
    """The path, inside a WRITE span that records a new version once the block has succeeded; none if it failed.

    What a block that fails has done to the file stays.
    For products that are written by other means than `write_parquet`, for example a model::

        with writing("model.skops") as path:
            skops.io.dump(model, path)

    Of a directory, the files that the block wrote are told from those that it left as they were by size and time.
    """
    with recorder().span(f"write {_name(path)}", Kind.WRITE) as span:
        before: set[FoundFile] = set()
        with suppress(Exception):  # it is looked at again, with a warning, when the block is over
            before = set(_in_directory(place_of(path, filesystem, storage_options)))
        begun = int(time.time()) * 1_000_000_000  # stores tell the second
        yield path
        with bookkeeping():
            place = place_of(path, filesystem, storage_options)
            files = inventory(place)
            new = {file.path for file in files if file not in before or (not place.local and not _older(file, begun))}
            note_write(span, place, files=files, new=new, format=format_of(place), rows=rows)


def _in_directory(place: Place) -> list[FoundFile]:
    return [file for file in inventory(place) if file.path]


def _older(file: FoundFile, begun: int) -> bool:
    return not isinstance(file.stamp, int) or file.stamp < begun


def _name(path: PathLike) -> str:
    return name_of(uri_of(path))
