"""What a measured Parquet read reads from: a data set at a place, or one that the user has opened already."""

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from e2s_tasks.core.spans import MOST_FILES, Span
from e2s_tasks.errors import NotFoundError, SettingError
from e2s_tasks.io.bookkeeping import note_read
from e2s_tasks.io.chunks import Filters, Joined, Moved, Part, bytes_moved, condition_of, footer_bytes, unfiltered
from e2s_tasks.io.counting import Counter, counting
from e2s_tasks.io.inventory import FoundFile, below, entries, told
from e2s_tasks.io.places import PathLike, Place, place_of, place_on
from e2s_tasks.io.schemas import schema_digest

if TYPE_CHECKING:
    import pyarrow.dataset

_footers_known: "WeakKeyDictionary[Any, set[str]]" = WeakKeyDictionary()  # of users' Datasets, which keep them
FEW = 16  # files: up to so many are asked for one by one, more with a listing of their directory


class MissingFileError(NotFoundError, FileNotFoundError):
    """A file or data set to read that does not exist (also a FileNotFoundError)."""


@dataclass(slots=True)
class Source:
    """A data set that is read, where it lies, and what reading it has fetched so far.

    base: the path of the place as the data set's own paths begin. parquet: pyarrow's ParquetDataset, where the data set
    was opened here. inspected: a footer was read for the schema. joined: over what small holes are fetched too.
    filter: the one that the user's Dataset has. known: the files whose footers that Dataset kept from earlier reads.
    found: the files as they were before they were read, where a write may replace them.
    """

    dataset: "pyarrow.dataset.FileSystemDataset"
    place: Place
    base: str
    counter: Counter | None = None
    parquet: Any = None
    inspected: bool = False
    joined: Joined = "file"
    parts: list[Part] = field(default_factory=list)
    filter: Any = None
    known: set[str] = field(default_factory=set)
    found: dict[str, FoundFile] | None = None

    def condition(self, filters: Filters) -> Any:
        """What rows have to fulfil, by the filters of the call and the Dataset's own; None for nothing."""
        condition = condition_of(filters)
        return self.filter if condition is None else condition if self.filter is None else self.filter & condition

    def note(
        self, span: Span, columns: Collection[str] | None, filters: Filters, rows: int | None, bytes_in_memory: int
    ) -> None:
        """Tell the span what `parts` moved, and which files they are."""
        moved = bytes_moved(self.parts, columns, filters, self.dataset.schema, self.joined)
        files = self._files()
        moved.footers = self._footers({file.path: file.size for file in files})
        size = moved.total if self.counter is None else self.counter.fetched
        known = entries(files) if len(files) == len(self.parts) else None
        note_read(span, self.place, size=size, rows=rows, files=known)
        span.note(self._attributes(moved, bytes_in_memory))

    def _attributes(self, moved: Moved, bytes_in_memory: int) -> dict[str, Any]:
        ratio = {"compression_ratio": round(moved.uncompressed / moved.chunks, 4)} if moved.chunks else {}
        return {
            "files": len(self.parts),
            "row_groups": moved.row_groups,
            "bytes_column_chunks": moved.chunks,
            "bytes_uncompressed": moved.uncompressed,
            "bytes_in_memory": bytes_in_memory,
            "schema_digest": schema_digest(self.dataset.schema),
            **ratio,
        }

    def _footers(self, sizes: dict[str, int]) -> int:
        each = {
            fragment.path: footer_bytes(
                fragment.metadata.serialized_size, sizes.get(below(self.base, fragment.path), 0)
            )
            for fragment, _ in self.parts
        }
        total = sum(size for path, size in each.items() if path not in self.known)
        first_read = not self.known
        self.known.update(each)
        if self.inspected and first_read and self.dataset.files:
            first = self.dataset.files[0]
            total += each[first] if first in each else footer_bytes(0, self._asked([first])[0].size or 0)
        return total

    def _files(self) -> list[FoundFile]:
        """The files that were opened, as the store describes them."""
        paths = [fragment.path for fragment, _ in self.parts]
        if self.counter is not None and all(path.lstrip("/") in self.counter.told for path in paths):
            return [told(self.base, path, self.counter.told[path.lstrip("/")]) for path in paths]
        if self.found is not None:
            return [self.found[path] for path in paths if path in self.found]
        if len(paths) > MOST_FILES:
            return []
        found = self._asked(paths)
        return [FoundFile(below(self.base, info.path), info.size, info.mtime_ns) for info in found if info.is_file]

    def look(self) -> None:
        """Look at the files now, before a write that may replace them."""
        files = self.dataset.files
        if len(files) <= MOST_FILES:
            infos = [info for info in self._asked(files) if info.is_file]
            self.found = {info.path: FoundFile(below(self.base, info.path), info.size, info.mtime_ns) for info in infos}

    def _asked(self, paths: list[str]) -> list[Any]:
        from pyarrow.fs import FileSelector

        if self.place.local or len(paths) <= FEW:
            return list(self.place.filesystem.get_file_info(paths))
        wanted = set(paths)
        found = self.place.filesystem.get_file_info(FileSelector(self.place.path, recursive=True))
        return [info for info in found if info.path in wanted]


