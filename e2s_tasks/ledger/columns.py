"""The ledger's records as columns for analysis: units in the names, times as timestamps, JSON as text.

`Ledger.spans` and its like and the Parquet export have the same columns; docs/ledger.md lists them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from e2s_tasks.core.energy import COMPONENTS
from e2s_tasks.ledger.tables import decision, edge, outcome, process, read, span, version

if TYPE_CHECKING:
    import pyarrow as pa

TEXT, WHOLE, NUMBER, TIME = "text", "whole", "number", "time"
_TIMES = {"started_at", "ended_at", "created_at", "at", "start", "end"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, whether it holds texts, whole numbers, numbers or times, and where it comes from."""

    name: str
    kind: str
    value: sa.ColumnElement[Any]


def _columns(table: sa.Table, **names: str) -> list[Column]:
    """A column for each of the table's, under another name where one is given."""
    return [_column(one, names.get(one.name, one.name)) for one in table.columns]


def _column(one: sa.Column[Any], name: str) -> Column:
    if one.name in _TIMES:
        return Column(name, TIME, one)
    if isinstance(one.type, sa.JSON):
        return Column(name, TEXT, sa.cast(one, sa.Text))
    if isinstance(one.type, sa.BigInteger):
        return Column(name, WHOLE, one)
    return Column(name, NUMBER if isinstance(one.type, sa.Double) else TEXT, one)


def _span_columns() -> list[Column]:
    joules = [span.c[f"{component}_j"] for component in COMPONENTS]
    known = sa.or_(*(one.is_not(None) for one in joules))
    energy = sa.case((known, sum((sa.func.coalesce(one, 0.0) for one in joules), sa.literal(0.0))))
    derived = {
        "cpu_ns": Column("cpu_s", NUMBER, span.c.cpu_ns / sa.literal(1e9)),
        "shared_cpu_ns": Column("shared_cpu_s", NUMBER, span.c.shared_cpu_ns / sa.literal(1e9)),
        "cpu_j": Column("energy_j", NUMBER, energy),
    }
    found = []
    for one in _columns(span, id="span_id"):
        if one.name in derived:
            found.append(derived[one.name])
        if not one.name.endswith("cpu_ns"):
            found.append(one)
        if one.name == "ended_at":
            found.append(Column("duration_s", NUMBER, span.c.ended_at - span.c.started_at))
    return found


SPANS = _span_columns()
VERSIONS = _columns(version, id="version_id")
_INTENSITIES = {name: f"{name}_gco2eq_per_kwh" for name in ("intensity", "expected", "run_now")}
# By the name of its folder in an export: the columns of a record type, and what says in which day a record falls.
EXPORTED: dict[str, tuple[list[Column], sa.ColumnElement[Any]]] = {
    "spans": (SPANS, span.c.started_at),
    "versions": (VERSIONS, version.c.created_at),
    "reads": (_columns(read, id="read_id"), read.c.at),
    "edges": (_columns(edge, id="edge_id"), edge.c.run_id),
    "outcomes": (_columns(outcome, id="outcome_id"), outcome.c.at),
    "decisions": (_columns(decision, id="decision_id", **_INTENSITIES), decision.c.at),
    "processes": (_columns(process, id="process_id"), process.c.started_at),
}


def schema(columns: Iterable[Column]) -> "pa.Schema":
    """The Arrow schema of the columns."""
    import pyarrow as pa

    types = {TEXT: pa.string(), WHOLE: pa.int64(), NUMBER: pa.float64(), TIME: pa.timestamp("us", tz="UTC")}
    return pa.schema([(one.name, types[one.kind]) for one in columns])


def batch(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> "pa.RecordBatch":
    """Rows of the database as Arrow; seconds since the epoch become timestamps."""
    import pyarrow as pa

    wanted = schema(columns)
    by_column = zip(*rows, strict=True) if rows else ([] for _ in columns)
    arrays = [
        _array(one.kind, list(values), field.type)
        for one, field, values in zip(columns, wanted, by_column, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def _array(kind: str, values: list[Any], of_type: "pa.DataType") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind != TIME:
        return pa.array(values, of_type)
    micros = pc.round(pc.multiply(pa.array(values, pa.float64()), 1e6))
    return micros.cast(pa.int64()).cast(of_type)
