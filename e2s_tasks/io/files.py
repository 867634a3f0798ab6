"""Any other format: `with reading(path):` and `with writing(path):` around the user's own reading and writing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from e2s_tasks.core.records import Kind
from e2s_tasks.core.spans import recorder
from e2s_tasks.io.bookkeeping import bookkeeping, note_read, note_write
from e2s_tasks.io.places import PathLike, Place, place_of

P = TypeVar("P", bound=PathLike)


@contextmanager
def reading(path: P, *, rows: int | None = None, filesystem: Any = None) -> Iterator[P]:
    """The path, inside a READ span that records its whole size (bytes) once the block has succeeded.

    For inputs that are read by other means than `read_parquet`, for example CSV::

        with reading("planes.csv") as path:
            planes = pandas.read_csv(path)
    """
    with recorder().span(f"read {_name(path)}", Kind.READ) as span:
        yield path
        with bookkeeping():
            place = place_of(path, filesystem)
            size, _ = contents(place)
            note_read(span, place, size=size, rows=rows)


@contextmanager
def writing(path: P, *, rows: int | None = None, filesystem: Any = None) -> Iterator[P]:
    """The path, inside a WRITE span that records a new version once the block has succeeded; none if it failed.

    For products that are written by other means than `write_parquet`, for example a model::

        with writing("model.skops") as path:
            skops.io.dump(model, path)
    """
    with recorder().span(f"write {_name(path)}", Kind.WRITE) as span:
        yield path
        with bookkeeping():
            place = place_of(path, filesystem)
            size, files = contents(place)
            note_write(span, place, size=size, format=_format(place), files=files, rows=rows)


def contents(place: Place) -> tuple[int, int]:
    """The size in bytes and the number of files of a file, or of everything below a directory.

    Raises:
        FileNotFoundError: there is nothing.
    """
    from pyarrow.fs import FileSelector, FileType

    found = place.filesystem.get_file_info(place.path)
    if found.type == FileType.NotFound:
        raise FileNotFoundError(place.uri)
    if found.type == FileType.Directory:
        below = place.filesystem.get_file_info(FileSelector(place.path, recursive=True))
        sizes = [info.size for info in below if info.type == FileType.File]
        return sum(sizes), len(sizes)
    return found.size, 1


def _name(path: PathLike) -> str:
    return str(path).rstrip("/").rpartition("/")[2]


def _format(place: Place) -> str:
    return place.name.rpartition(".")[2].lower() if "." in place.name else "file"
