"""The readers of pandas and pyarrow, measured: what they fetch is told by the footers that they have read."""

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

from e2s_tasks.core.records import Kind
from e2s_tasks.core.spans import Span
from e2s_tasks.io.bookkeeping import bookkeeping, note_read
from e2s_tasks.io.chunks import Joined, bytes_moved, columns_in, footer_bytes, parts_left
from e2s_tasks.io.inventory import entries, inventory
from e2s_tasks.io.patching.calls import Call, Target, arguments, begins, in_steps, inside, measured, target_of
from e2s_tasks.io.places import place_on, uri_of
from e2s_tasks.io.sources import Source, common_path, footers_known

Function = Callable[..., Any]
IN_A_BUFFER = "<Buffer>"  # pyarrow's path of a fragment that is an open file; asking such a data set for more crashes


@dataclass(slots=True)
class Scan:
    """A data set that was read. base: the directory or file that was asked for, as its paths begin; None: not known.

    columns: None for all. condition: pyarrow's Expression.
    """

    dataset: Any
    rows: int
    bytes_in_memory: int
    columns: Collection[str] | None = None
    condition: Any = None
    base: str | None = None
    inspected: bool = False

    def note(self, span: Span, target: Target | None) -> None:
        """Tell the span what was fetched. target: what the user named."""
        first = next(iter(self.dataset.get_fragments()), None)
        if first is None:
            return
        parts = list(parts_left(self.dataset, self.condition))
        options = getattr(first.format, "default_fragment_scan_options", None)
        joined: Joined = "file" if getattr(options, "pre_buffer", True) else "nothing"
        if first.path == IN_A_BUFFER:
            moved = bytes_moved(parts, self.columns, self.condition, self.dataset.schema, joined)
            _note_file(span, target, first.metadata.serialized_size, moved.total, self.rows)
            return
        filesystem = self.dataset.filesystem
        base = self.base or common_path(self.dataset.files)
        place = replace(place_on(filesystem, base), path=base, filesystem=filesystem)
        if target is not None and target.filesystem is None:
            place = replace(place, uri=uri_of(target.path))
        known = footers_known(self.dataset)
        source = Source(self.dataset, place, base, inspected=self.inspected, joined=joined, parts=parts, known=known)
        source.note(span, self.columns, self.condition, self.rows, self.bytes_in_memory)


def _note_file(span: Span, target: Target | None, footer: int, chunks: int, rows: int) -> None:
    """Tell the span of one file of which so many bytes were read besides its footer (0: no footer)."""
    if target is None:
        return
    place = target.place
    files = inventory(place)
    size = chunks + (footer_bytes(footer, sum(file.size for file in files)) if footer else 0)
    note_read(span, place, size=size, rows=rows, files=entries(files))


def reading(original: Function, source: str) -> Function:
    """A function that reads all of `source` (the name of its parameter), as a READ span of its own."""

    @functools.wraps(original)
    def read(*args: Any, **kwargs: Any) -> Any:
        target, name = None, ""
        if begins(Kind.READ):
            with bookkeeping():
                given = arguments(original, args, kwargs)
                target = target_of(given.get(source), given.get("filesystem"), given.get("storage_options"))
                name = target.name if target else _listed(given.get(source))
        if not name:
            return original(*args, **kwargs)
        with measured(Kind.READ, name) as call:
            result = original(*args, **kwargs)
            with bookkeeping():
                _note_all(call, target, result)
        return result

    return read


def _listed(source: Any) -> str:
    """A name for a list of paths."""
    return f"{len(source)} files" if isinstance(source, list | tuple) and source else ""


def _note_all(call: Call, target: Target | None, result: Any) -> None:
    for scan in call.told:
        scan.note(call.span, target)
    if not call.told and target is not None:  # by an engine that tells nothing: as much as there is
        files = inventory(target.place)
        size = sum(file.size for file in files)
        note_read(call.span, target.place, size=size, rows=len(result), files=entries(files))


