"""Iteration over the record batches of Parquet files, measured only while a batch is being made."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.records import Kind
from e2s_tasks.core.spans import SteppedSpan, recorder, status_of
from e2s_tasks.errors import SettingError
from e2s_tasks.io.bookkeeping import bookkeeping
from e2s_tasks.io.chunks import Filters, names_of
from e2s_tasks.io.sources import Source, opened, place_read

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset

    from e2s_tasks.io.places import PathLike

BATCH_SIZE = 131_072  # rows: pyarrow's own


def scan_parquet(
    path: "PathLike | pyarrow.dataset.Dataset",
    columns: Sequence[str] | None = None,
    filters: Filters = None,
    *,
    batch_size: int = BATCH_SIZE,
    filesystem: Any = None,
    storage_options: dict[str, Any] | None = None,
    **options: Any,
) -> "Batches":
    """The record batches of a Parquet file, a data set or a pyarrow Dataset, one row group after the other::

        for batch in scan_parquet("flights.parquet", columns=["delay"], filters=[("month", "=", 1)]):
            total += pyarrow.compute.sum(batch["delay"]).as_py()

    Memory holds about one row group at a time. One READ span: it takes time and energy only while a batch is being
    made, not while the caller works with it. A loop that is left early records what was read up to then: the column
    chunks of the row groups that were begun. The result has a `schema`, and can be closed, or used in a `with`.
    `options` are those of `read_parquet`.

    Raises:
        MissingFileError: nothing is at `path`; at the call, as all errors of finding the data set.
        SettingError: batch_size is not a whole number above 0; what is to be read is no Parquet data set.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise SettingError(f"batch_size={batch_size!r} cannot be used: give a whole number of rows, from 1 on.")
    place = place_read(path, filesystem, storage_options)
    span = recorder().span(f"read {place.name}", Kind.READ)
    span.start()
    span.resume()
    try:
        source = opened(path, place, filters, options)
        batches = Batches(span, source, columns, filters, batch_size)
    except BaseException as error:
        span.suspend()
        span.end(status_of(error))
        raise
    span.suspend()
    return batches


def _read(source: Source, columns: list[str] | None, condition: Any, batch_size: int) -> "Iterator[pa.RecordBatch]":
    """The batches; `source` knows which row groups were begun. No part of Batches, which would keep itself alive."""
    dataset = source.dataset
    for fragment in dataset.get_fragments(condition):
        begun: list[int] = []
        source.parts.append((fragment, begun))
        for group in fragment.split_by_row_group(condition, schema=dataset.schema):
            begun.extend(one.id for one in group.row_groups)
            yield from group.to_batches(schema=dataset.schema, columns=columns, filter=condition, batch_size=batch_size)


class Batches(Iterator["pa.RecordBatch"]):
    """Record batches that are read as they are asked for, inside a span of their own. Give it to one thread at a time.

    schema: of the batches.
    """

    schema: "pa.Schema"

    def __init__(
        self, span: SteppedSpan, source: Source, columns: Sequence[str] | None, filters: Filters, batch_size: int
    ) -> None:
        self._span: SteppedSpan | None = None
        self._source, self._condition = source, source.condition(filters)
        self._columns = names_of(columns)
        self.schema = source.dataset.scanner(columns=self._columns).projected_schema
        self._rows = self._bytes = 0
        source.joined = "row group" if source.joined == "file" else source.joined
        self._batches = _read(source, self._columns, self._condition, batch_size)
        self._span = span

    def __next__(self) -> "pa.RecordBatch":
        span = self._span
        if span is None:
            raise StopIteration
        span.resume()
        try:
            batch = next(self._batches)
        except BaseException as error:
            self._end(span, error)
            raise
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        span.suspend()
        return batch

    def _end(self, span: SteppedSpan, error: BaseException | None) -> None:
        """The span, which runs, is over; if reading itself did not fail it tells what was read."""
        self._span = None
        status = status_of(error)
        if not isinstance(error, Exception) or isinstance(error, StopIteration):
            with bookkeeping():
                self._source.note(span, self._columns, self._condition, self._rows, self._bytes)
        span.suspend()
        span.end(status)

    def close(self) -> None:
        """Read no more."""
        span, self._span = self._span, None
        if span is not None:
            span.resume()
            with suppress(Exception):
                self._batches.close()  # type: ignore[attr-defined] # a generator
            self._end(span, None)

    def __enter__(self) -> "Batches":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_span", None) is not None:
            self.close()
