"""The ledger's tables: one per record type, one column per field of the record, under the same name."""

from dataclasses import fields
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import sqlalchemy as sa

from e2s_tasks.core.records import TYPES, Record

metadata = sa.MetaData()

_COLUMN_TYPES: dict[type, type[sa.types.TypeEngine[Any]]] = {
    str: sa.Text,
    int: sa.BigInteger,
    float: sa.Double,
    list: sa.JSON,
    dict: sa.JSON,
}


def _column(name: str, hint: Any) -> sa.Column[Any]:
    optional = isinstance(hint, UnionType)
    plain = next(arg for arg in get_args(hint) if arg is not type(None)) if optional else hint
    column_type = _COLUMN_TYPES[get_origin(plain) or plain]
    of_type = sa.JSON(none_as_null=True) if column_type is sa.JSON else column_type()
    return sa.Column(name, of_type, primary_key=name == "id", nullable=optional)


def _table(name: str, record: type[Record]) -> sa.Table:
    hints = get_type_hints(record)
    return sa.Table(name, metadata, *(_column(field.name, hints[field.name]) for field in fields(record)))


TABLES: dict[type[Any], sa.Table] = {record: _table(name, record) for name, record in TYPES.items()}
process, span, version, read, edge, outcome, decision, call = TABLES.values()

# How far each live process's journal has been taken in: a reader need not take it in again from its start.
delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("process_id", sa.Text(), primary_key=True),
    sa.Column("position", sa.BigInteger(), nullable=False),
)

# Which spans `prune` has folded into those around them: what a process recorded of a run up to a time (e2s_tasks/ledger
# /retention.py), so that a journal which is replayed later does not bring them back.
pruned = sa.Table(
    "pruned",
    metadata,
    sa.Column("process_id", sa.Text(), primary_key=True),
    sa.Column("run_id", sa.Text(), primary_key=True),
    sa.Column("until", sa.Double(), nullable=False),
)

# The number of the last write of anything of a run, as `changes.py` gives it: who keeps sums asks what is new.
changed = sa.Table(
    "changed",
    metadata,
    sa.Column("run_id", sa.Text(), primary_key=True),
    sa.Column("number", sa.BigInteger(), nullable=False),
)


def _where(condition: sa.ColumnElement[bool]) -> dict[str, Any]:
    """A partial index. PostgreSQL's are made by the migrations; naming it here would load its dialect every time."""
    return {"sqlite_where": condition}


sa.Index("span_run_id", span.c.run_id)
sa.Index("span_started_at", span.c.started_at)
sa.Index("span_result_key", span.c.result_key, **_where(span.c.result_key.is_not(None)))
sa.Index("span_root_started_at", span.c.started_at, **_where(span.c.parent_id.is_(None)))
sa.Index("span_root", span.c.run_id, span.c.started_at, **_where(span.c.parent_id.is_(None)))
sa.Index("span_flow", span.c.flow_run_id, span.c.run_id, **_where(span.c.kind == sa.literal_column("'flow'")))
sa.Index(
    "span_flow_run_name",
    sa.text("json_extract(attributes, '$.flow_run_name')"),
    **_where(span.c.kind == sa.literal_column("'flow'")),
    _table=span,
)
sa.Index("call_caller", call.c.caller)
sa.Index("changed_number", changed.c.number)
sa.Index("version_uri", version.c.uri, version.c.created_at)
for _of_run in (version, read, edge, outcome, decision):
    sa.Index(f"{_of_run.name}_run_id", _of_run.c.run_id)
