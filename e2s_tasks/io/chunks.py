"""How many bytes a Parquet read really touches, from the footers that the read has already fetched."""

import re
from collections.abc import Collection, Sequence
from typing import Any

Filters = Any  # pyarrow's: [(column, operator, value), ...], a list of such lists, or an Expression


def bytes_touched(dataset: Any, columns: Collection[str] | None, filters: Filters) -> tuple[int, int]:
    """The compressed bytes of the column chunks that a read of `dataset` touches, and the number of its files.

    columns: what is read, None for all; what only `filters` look at is added. Partitions and row groups that the
    filters rule out are not touched.
    """
    from pyarrow.dataset import FileSystemDataset
    from pyarrow.parquet import filters_to_expression

    fragments, condition = dataset.fragments, None
    if fragments and filters is not None:
        condition = filters_to_expression(filters)
        whole = FileSystemDataset(fragments, dataset.schema, fragments[0].format, fragments[0].filesystem)
        fragments = list(whole.get_fragments(condition))
    touched = None if columns is None else {*columns, *_filtered(filters, dataset.schema.names)}
    sizes = [_chunk_bytes(fragment, dataset.schema, touched, condition) for fragment in fragments]
    return sum(sizes), len(sizes)


def _chunk_bytes(fragment: Any, schema: Any, columns: Collection[str] | None, condition: Any) -> int:
    footer = fragment.metadata
    kept = fragment if condition is None else fragment.subset(condition, schema=schema)
    groups = [group.id for group in kept.row_groups]
    leaves = [footer.schema.column(i).path for i in range(footer.num_columns)]
    touched = [i for i, leaf in enumerate(leaves) if columns is None or _belongs(leaf, columns)]
    return sum(footer.row_group(group).column(i).total_compressed_size for group in groups for i in touched)


def _belongs(leaf: str, columns: Collection[str]) -> bool:
    """Whether a physical column ("point.x") is, or is a part of, one of the columns ("point")."""
    parts = leaf.split(".")
    return any(".".join(parts[:depth]) in columns for depth in range(1, len(parts) + 1))


def _filtered(filters: Filters, names: Sequence[str]) -> set[str]:
    """The columns that the filters look at: an expression names them only in its text."""
    from pyarrow.compute import Expression

    if filters is None:
        return set()
    if not isinstance(filters, Expression):
        clauses = [filters] if isinstance(filters[0][0], str) else filters
        return {term[0] for clause in clauses for term in clause}
    return {name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", str(filters))}
