"""Parquet files made of what is written, and what the files themselves say of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from e2s_tasks.io.datasets import ExistingData, added_files
from e2s_tasks.io.places import Place
from e2s_tasks.io.replacing import replaced_file
from e2s_tasks.io.tables import Content

ROW_GROUP = 1 << 20  # rows: pyarrow's own
MAGIC = 12  # bytes of a file that are neither column chunks nor the footer itself


@dataclass(slots=True)
class Written:
    """What a write made: bytes and rows of its files, their paths below the place, and their row groups.

    whole: one file, which is all of the version. chunks: bytes of the column chunks; uncompressed: before compression.
    """

    whole: bool
    size: int = 0
    rows: int = 0
    row_groups: int = 0
    chunks: int = 0
    uncompressed: int = 0
    paths: set[str] = field(default_factory=set)

    def add(self, footer: Any, size: int) -> None:
        """Count a file, from its footer."""
        self.size += size
        self.rows += footer.num_rows
        self.row_groups += footer.num_row_groups
        self.chunks += max(0, size - footer.serialized_size - MAGIC)
        self.uncompressed += sum(footer.row_group(i).total_byte_size for i in range(footer.num_row_groups))


def write_file(content: Content, place: Place, options: dict[str, Any]) -> Written:
    """Write the content as one file."""
    from pyarrow import parquet

    footers = options.setdefault("metadata_collector", [])
    with replaced_file(place) as stream:
        try:
            if content.table is not None:
                parquet.write_table(content.table, stream, **options)
            else:
                _write_batches(content, stream, options)
        except RuntimeError as error:  # pyarrow's complaint that there is no footer, in place of what went wrong
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
        size = int(stream.tell())
    written = Written(whole=True)
    written.add(footers[-1], size)
    return written


def _write_batches(content: Content, stream: Any, options: dict[str, Any]) -> None:
    """Write batches as they come, in row groups as large as those of a table."""
    from pyarrow import parquet

    rows = options.pop("row_group_size", None) or options.pop("chunk_size", None) or ROW_GROUP
    with parquet.ParquetWriter(stream, content.schema, **options) as writer:
        for group in _groups(content, rows):
            writer.write_table(group, row_group_size=rows)


def _groups(content: Content, rows: int) -> Iterator[Any]:
    """The batches as tables of `rows` rows, the last one of what is left."""
    import pyarrow as pa

    waiting: list[Any] = []
    held = 0
    for batch in content.batches or ():
        waiting.append(batch)
        held += batch.num_rows
        while held >= rows:
            table = pa.Table.from_batches(waiting, content.schema)
            yield table.slice(0, rows)
            held -= rows
            waiting = table.slice(rows).to_batches() if held else []
    if held:
        yield pa.Table.from_batches(waiting, content.schema)


def write_partitions(
    content: Content, place: Place, partitions: list[str], existing: ExistingData | None, options: dict[str, Any]
) -> Written:
    """Write one or more files for each combination of the partition columns' values."""
    import pyarrow as pa
    from pyarrow import parquet
    from pyarrow.dataset import partitioning
    from pyarrow.fs import LocalFileSystem

    written = Written(whole=False)
    names, collector = options.pop("basename_template", None), options.pop("metadata_collector", None)
    visitor = options.pop("file_visitor", None)
    columns = pa.schema([content.schema.field(column) for column in partitions])
    source = content.table
    if source is None:
        source = pa.RecordBatchReader.from_batches(content.schema, content.batches)
    with added_files(place, existing or "overwrite_or_ignore", names) as (root, template):

        def visit(file: Any) -> None:
            written.add(file.metadata, file.size)
            written.paths.add(file.path.strip("/")[len(root.strip("/")) :].lstrip("/"))
            if collector is not None:
                collector.append(file.metadata)
            if visitor is not None:
                visitor(file)

        parquet.write_to_dataset(
            source,
            root,
            partitioning=partitioning(columns, flavor="hive"),
            filesystem=LocalFileSystem(),
            basename_template=template,
            file_visitor=visit,
            **options,
        )
    return written
