"""Measured Parquet: what pandas and pyarrow users expect, with what each call moved written down."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from e2s_tasks.core.records import Kind
from e2s_tasks.core.spans import SteppedSpan, recorder
from e2s_tasks.errors import SettingError
from e2s_tasks.io.bookkeeping import bookkeeping, in_one_step, note_write
from e2s_tasks.io.chunks import Filters, names_of, parts_left
from e2s_tasks.io.datasets import ExistingData, data_files, rows_of
from e2s_tasks.io.dtypes import DtypeBackend, Engine, as_frame, check_engine, check_frame
from e2s_tasks.io.encoding import Written, write_file, write_partitions
from e2s_tasks.io.inventory import inventory
from e2s_tasks.io.places import PathLike, Place, place_of
from e2s_tasks.io.schemas import schema_digest
from e2s_tasks.io.sources import MissingFileError, Source, missing, opened, place_read, sources_written
from e2s_tasks.io.tables import Content, content_of, partitions_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset

    Readable: TypeAlias = PathLike | pyarrow.dataset.Dataset | Sequence[PathLike | pyarrow.dataset.Dataset]

__all__ = ["MissingFileError", "read_parquet", "schema_digest", "write_parquet"]


@overload
def read_parquet(
    path: "Readable",
    columns: Sequence[str] | None = None,
    filters: Filters = None,
    *,
    to: Literal["pandas"] = "pandas",
    engine: Engine = "auto",
    dtype_backend: DtypeBackend | None = None,
    to_pandas_kwargs: dict[str, Any] | None = None,
    use_threads: bool = True,
    filesystem: Any = None,
    storage_options: dict[str, Any] | None = None,
    **options: Any,
) -> "pd.DataFrame": ...
@overload
def read_parquet(
    path: "Readable",
    columns: Sequence[str] | None = None,
    filters: Filters = None,
    *,
    to: Literal["arrow"],
    engine: Engine = "auto",
    use_threads: bool = True,
    filesystem: Any = None,
    storage_options: dict[str, Any] | None = None,
    **options: Any,
) -> "pa.Table": ...
def read_parquet(
    path: "Readable",
    columns: Sequence[str] | None = None,
    filters: Filters = None,
    *,
    to: Literal["pandas", "arrow"] = "pandas",
    engine: Engine = "auto",
    dtype_backend: DtypeBackend | None = None,
    to_pandas_kwargs: dict[str, Any] | None = None,
    use_threads: bool = True,
    filesystem: Any = None,
    storage_options: dict[str, Any] | None = None,
    **options: Any,
) -> "pd.DataFrame | pa.Table":
    """A Parquet file, (hive partitioned) data set, list of such or pyarrow Dataset as a pandas DataFrame, or with
    `to="arrow"` as a pyarrow Table.

    Measured: the bytes fetched, which are the compressed column chunks that `columns` and `filters` leave to be read
    and the files' footers; rows, files, and which version was read; docs/io.md has the rest.
    `engine`, `dtype_backend` and `to_pandas_kwargs` are pandas' own; `options` are further ones of
    `pyarrow.parquet.ParquetDataset`, such as `partitioning` or `schema`. Of a list each path is a read of its own.

    Raises:
        MissingFileError: nothing is at `path`.
        SettingError: `to` is neither "pandas" nor "arrow"; another engine than pyarrow; an unknown `dtype_backend`;
            columns that are no names; what is to be read is no Parquet data set.
    """
    if to not in ("pandas", "arrow"):
        raise SettingError(f'to={to!r} is not a kind of table: use to="pandas" or to="arrow".')
    check_engine(engine)
    check_frame(dtype_backend, to_pandas_kwargs, to)
    finish = partial(as_frame, backend=dtype_backend, options=to_pandas_kwargs) if to == "pandas" else _unchanged
    read = partial(
        _read,
        columns=names_of(columns),
        filters=filters,
        with_index=to == "pandas",
        use_threads=use_threads,
        filesystem=filesystem,
        storage_options=storage_options,
        options=options,
    )
    if isinstance(path, list | tuple):
        return finish(_joined([read(one, _unchanged) for one in path]))
    return read(path, finish)


def _unchanged(table: Any) -> Any:
    return table


def _read(
    path: Any,
    finish: Callable[[Any], Any],
    *,
    columns: list[str] | None,
    filters: Filters,
    with_index: bool,
    use_threads: bool,
    filesystem: Any,
    storage_options: dict[str, Any] | None,
    options: dict[str, Any],
) -> Any:
    """What `finish` makes of the table at one path, inside its span."""
    place = place_read(path, filesystem, storage_options)
    with recorder().span(f"read {place.name}", Kind.READ) as span:
        source = opened(path, place, filters, options)
        table = _table(source, columns, filters, with_index=with_index, use_threads=use_threads)
        result = finish(table)
        with bookkeeping():
            if columns is not None:  # pandas' metadata adds the index columns
                columns = columns + list(set(table.column_names) - {column.rpartition(".")[2] for column in columns})
            condition = source.condition(filters)
            source.parts = list(parts_left(source.dataset, condition))
            source.note(span, columns, condition, table.num_rows, table.nbytes)
    return result


def _joined(tables: list[Any]) -> Any:
    """The tables one after the other, of the columns of all."""
    import pyarrow as pa

    if not tables:
        raise SettingError("an empty list names nothing to read: pass at least one path.")
    return pa.concat_tables(tables, promote_options="default")


def _table(source: Source, columns: list[str] | None, filters: Filters, *, with_index: bool, use_threads: bool) -> Any:
    if source.parquet is None:
        return source.dataset.to_table(columns=columns, filter=source.condition(filters), use_threads=use_threads)
    try:
        return source.parquet.read(columns=columns, use_threads=use_threads, use_pandas_metadata=with_index)
    except FileNotFoundError as error:  # a file that was there when the data set was opened
        raise missing(source.place) from error


def write_parquet(
    table: "pd.DataFrame | pa.Table | pa.RecordBatchReader | pyarrow.dataset.Dataset | Iterable[pa.RecordBatch]",
    path: PathLike,
    *,
    partition_cols: Sequence[str] | str | None = None,
    existing_data_behavior: ExistingData | None = None,
    engine: Engine = "auto",
    compression: str | None = "snappy",
    index: bool | None = None,
    schema: "pa.Schema | None" = None,
    filesystem: Any = None,
    storage_options: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """Write a table as one Parquet file, or into a data set partitioned by `partition_cols`.

    A table is a DataFrame, a pyarrow Table, or record batches (a RecordBatchReader, a Dataset, a `scan_parquet`, any
    iterable of them), which are written as they come: memory holds one row group and what their source reads ahead. The
    work of making batches in an iterable is not charged to the write; what a Parquet Dataset reads is a read of it.
    One file replaces what was at `path`, a partitioned data set too. With `partition_cols` the rows join the data set
    that is there, as with pandas and pyarrow, by `existing_data_behavior`: "overwrite_or_ignore" (the default) adds new
    files to it, "delete_matching" replaces the partitions that are written, "error" refuses if anything is there; a
    single file that was there is replaced, unlike with pandas.
    All of it happens only after everything is written: a failed write leaves what was there, and makes no version.
    Measured: the sizes and rows of the files written; the version has those of the whole data set as it then is (the
    rows of one with more than 1000 files are not counted).
    `schema` is what the table is cast to. `options` are further ones of `pyarrow.parquet.write_table` or
    `write_to_dataset`; `engine` is pandas' own.

    Raises:
        SettingError: something else than a table; a partition column that it does not have, or no column left beside
            them; data that is there already, for "error"; for one file, a directory that holds other things than a
            partitioned data set; an option that cannot be used.
    """
    check_engine(engine)
    place = place_of(path, filesystem, storage_options)
    span = recorder().span(f"write {place.name}", Kind.WRITE)
    with in_one_step(span):
        sources: list[Source] = []
        with bookkeeping():
            sources = sources_written(table)
        content = content_of(table, index, span, schema)
        partitions = partitions_of(content.schema, partition_cols)
        if existing_data_behavior is not None and not partitions:
            raise SettingError(
                f"existing_data_behavior={existing_data_behavior!r} is for a data set: give partition_cols too."
            )
        options["compression"] = compression
        if partitions:
            written = write_partitions(content, place, partitions, existing_data_behavior, options)
        else:
            written = write_file(content, place, options)
        with bookkeeping():
            _record_reads(sources, content)
        with bookkeeping():
            _record_write(span, place, written, content)


def _record_reads(sources: list[Source], content: Content) -> None:
    """Tell what a data set that has been written was read from: a read of its own, for a write keeps what it reads."""
    for source in sources:
        with recorder().span(f"read {source.place.name}", Kind.READ) as span:
            condition = source.condition(None)
            source.parts = list(parts_left(source.dataset, condition))
            source.note(span, None, condition, None, content.bytes_in_memory)


def _record_write(span: SteppedSpan, place: Place, written: Written, content: Content) -> None:
    """Tell the span what was written, and what the version is made of."""
    if written.whole:  # nothing else can be at the place
        files = inventory(place)
        rows: int | None = written.rows
    else:
        files = data_files(place)
        kept = rows_of(place, [file for file in files if file.path not in written.paths])
        rows = None if kept is None else kept + written.rows
    digest = schema_digest(content.schema)
    note_write(
        span,
        place,
        files=files,
        new=None if written.whole else written.paths,
        rows=rows,
        rows_written=written.rows,
        bytes_written=written.size,
        format="parquet",
        digest=digest,
    )
    span.note(
        {
            "files": len(written.paths) or 1,
            "row_groups": written.row_groups,
            "bytes_column_chunks": written.chunks,
            "bytes_uncompressed": written.uncompressed,
            "bytes_in_memory": content.bytes_in_memory,
            "schema_digest": digest,
            **({"compression_ratio": round(written.uncompressed / written.chunks, 4)} if written.chunks else {}),
        }
    )
