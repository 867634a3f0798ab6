"""What may be written as Parquet: tables that are in memory, and record batches that come one after the other."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.spans import SteppedSpan
from e2s_tasks.errors import SettingError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class Content:
    """A pyarrow Table, or else batches with their schema; of these, bytes_in_memory is what has come so far."""

    schema: "pa.Schema"
    table: Any = None
    batches: Iterator[Any] | None = None
    bytes_in_memory: int = 0


def content_of(table: Any, index: bool | None, span: SteppedSpan, schema: "pa.Schema | None" = None) -> Content:
    """What is to be written. The span, which runs, pauses while somebody's iterable makes its next batch.

    schema: what it is cast to; its own where left out.

    Raises:
        SettingError: it is neither a table nor record batches.
    """
    import pyarrow as pa

    pandas = sys.modules.get("pandas")  # without it nobody has made a DataFrame
    if pandas is not None and isinstance(table, pandas.DataFrame):
        table = pa.Table.from_pandas(table, schema=schema, preserve_index=index)
    elif pandas is not None and isinstance(table, pandas.Series):
        raise SettingError("a Series is not a table: pass series.to_frame().")
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if isinstance(table, pa.Table):
        table = table if schema is None else table.select(schema.names).cast(schema)
        return Content(table.schema, table, bytes_in_memory=table.nbytes)
    if index is not None:
        raise SettingError(f"index={index!r} is for a DataFrame, not for a {type(table).__name__}: leave it out.")
    content = _streamed(table, span)
    assert content.batches is not None  # noqa: S101 - for the type checker
    if schema is not None:
        content = Content(schema, batches=_cast(content.batches, schema))
    assert content.batches is not None  # noqa: S101 - for the type checker
    content.batches = _counted(content.batches, content)
    return content


def _streamed(table: Any, span: SteppedSpan) -> Content:
    from pyarrow import RecordBatchReader, Schema
    from pyarrow.dataset import Dataset, Scanner

    if isinstance(table, Dataset):
        table = table.scanner()
    if isinstance(table, Scanner):
        table = table.to_reader()
    elif not isinstance(table, RecordBatchReader) and hasattr(table, "__arrow_c_stream__"):
        table = RecordBatchReader.from_stream(table)
    if isinstance(table, RecordBatchReader):
        return Content(table.schema, batches=iter(table))
    if not isinstance(table, Iterable) or isinstance(table, str | bytes | dict):
        raise _no_table(table)
    batches = _outside(span, iter(table))
    schema = getattr(table, "schema", None)
    if isinstance(schema, Schema):
        return Content(schema, batches=batches)
    first = next(batches, None)
    if first is None:
        raise SettingError(
            "no record batch came, so that the columns are not known: pass a pyarrow Table with a schema."
        )
    return Content(first.schema, batches=chain([first], batches))


def _outside(span: SteppedSpan, batches: Iterator[Any]) -> Iterator[Any]:
    """The batches, whose making is not the span's work."""
    from pyarrow import RecordBatch, Table

    while True:
        span.suspend()
        try:
            batch = next(batches, None)
        finally:
            span.resume()
        if batch is None:
            return
        if isinstance(batch, Table):
            yield from batch.to_batches()
        elif isinstance(batch, RecordBatch):
            yield batch
        else:
            raise _no_table([batch])


def _cast(batches: Iterator[Any], schema: "pa.Schema") -> Iterator[Any]:
    from pyarrow import Table

    for batch in batches:
        yield from Table.from_batches([batch]).select(schema.names).cast(schema).to_batches()


def _counted(batches: Iterator[Any], content: Content) -> Iterator[Any]:
    for batch in batches:
        content.bytes_in_memory += batch.nbytes
        yield batch


def _no_table(table: Any) -> SettingError:
    inside = f" of {type(table[0]).__name__}" if isinstance(table, list) and table else ""
    return SettingError(
        f"a {type(table).__name__}{inside} is not a table: pass a pandas DataFrame, a pyarrow Table or record batches."
    )


def partitions_of(schema: "pa.Schema", partition_cols: Sequence[str] | str | None) -> list[str]:
    """The partition columns.

    Raises:
        SettingError: one is not there, or no column is left beside them.
    """
    chosen = [partition_cols] if isinstance(partition_cols, str) else list(partition_cols or ())
    unknown = [column for column in chosen if column not in schema.names]
    if unknown:
        raise SettingError(f"partition_cols={chosen}: no column {unknown[0]!r}. There are: {', '.join(schema.names)}.")
    if chosen and set(chosen) == set(schema.names):
        raise SettingError(f"partition_cols={chosen} leaves no column to write. Leave out at least one.")
    return chosen