def dataset_read(original: Function) -> Function:
    """`ParquetDataset.read`: inside another reader it tells that what it knows."""

    @functools.wraps(original)
    def read(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = inside(Kind.READ)
        if call is not None:
            table = original(self, *args, **kwargs)
            with bookkeeping():
                call.told.append(_scan(original, self, args, kwargs, table))
            return table
        name = ""
        if begins(Kind.READ):
            with bookkeeping():
                name = _name_of(self._base_dir, self._dataset)
        if not name:
            return original(self, *args, **kwargs)
        with measured(Kind.READ, name) as call:
            table = original(self, *args, **kwargs)
            with bookkeeping():
                _scan(original, self, args, kwargs, table).note(call.span, None)
        return table

    return read


def _name_of(base: str | None, dataset: Any) -> str:
    """A data set's name; "" of an open file."""
    first = next(iter(dataset.get_fragments()), None)
    if first is None or first.path == IN_A_BUFFER:
        return ""
    return (base or common_path(dataset.files)).rstrip("/").rpartition("/")[2]


def _scan(original: Function, opened: Any, args: Any, kwargs: Any, table: Any) -> Scan:
    """What a ParquetDataset has read. pyarrow's names for what it is made of have no public form."""
    columns = arguments(original, (opened, *args), kwargs).get("columns")
    if columns is not None:  # pandas' metadata adds the index columns
        columns = [*columns, *(set(table.column_names) - {column.rpartition(".")[2] for column in columns})]
    base = opened._base_dir  # noqa: SLF001
    return Scan(
        opened._dataset,  # noqa: SLF001
        table.num_rows,
        table.nbytes,
        columns,
        opened._filter_expression,  # noqa: SLF001
        base,
        inspected=base is not None or len(opened.files) > 1,
    )


# -- ParquetFile ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Opened:
    target: Target | None
    joined: Joined
    footer_told: bool = False


_opened: "WeakKeyDictionary[Any, _Opened]" = WeakKeyDictionary()


def file_opened(original: Function) -> Function:
    """`ParquetFile.__init__`: what it opens is remembered."""

    @functools.wraps(original)
    def opened(self: Any, source: Any, *args: Any, **kwargs: Any) -> None:
        original(self, source, *args, **kwargs)
        with bookkeeping():
            joined: Joined = "file" if kwargs.get("pre_buffer", True) else "nothing"
            _opened[self] = _Opened(target_of(source, kwargs.get("filesystem")), joined)

    return opened


def file_read(original: Function) -> Function:
    """A method of ParquetFile that reads row groups and columns of it into a table."""

    @functools.wraps(original)
    def read(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = _opened.get(self)
        if found is None or found.target is None or not begins(Kind.READ):
            return original(self, *args, **kwargs)
        with measured(Kind.READ, found.target.name) as call:
            table = original(self, *args, **kwargs)
            with bookkeeping():
                given = arguments(original, (self, *args), kwargs)
                _note_groups(call.span, self, _groups(self, given), given.get("columns"), table.num_rows)
        return table

    return read


def file_batches(original: Function) -> Function:
    """`ParquetFile.iter_batches`: the span takes time and energy only while a batch is being made."""

    @functools.wraps(original)
    def batches(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = original(self, *args, **kwargs)
        found = _opened.get(self)
        if found is None or found.target is None or not begins(Kind.READ):
            return made
        given = arguments(original, (self, *args), kwargs)

        def note(span: Span, rows: int, size: int, whole: bool) -> None:  # noqa: ARG001
            groups = _groups(self, given)
            begun = groups if whole else _begun(self, groups, rows)
            _note_groups(span, self, begun, given.get("columns"), rows)

        return in_steps(found.target.name, iter(made), note)

    return batches


def _groups(file: Any, given: Any) -> list[int]:
    if "i" in given:
        return [given["i"]]
    return list(range(file.num_row_groups) if given.get("row_groups") is None else given["row_groups"])


def _begun(file: Any, groups: list[int], rows: int) -> list[int]:
    """The row groups that had to be read for the first `rows` rows."""
    begun, held = [], 0
    for group in groups:
        if held >= rows:
            break
        begun.append(group)
        held += file.metadata.row_group(group).num_rows
    return begun


def _note_groups(span: Span, file: Any, groups: list[int], columns: Collection[str] | None, rows: int) -> None:
    found = _opened[file]
    part = SimpleNamespace(metadata=file.metadata), groups
    moved = bytes_moved([part], columns, None, None, found.joined)
    footer = 0 if found.footer_told else file.metadata.serialized_size
    found.footer_told = True
    _note_file(span, found.target, footer, moved.total, rows)
    span.note({"row_groups": moved.row_groups, "bytes_column_chunks": moved.chunks})


# -- pyarrow.dataset --------------------------------------------------------------------------------------------------


def dataset_opened(original: Function) -> Function:
    """`pyarrow.dataset.dataset`: a Parquet data set that measured work opens measures its reading."""

    @functools.wraps(original)
    def opened(source: Any, *args: Any, **kwargs: Any) -> Any:
        dataset = original(source, *args, **kwargs)
        if begins(Kind.READ):
            with bookkeeping():
                return _measuring(dataset, source)
        return dataset

    return opened


def _measuring(dataset: Any, source: Any) -> Any:
    from pyarrow.dataset import FileSystemDataset, ParquetFileFormat

    if type(dataset) is not FileSystemDataset or not isinstance(dataset.format, ParquetFileFormat):
        return dataset
    found = measured_dataset()(
        list(dataset.get_fragments()), dataset.schema, dataset.format, dataset.filesystem, dataset.partition_expression
    )
    found.plain, found.base = dataset, _base(source, dataset.files)
    found.name = _name_of(found.base, dataset)
    return found


def _base(source: Any, files: list[str]) -> str | None:
    """The directory that was opened, as the data set's paths begin; None where that is not known."""
    text = str(source).rpartition("://")[2].rstrip("/")
    return text if text and all(file == text or file.startswith(f"{text}/") for file in files) else None


@cache
def measured_dataset() -> Any:
    """The class of data sets that measure their reading. pyarrow's own cannot be given other methods."""
    from pyarrow.dataset import FileSystemDataset

    class MeasuredDataset(FileSystemDataset):  # type: ignore[misc]
        plain: Any = None  # as it was opened; unfiltered, too
        base: str | None = None
        name = ""
        condition: Any = None

        @property
        def partitioning(self) -> Any:
            return super().partitioning if self.plain is None else self.plain.partitioning

        @functools.wraps(FileSystemDataset.filter)
        def filter(self, expression: Any) -> Any:
            found = super().filter(expression)
            found.plain, found.base, found.name = self.plain, self.base, self.name
            found.condition = expression if self.condition is None else self.condition & expression
            return found

        @functools.wraps(FileSystemDataset.to_table)
        def to_table(self, *args: Any, **kwargs: Any) -> Any:
            if not self.name or not begins(Kind.READ):
                return super().to_table(*args, **kwargs)
            with measured(Kind.READ, self.name) as call:
                table = super().to_table(*args, **kwargs)
                with bookkeeping():
                    _scanned(self, args, kwargs, table.num_rows, table.nbytes).note(call.span, None)
            return table

        @functools.wraps(FileSystemDataset.to_batches)
        def to_batches(self, *args: Any, **kwargs: Any) -> Any:
            made = super().to_batches(*args, **kwargs)
            if not self.name or not begins(Kind.READ):
                return made

            def note(span: Span, rows: int, size: int, whole: bool) -> None:
                scan = _scanned(self, args, kwargs, rows, size)
                if whole:
                    scan.note(span, None)
                else:  # how far pyarrow's threads had read ahead nobody knows
                    span.read(place_on(scan.dataset.filesystem, scan.base or common_path(scan.dataset.files)).uri)
                    span.note({"left_early": True})

            return in_steps(self.name, iter(made), note)

    return MeasuredDataset


def _scanned(dataset: Any, args: Any, kwargs: Any, rows: int, size: int) -> Scan:
    given = dict(zip(("columns", "filter"), args, strict=False)) | kwargs
    columns, condition = given.get("columns"), given.get("filter")
    if isinstance(columns, dict):
        columns = {name for one in columns.values() for name in columns_in(one, dataset.schema)}
    if dataset.condition is not None:
        condition = dataset.condition if condition is None else condition & dataset.condition
    return Scan(dataset.plain, rows, size, columns, condition, dataset.base, inspected=True)


def is_function(found: Any) -> bool:
    """Whether it can be measured as here: a Python function, which an older or newer version may not have."""
    return inspect.isfunction(found)
