"""The writers of pandas and pyarrow, measured: a completed write is a version, a failed one is none.

How they write stays theirs: what a failed write leaves behind is not undone.
"""

import functools
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from e2s_tasks.core.records import Kind, Status
from e2s_tasks.core.spans import SteppedSpan, recorder, status_of
from e2s_tasks.io.bookkeeping import bookkeeping, note_write
from e2s_tasks.io.datasets import data_files, rows_of
from e2s_tasks.io.inventory import below, inventory
from e2s_tasks.io.patching.calls import Call, Target, arguments, begins, inside, measured, target_of
from e2s_tasks.io.patching.reads import Scan
from e2s_tasks.io.places import Place
from e2s_tasks.io.schemas import schema_digest

Function = Callable[..., Any]


@dataclass(slots=True)
class Content:
    """What was written: rows, and pyarrow's schema where it is known."""

    rows: int | None = None
    schema: Any = None
    bytes_in_memory: int | None = None


@dataclass(slots=True)
class Files:
    """The files that a write into a data set has made so far: path, bytes, and rows (None: no Parquet)."""

    made: list[tuple[str, int, int | None]] = field(default_factory=list)

    def visit(self, file: Any) -> None:
        """Take in a file of pyarrow's."""
        rows = None if file.metadata is None else file.metadata.num_rows
        self.made.append((file.path, file.size, rows))


def writing(original: Function, target: str) -> Function:
    """A function that writes to `target` (the name of its parameter), as a WRITE span of its own."""

    @functools.wraps(original)
    def write(*args: Any, **kwargs: Any) -> Any:
        found = None
        if begins(Kind.WRITE):
            with bookkeeping():
                given = arguments(original, args, kwargs)
                found = target_of(given.get(target), given.get("filesystem"), given.get("storage_options"))
        if found is None:
            return original(*args, **kwargs)
        with measured(Kind.WRITE, found.name) as call:
            result = original(*args, **kwargs)
            with bookkeeping():
                _note_call(call, found)
        return result

    return write


def _note_call(call: Call, target: Target) -> None:
    content = next((told for told in call.told if isinstance(told, Content)), Content())
    visited = [told for told in call.told if isinstance(told, Files)]
    for scan in call.told:
        if isinstance(scan, Scan):
            scan.note(call.span, None)
    if visited:
        _note_data_set(call, target, visited[0], content)
    else:
        _note_one(call.span, target.place, content)


def _note_one(span: Any, place: Place, content: Content) -> None:
    digest = None if content.schema is None else schema_digest(content.schema)
    note_write(span, place, files=inventory(place), rows=content.rows, format="parquet", digest=digest)
    noted = {"schema_digest": digest, "bytes_in_memory": content.bytes_in_memory}
    span.note({name: value for name, value in noted.items() if value is not None})


def _note_data_set(call: Call, target: Target, visited: Files, content: Content) -> None:
    place = target.place
    new = {_below(place, target, path) for path, _, _ in visited.made}
    counted = [rows for _, _, rows in visited.made]
    written = None if None in counted else sum(rows for rows in counted if rows is not None)
    files = data_files(place)
    if not files:
        return
    kept = None if written is None else rows_of(place, [file for file in files if file.path not in new])
    note_write(
        call.span,
        place,
        files=files,
        new=new,
        rows=None if kept is None or written is None else kept + written,
        rows_written=written,
        bytes_written=sum(size for _, size, _ in visited.made),
        format="parquet" if written is not None else "file",
        digest=None if content.schema is None else schema_digest(content.schema),
    )
    call.span.note({"files": len(new)})


def _below(place: Place, target: Target, path: str) -> str:
    """A written file's path below the place, of which pyarrow tells the path as the user began it."""
    begun = os.fspath(target.path).rpartition("://")[2].rstrip("/")
    return below(begun if path.startswith(f"{begun}/") else place.path, path)


def table_written(original: Function) -> Function:
    """`write_table`: inside another writer it tells that what is written."""

    @functools.wraps(original)
    def told(*args: Any, **kwargs: Any) -> Any:
        call = inside(Kind.WRITE)
        if call is not None:
            with bookkeeping():
                _tell(call, arguments(original, args, kwargs).get("table"))
        return original(*args, **kwargs)

    return writing(told, "where")


def _tell(call: Call, table: Any) -> None:
    if hasattr(table, "schema") and hasattr(table, "num_rows"):
        call.told.append(Content(table.num_rows, table.schema, table.nbytes))


