"""How many bytes a Parquet read really moves, from the footers that the read has already fetched."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from e2s_tasks.errors import SettingError

ENGINES = ("auto", "pyarrow", "fastparquet")
Filters = Any  # pyarrow's: [(column, operator, value), ...], a list of such lists, or an Expression
Part = tuple[Any, list[int]]  # a pyarrow ParquetFileFragment, and the numbers of the row groups read of it

Joined = Literal["file", "row group", "nothing"]  # within what chunks are fetched together

TAIL = 65536  # bytes: what Arrow fetches of a file's end to have its footer, the whole file if it is smaller
HOLE, RANGE = 8192, 32 << 20  # bytes: Arrow joins chunks over a smaller hole, up to that range, into one request


@dataclass(slots=True)
class Moved:
    """What a read moved, in bytes: column chunks as they are compressed in the files, what they were before, footers.

    holes: what lay between chunks and was fetched with them.
    """

    chunks: int = 0
    uncompressed: int = 0
    footers: int = 0
    holes: int = 0
    row_groups: int = 0

    @property
    def total(self) -> int:
        """All bytes fetched."""
        return self.chunks + self.footers + self.holes


def condition_of(filters: Filters) -> Any:
    """The filters as one pyarrow Expression; None for none."""
    from pyarrow.parquet import filters_to_expression

    return None if filters is None else filters_to_expression(filters)


def names_of(columns: Any) -> list[str] | None:
    """The names of the columns to read; None for all.

    Raises:
        SettingError: something else than a list of names, such as one name, or expressions to compute.
    """
    if columns is None:
        return None
    if isinstance(columns, str | bytes | Mapping) or not isinstance(columns, Iterable):
        more = " (pandas' second argument, the engine, is a keyword here)" if columns in ENGINES else ""
        raise SettingError(f"columns={columns!r} is no list of names{more}: write for example columns=['a', 'b'].")
    return list(columns)


def unfiltered(dataset: Any) -> tuple[Any, Any]:
    """A Dataset without the filter that `Dataset.filter` gave it, and the filter: pyarrow tells no file of such a one.

    It shares its files, and what is known of them, with the given one: nothing is fetched again.
    """
    own = getattr(dataset, "_scan_options", {}).get("filter")  # nothing else tells it
    if own is None:
        return dataset, None
    whole = dataset.replace_schema(dataset.schema)
    whole._scan_options = {}  # noqa: SLF001
    return whole, own


def parts_left(dataset: Any, condition: Any) -> Iterable[Part]:
    """The files of a data set that the condition leaves to be opened, each with the row groups that it leaves."""
    for fragment in dataset.get_fragments(condition):
        kept = fragment if condition is None else fragment.subset(condition, schema=dataset.schema)
        yield fragment, [group.id for group in kept.row_groups]


def bytes_moved(
    parts: Iterable[Part], columns: Collection[str] | None, filters: Filters, schema: Any, joined: Joined
) -> Moved:
    """What a read of the row groups moves. columns: those that are read, None for all; those that filters look at are
    added. schema: of the data set, of whose columns Arrow fetches each as a whole; None for a file that is read by its
    leaves. joined: over which chunks small holes are fetched too.
    """
    names = [] if schema is None else schema.names
    touched = None if columns is None else {_whole(one, names) for one in (*columns, *_filtered(filters, schema))}
    moved = Moved()
    for fragment, groups in parts:
        footer = fragment.metadata
        leaves = [footer.schema.column(i).path for i in range(footer.num_columns)]
        wanted = [i for i, leaf in enumerate(leaves) if touched is None or _belongs(leaf, touched, names)]
        moved.row_groups += len(groups)
        ranges: list[tuple[int, int]] = []
        for group in groups:
            for chunk in map(footer.row_group(group).column, wanted):
                moved.chunks += chunk.total_compressed_size
                moved.uncompressed += chunk.total_uncompressed_size
                ranges.append(_range(chunk))
            if joined == "row group":
                moved.holes += _holes(ranges)
                ranges = []
        if joined == "file":
            moved.holes += _holes(ranges)
    return moved


def footer_bytes(length: int, size: int) -> int:
    """What is fetched to have a footer of `length` bytes of a file of `size` bytes."""
    return min(size, TAIL) + (length if length + 8 > TAIL else 0)


def _range(chunk: Any) -> tuple[int, int]:
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    return start, start + chunk.total_compressed_size


def _holes(ranges: list[tuple[int, int]]) -> int:
    """The bytes between ranges that Arrow's read-range coalescing fetches with them."""
    holes, begin, end = 0, None, 0
    for start, stop in sorted(ranges):
        if begin is not None and start - end <= HOLE and stop - begin <= RANGE:
            holes += max(0, start - end)
        else:
            begin = start
        end = max(end, stop)
    return holes


def _whole(column: str, names: Sequence[str]) -> str:
    """The column of the data set that a nested one ("point.x") is a part of."""
    parts = column.split(".")
    around = (".".join(parts[:depth]) for depth in range(len(parts), 0, -1))
    return next((name for name in around if name in names), column)


def _belongs(leaf: str, columns: Collection[str], names: Sequence[str]) -> bool:
    """Whether a physical column ("point.x") is, or is a part of, one of the columns ("point")."""
    if names:
        return _whole(leaf, names) in columns
    parts = leaf.split(".")
    return any(".".join(parts[:depth]) in columns for depth in range(1, len(parts) + 1))


def _filtered(filters: Filters, schema: Any) -> set[str]:
    """The columns that the filters look at."""
    from pyarrow.compute import Expression

    if filters is None:
        return set()
    if isinstance(filters, Expression):
        return set(columns_in(filters, schema))
    clauses = [filters] if isinstance(filters[0][0], str) else filters
    return {term[0] for clause in clauses for term in clause}


def columns_in(expression: Any, schema: Any) -> list[str]:
    """The columns of a schema that a pyarrow Expression looks at: those without which it finds no meaning.

    It tells them only in its text, in which other words may look the same.
    """
    text = str(expression)
    at = {schema.names[int(number)] for number in re.findall(r"FieldPath\((\d+)", text)}
    return [
        name for name in schema.names if name in at or (name in text and not _has_meaning(expression, schema, name))
    ]


def _has_meaning(expression: Any, schema: Any, without: str) -> bool:
    """Whether an Expression can be computed without one of the columns."""
    from pyarrow import ArrowInvalid
    from pyarrow import schema as schema_of
    from pyarrow.dataset import dataset

    left = schema_of([one for one in schema if one.name != without])
    try:
        dataset([], schema=left).scanner(columns={"found": expression})
    except ArrowInvalid:
        return False
    return True
