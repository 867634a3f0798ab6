"""Measured Parquet: what pandas and pyarrow users expect, with what each call moved written down."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from e2s_tasks.core.records import Kind
from e2s_tasks.core.spans import Span, recorder
from e2s_tasks.errors import NotFoundError, SettingError
from e2s_tasks.io.bookkeeping import bookkeeping, note_read, note_write
from e2s_tasks.io.chunks import Filters, bytes_touched
from e2s_tasks.io.datasets import ExistingData, added_files, contents_of
from e2s_tasks.io.dtypes import DtypeBackend, Engine, as_frame, check_backend, check_engine
from e2s_tasks.io.places import PathLike, Place, place_of
from e2s_tasks.io.replacing import replaced_file

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class MissingFileError(NotFoundError, FileNotFoundError):
    """A file or data set to read that does not exist (also a FileNotFoundError)."""


@overload
def read_parquet(
    path: PathLike,
    columns: Sequence[str] | None = None,
    filters: Filters = None,
    *,
    to: Literal["pandas"] = "pandas",
    engine: Engine = "auto",
    dtype_backend: DtypeBackend | None = None,
    filesystem: Any = None,
    storage_options: dict[str, Any] | None = None,
    **options: Any,
) -> "pd.DataFrame": ...
@overload
def read_parquet(
    path: PathLike,
    columns: Sequence[str] | None = None,
    filters: Filters = None,
    *,
    to: Literal["arrow"],
    engine: Engine = "auto",
    filesystem: Any = None,
    storage_options: dict[str, Any] | None = None,
    **options: Any,
) -> "pa.Table": ...
def read_parquet(
    path: PathLike,
    columns: Sequence[str] | None = None,
    filters: Filters = None,
    *,
    to: Literal["pandas", "arrow"] = "pandas",
    engine: Engine = "auto",
    dtype_backend: DtypeBackend | None = None,
    filesystem: Any = None,
    storage_options: dict[str, Any] | None = None,
    **options: Any,
) -> "pd.DataFrame | pa.Table":
    """A Parquet file or (hive partitioned) data set as a pandas DataFrame, or with `to="arrow"` as a pyarrow Table.

    Measured: the compressed bytes of the column chunks that `columns` and `filters` leave to be read, from the files'
    footers (the footers themselves, a few KiB a file, are not counted), rows, files, and which version was read.
    `engine` and `dtype_backend` are pandas' own; `options` are further ones of `pyarrow.parquet.ParquetDataset`, such
    as `partitioning` or `schema`.

    Raises:
        MissingFileError: nothing is at `path`.
        SettingError: `to` is neither "pandas" nor "arrow"; another engine than pyarrow; an unknown `dtype_backend`.
    """
    if to not in ("pandas", "arrow"):
        raise SettingError(f'to={to!r} is not a kind of table: use to="pandas" or to="arrow".')
    check_engine(engine)
    check_backend(dtype_backend, to)
    from pyarrow import parquet

    place = place_of(path, filesystem, storage_options)
    with recorder().span(f"read {place.name}", Kind.READ) as span:
        try:
            dataset = parquet.ParquetDataset(place.path, place.filesystem, filters=filters, **options)
            wanted = None if columns is None else list(columns)
            table = dataset.read(columns=wanted, use_pandas_metadata=to == "pandas")
        except FileNotFoundError as error:
            raise _missing(place) from error
        result = table if to == "arrow" else as_frame(table, dtype_backend)
        with bookkeeping():
            _record_read(span, place, (dataset, wanted, filters), table)
    return result


def write_parquet(
    table: "pd.DataFrame | pa.Table",
    path: PathLike,
    *,
    partition_cols: Sequence[str] | str | None = None,
    existing_data_behavior: ExistingData | None = None,
    engine: Engine = "auto",
    compression: str | None = "snappy",
    index: bool | None = None,
    filesystem: Any = None,
    storage_options: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """Write a DataFrame or pyarrow Table as one Parquet file, or into a data set partitioned by `partition_cols`.

    One file replaces what was at `path`, a partitioned data set too. With `partition_cols` the rows join the data set
    that is there, as with pandas and pyarrow, by `existing_data_behavior`: "overwrite_or_ignore" (the default) adds new
    files to it, "delete_matching" replaces the partitions that are written, "error" refuses if anything is there.
    All of it happens only after everything is written: a failed write leaves what was there, and makes no version.
    Measured: the sizes and rows of the files written; the version has those of the whole data set as it then is (the
    rows of one with more than 1000 files are not counted).
    `options` are further ones of `pyarrow.parquet.write_table` or `write_to_dataset`; `engine` is pandas' own.

    Raises:
        SettingError: something else than a table; a partition column that it does not have, or no column left beside
            them; data that is there already, for "error"; for one file, a directory that holds other things than a
            partitioned data set; an option that cannot be used.
    """
    check_engine(engine)
    place = place_of(path, filesystem, storage_options)
    with recorder().span(f"write {place.name}", Kind.WRITE) as span:
        arrow = _as_arrow(table, index)
        partitions = _partitions(arrow, partition_cols)
        options["compression"] = compression
        if partitions:
            sizes = _write_partitions(arrow, place, partitions, existing_data_behavior, **options)
        else:
            if existing_data_behavior is not None:
                raise SettingError(
                    f"existing_data_behavior={existing_data_behavior!r} is for a data set: give partition_cols too."
                )
            sizes = [_write_file(arrow, place, **options)]
        with bookkeeping():
            _record_write(span, place, sizes, arrow, whole=not partitions)


def _record_write(span: Span, place: Place, sizes: list[int], table: Any, *, whole: bool) -> None:
    """Tell the span what was written, and what the version is made of. whole: nothing else can be at the place."""
    size, files, rows = (sum(sizes), len(sizes), table.num_rows) if whole else contents_of(place)
    if files > len(sizes):  # what is kept goes into the new version
        span.read(place.uri)
    note_write(
        span,
        place,
        moved=(sum(sizes), table.num_rows),
        size=size,
        files=files,
        rows=rows,
        format="parquet",
        digest=schema_digest(table.schema),
    )


def schema_digest(schema: "pa.Schema") -> str:
    """A short sha256 of the columns' names, types and nullability; metadata leaves it unchanged."""
    text = "\n".join(f"{field.name}: {field.type} {field.nullable}" for field in schema)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _record_read(span: Span, place: Place, scan: tuple[Any, list[str] | None, Filters], table: Any) -> None:
    dataset, columns, filters = scan
    if columns is not None:  # pandas' metadata adds the index columns
        columns = [*columns, *(set(table.column_names) - {column.rpartition(".")[2] for column in columns})]
    size, files = bytes_touched(dataset, columns, filters)
    note_read(span, place, size=size, rows=table.num_rows)
    span.note({"files": files, "schema_digest": schema_digest(dataset.schema)})


