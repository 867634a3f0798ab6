"""Lists whose smaller rows stand as one: which these are, and what they used together."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from e2s_tasks.core.energy import add

Row = TypeVar("Row")


def fold(rows: Sequence[Row], most: int) -> tuple[list[Row], list[Row]]:
    """The first rows, and those to show as one; a single one is shown itself, for it takes no more room."""
    shown = len(rows) if len(rows) <= most + 1 else most
    return list(rows[:shown]), list(rows[shown:])


def summed(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Rows of many runs as one, some of which may be sums: joules, share, and whether a part of these is missing."""
    rows = list(rows)
    return {
        "rows": sum(row.get("rows", 1) for row in rows),
        **{name: add(row[name] for row in rows) for name in ("energy_j", "share", "unsuccessful_j")},
        "lower_bound": any(row.get("lower_bound") or row.get("lower_bounds") for row in rows),
        "unsuccessful_lower_bound": any(row["unsuccessful_lower_bound"] for row in rows),
    }