def sources_written(content: Any) -> list[Source]:
    """The files that a Dataset which is to be written reads from; none for anything else, and for other formats."""
    from pyarrow.dataset import FileSystemDataset, ParquetFileFormat, UnionDataset

    if isinstance(content, UnionDataset):
        return [source for child in content.children for source in sources_written(child)]
    if not isinstance(content, FileSystemDataset) or not isinstance(content.format, ParquetFileFormat):
        return []
    source = opened(content, place_read(content, None, None), None, {})
    source.look()
    return [source]


def place_read(source: Any, filesystem: Any, storage_options: dict[str, Any] | None) -> Place:
    """Where the data of a path, or of a pyarrow Dataset, lies.

    Raises:
        SettingError: it is neither, or a data set of other things than Parquet files.
    """
    if isinstance(source, str | os.PathLike):
        return place_of(source, filesystem, storage_options)
    from pyarrow.dataset import FileSystemDataset, ParquetFileFormat

    if not isinstance(source, FileSystemDataset) or not isinstance(source.format, ParquetFileFormat):
        raise SettingError(
            f"a {type(source).__name__} cannot be read here: pass a path, or a pyarrow Dataset of Parquet files."
        )
    if filesystem is not None or storage_options is not None:
        raise SettingError("filesystem and storage_options are for a path: the Dataset has a file system already.")
    return place_on(source.filesystem, common_path(source.files))


def common_path(files: list[str]) -> str:
    """The file, or the directory that holds all of them, above its partitions."""
    path = files[0] if len(files) == 1 else os.path.commonpath(files) if files else ""
    root = "/" if path.startswith("/") else ""
    parts = path.strip("/").split("/")
    partitions = next((depth for depth, part in enumerate(parts) if "=" in part), len(parts))
    return root + "/".join(parts[:partitions])


def opened(source: PathLike | Any, place: Place, filters: Filters, options: dict[str, Any]) -> Source:
    """The data set at a place, or the given pyarrow Dataset, ready to be read.

    Raises:
        MissingFileError: nothing is there.
    """
    if not isinstance(source, str | os.PathLike):
        if options:
            raise SettingError(f"{', '.join(options)}: such options are for a path, the Dataset is open already.")
        whole, condition = unfiltered(source)
        return Source(whole, place, common_path(source.files), filter=condition, known=footers_known(source))
    from pyarrow import parquet

    filesystem, counter = counting(place.filesystem)
    try:
        found = parquet.ParquetDataset(place.path, filesystem, filters=filters, **options)
    except FileNotFoundError as error:
        raise missing(place) from error
    single = found.files == [place.path]
    return Source(
        found._dataset,  # noqa: SLF001 - its public names are deprecated one after the other
        place,
        place.path,
        counter,
        parquet=found,
        inspected=not single and options.get("schema") is None,
        joined="file" if options.get("pre_buffer", True) else "nothing",
    )


def footers_known(dataset: Any) -> set[str]:
    """The files whose footers a user's Dataset has kept from reads that were measured; to be added to."""
    return _footers_known.setdefault(dataset, set())


def missing(place: Place) -> MissingFileError:
    """The error for a place where nothing is, with what is near it."""
    beside: list[str] = []
    if place.local:
        with suppress(OSError):
            beside = [path.name for path in Path(place.path).parent.iterdir()]
    near = get_close_matches(place.name, beside)
    hint = f" Near it: {', '.join(near)}." if near else ""
    return MissingFileError(
        f"nothing to read at {place.uri}. Check the path, or run the step that writes it.{hint}", near
    )