def _as_arrow(table: Any, index: bool | None) -> Any:
    from pyarrow import Table

    if isinstance(table, Table):
        return table
    from pandas import DataFrame

    if not isinstance(table, DataFrame):
        raise SettingError(f"a {type(table).__name__} is not a table: pass a pandas DataFrame or a pyarrow Table.")
    return Table.from_pandas(table, preserve_index=index)


def _partitions(table: Any, partition_cols: Sequence[str] | str | None) -> list[str]:
    chosen = [partition_cols] if isinstance(partition_cols, str) else list(partition_cols or ())
    unknown = [column for column in chosen if column not in table.column_names]
    if unknown:
        raise SettingError(
            f"partition_cols={chosen}: no column {unknown[0]!r}. There are: {', '.join(table.column_names)}."
        )
    if chosen and set(chosen) == set(table.column_names):
        raise SettingError(f"partition_cols={chosen} leaves no column to write. Leave out at least one.")
    return chosen


def _missing(place: Place) -> MissingFileError:
    beside: list[str] = []
    if place.local:
        with suppress(OSError):
            beside = [path.name for path in Path(place.path).parent.iterdir()]
    near = get_close_matches(place.name, beside)
    hint = f" Near it: {', '.join(near)}." if near else ""
    return MissingFileError(
        f"nothing to read at {place.uri}. Check the path, or run the step that writes it.{hint}", near
    )


def _write_file(table: Any, place: Place, **options: Any) -> int:
    """The size in bytes of the one file written."""
    from pyarrow import parquet

    with replaced_file(place) as stream:
        parquet.write_table(table, stream, **options)
        return int(stream.tell())


def _write_partitions(
    table: Any, place: Place, partitions: list[str], existing: ExistingData | None, **options: Any
) -> list[int]:
    """The sizes in bytes of the files written, one or more for each combination of the partition columns' values."""
    from pyarrow import parquet

    sizes: list[int] = []
    names = options.pop("basename_template", None)
    with added_files(place, existing or "overwrite_or_ignore", names) as (root, template):
        parquet.write_to_dataset(
            table,
            root,
            partition_cols=partitions,
            filesystem=place.filesystem,
            basename_template=template,
            file_visitor=lambda file: sizes.append(file.size),
            **options,
        )
    return sizes