def dataset_written(original: Function) -> Function:
    """`pyarrow.dataset.write_dataset`: the files that it makes are told by its own visitor, beside the user's."""

    @functools.wraps(original)
    def visited(data: Any, *args: Any, **kwargs: Any) -> Any:
        call = inside(Kind.WRITE)
        if call is None:
            return original(data, *args, **kwargs)
        files, theirs = Files(), kwargs.get("file_visitor")

        def visit(file: Any) -> None:
            if theirs is not None:
                theirs(file)
            with bookkeeping():
                files.visit(file)

        with bookkeeping():
            _tell(call, data)
        result = original(data, *args, **{**kwargs, "file_visitor": visit})
        call.told.append(files)
        with bookkeeping():
            _tell_source(call, data, files)
        return result

    return writing(visited, "base_dir")


def _tell_source(call: Call, data: Any, files: Files) -> None:
    """A data set that was written into another one was read for it."""
    from pyarrow.dataset import FileSystemDataset, ParquetFileFormat

    if isinstance(data, FileSystemDataset) and isinstance(data.format, ParquetFileFormat):
        rows = sum(rows or 0 for _, _, rows in files.made)
        plain, base = getattr(data, "plain", data), getattr(data, "base", None)
        call.told.append(Scan(plain, rows, 0, None, getattr(data, "condition", None), base))


# -- ParquetWriter ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Writer:
    span: SteppedSpan
    target: Target
    content: Content
    broken: BaseException | None = None


_writers: "WeakKeyDictionary[Any, _Writer]" = WeakKeyDictionary()


def writer_opened(original: Function) -> Function:
    """`ParquetWriter.__init__`: one WRITE span until it is closed, which takes time and energy only while it writes."""

    @functools.wraps(original)
    def opened(self: Any, *args: Any, **kwargs: Any) -> None:
        found = None
        if begins(Kind.WRITE):
            with bookkeeping():
                given = arguments(original, (self, *args), kwargs)
                found = target_of(given.get("where"), given.get("filesystem"))
        if found is None:
            original(self, *args, **kwargs)
            return
        writer = _Writer(recorder().span(f"write {found.name}", Kind.WRITE), found, Content(0))
        writer.span.start()
        try:
            _step(writer, original, self, *args, **kwargs)
        except BaseException as error:
            writer.span.end(status_of(error))
            raise
        _writers[self] = writer

    return opened


def _step(writer: _Writer, original: Function, *args: Any, **kwargs: Any) -> Any:
    writer.span.resume()
    try:
        return original(*args, **kwargs)
    finally:
        writer.span.suspend()


def writer_wrote(original: Function) -> Function:
    """`ParquetWriter.write_table`, through which all its writing goes."""

    @functools.wraps(original)
    def wrote(self: Any, table: Any, *args: Any, **kwargs: Any) -> Any:
        writer = _writers.get(self)
        if writer is None:
            return original(self, table, *args, **kwargs)
        try:
            result = _step(writer, original, self, table, *args, **kwargs)
        except BaseException as error:
            writer.broken = error
            raise
        with bookkeeping():
            content = writer.content
            content.rows = (content.rows or 0) + table.num_rows
            content.bytes_in_memory = (content.bytes_in_memory or 0) + table.nbytes
            content.schema = table.schema
        return result

    return wrote


def writer_closed(original: Function) -> Function:
    """`ParquetWriter.close`: the file is complete, unless something went wrong in between."""

    @functools.wraps(original)
    def closed(self: Any, *args: Any, **kwargs: Any) -> Any:
        writer = _writers.pop(self, None)
        if writer is None:
            return original(self, *args, **kwargs)
        status = status_of(writer.broken)
        try:
            result = _step(writer, original, self, *args, **kwargs)
            if status is Status.COMPLETED and writer.broken is None:
                with bookkeeping():
                    _note_one(writer.span, writer.target.place, writer.content)
        except BaseException as error:
            status = status_of(error)
            raise
        finally:
            writer.span.end(status)
        return result

    return closed


def writer_left(original: Function) -> Function:
    """`ParquetWriter.__exit__`: a file that is closed because its block failed is no version."""

    @functools.wraps(original)
    def left(self: Any, *args: Any, **kwargs: Any) -> Any:
        writer = _writers.get(self)
        if writer is not None and len(args) > 1 and args[1] is not None:
            with suppress(AttributeError):
                writer.broken = args[1]
        return original(self, *args, **kwargs)

    return left
