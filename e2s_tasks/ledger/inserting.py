"""Writes records into the ledger's tables, each once and the latest word on it."""

import sqlite3
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from math import isfinite
from typing import Any, cast

import sqlalchemy as sa

from e2s_tasks.core.records import ProcessRecord, Record, SpanRecord
from e2s_tasks.ledger import changes
from e2s_tasks.ledger.merging import merged
from e2s_tasks.ledger.query import chunks
from e2s_tasks.ledger.retention import lock_for_ingest, not_pruned
from e2s_tasks.ledger.tables import TABLES, delivery, span

LARGEST = 2**63 - 1
AT_ONCE = 400  # rows in a statement of SQLite at most: more are slower again
_PLAIN = {sa.Text: str, sa.BigInteger: int, sa.Double: float}  # else JSON
_KINDS = {record: [(one.name, _PLAIN.get(type(one.type))) for one in table.columns] for record, table in TABLES.items()}


def latest(records: Iterable[Record]) -> dict[type[Record], list[dict[str, Any]]]:
    """Rows by record type: one per id, of a span the one with the highest sequence number."""
    kept: dict[type[Record], dict[str, Record]] = {}
    for record in records:
        of_type = kept.setdefault(type(record), {})
        known = of_type.get(record.id)
        if known is None:
            of_type[record.id] = record
        elif isinstance(record, SpanRecord):
            of_type[record.id] = _last_word(cast("SpanRecord", known), record)
    # In the order of their ids, so that two writers never wait for each other in a circle.
    return {record_type: [_row(of_type[id_]) for id_ in sorted(of_type)] for record_type, of_type in kept.items()}


def _last_word(known: SpanRecord, told: SpanRecord) -> SpanRecord:
    """What has the higher sequence number; of a run that several processes tell of, what they know together."""
    if told.is_of_no_process:
        return merged(known, told)
    return told if told.seq > known.seq else known


def _row(record: Record) -> dict[str, Any]:
    if isinstance(record, ProcessRecord):
        told = asdict(record)
        return {name: _storable(told[name], kind) for name, kind in _KINDS[ProcessRecord]}
    row = {name: _storable(getattr(record, name), kind) for name, kind in _KINDS[type(record)]}
    if isinstance(record, SpanRecord):  # drivers see plain text, not enumerations
        row["kind"], row["status"] = str(record.kind), str(record.status)
    return row


def _storable(value: Any, kind: type | None) -> Any:
    """The value as any database takes it: one that none takes must not hold up all the others of its journal.

    kind: what its column takes; None: JSON.
    """
    if value is None or (type(value) is str and kind is str and value.isascii() and "\0" not in value):
        return value  # with floats nearly all of them
    return _sound(value if kind is None or isinstance(value, kind) else _as(kind, value))


def _sound(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")
    if isinstance(value, dict):
        return {_sound(key): _sound(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_sound(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-LARGEST, min(LARGEST, value))
    return value


def _as(kind: type, value: Any) -> Any:
    """A value of another kind than its column takes; None where it says nothing of that kind."""
    if kind is str:
        return str(value)
    try:
        return kind(value) if isinstance(value, int | float) else None
    except (OverflowError, ValueError):
        return None


def write(
    connection: sa.Connection, rows: dict[type[Record], list[dict[str, Any]]], delivered: tuple[str, int] | None
) -> None:
    """Write such rows inside the connection's transaction. delivered: see `Ledger.ingest`."""
    dialect = connection.dialect.name
    lock_for_ingest(connection)
    if SpanRecord in rows:
        rows[SpanRecord] = not_pruned(connection, rows[SpanRecord])
    for record_type, values in rows.items():
        alone = [row for row in values if not _is_of_no_process(record_type, row)]
        if alone:
            _write(connection, _keeping_the_newest(dialect, TABLES[record_type]), alone)
        if len(alone) < len(values):
            _merge(connection, [row for row in values if _is_of_no_process(record_type, row)])
    changes.note(connection, _insert_of(dialect), rows)
    if delivered is not None:
        _mark(connection, *delivered)


def get_ready(dialect: str, record_types: Iterable[type[Record]]) -> None:
    """Have the statements for records of these types made before the lock is taken: that takes longer than the rest."""
    for record_type in record_types:
        statement = _keeping_the_newest(dialect, TABLES[record_type])
        if dialect == "sqlite":
            _spelled(statement)


def _insert_of(dialect: str) -> Any:
    """The dialect's INSERT, which can leave or replace what is there; the other dialect is not loaded."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    return insert


@cache
def _leaving_what_is_there(dialect: str, table: sa.Table) -> Any:
    return _insert_of(dialect)(table).on_conflict_do_nothing(index_elements=["id"])


@cache
def _keeping_the_newest(dialect: str, table: sa.Table) -> Any:
    if table is not span:
        return _leaving_what_is_there(dialect, table)
    statement = _insert_of(dialect)(span)
    newer = {one.name: statement.excluded[one.name] for one in span.c if one.name != "id"}
    return statement.on_conflict_do_update(index_elements=["id"], set_=newer, where=statement.excluded.seq > span.c.seq)


def _is_of_no_process(record_type: type[Record], row: dict[str, Any]) -> bool:
    return record_type is SpanRecord and row["process_id"] == row["run_id"]


def _merge(connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
    """Write what is told of runs that several processes tell of, together with what is known of them."""
    # Inserting waits for who inserts the same run, and the lock for who changes it: neither word is lost.
    _write(connection, _leaving_what_is_there(connection.dialect.name, span), rows)
    told = {row["id"]: SpanRecord(**row) for row in rows}
    changed = []
    for chunk in chunks(told):
        query = sa.select(span).where(span.c.id.in_(chunk)).order_by(span.c.id).with_for_update()
        known = [SpanRecord(*row) for row in connection.execute(query).all()]
        changed += [new for one in known if (new := merged(one, told[one.id])) != one]
    if changed:
        statement = sa.update(span).where(span.c.id == sa.bindparam("of_id", type_=span.c.id.type))
        connection.execute(statement, [{"of_id": one.id, **_row(one)} for one in changed])


def _write(connection: sa.Connection, statement: Any, rows: list[dict[str, Any]]) -> None:
    """Execute an INSERT with these rows, in SQLite many at once.

    sqlite3 gives the interpreter's lock away at each statement, and where another thread is busy it has it back 5 ms
    later: a thousand rows one by one took 5 s.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(statement, rows)
        return
    insert, columns = _spelled(statement)
    one = f"({', '.join('?' * len(columns))})"
    at_once = max(1, min(AT_ONCE, _most_values(connection) // len(columns)))
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        values = tuple(stored(row[name]) if stored else row[name] for row in some for name, stored in columns)
        connection.exec_driver_sql(insert.replace(one, ", ".join([one] * len(some)), 1), values)


@cache
def _spelled(statement: Any) -> tuple[str, list[tuple[str, Any]]]:
    """An INSERT of all columns in SQLite's SQL, and its columns with what makes the driver's value, if anything."""
    from sqlalchemy.dialects import sqlite

    dialect, columns = sqlite.dialect(), statement.table.c
    compiled = statement.compile(dialect=dialect, column_keys=columns.keys())
    return str(compiled), [(name, _stored_by(columns[name], dialect)) for name in compiled.positiontup]


def _most_values(connection: sa.Connection) -> int:
    """How many values a statement of this SQLite may have: before 3.32 it was 999."""
    driver: Any = connection.connection.driver_connection
    return int(driver.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER))


def _stored_by(column: sa.Column[Any], dialect: sa.Dialect) -> Any:
    """What makes the driver's value of one of the column's, if anything."""
    return column.type.dialect_impl(dialect).bind_processor(dialect)


def _mark(connection: sa.Connection, process_id: str, position: int) -> None:
    """Note how far the journal of a process is taken in."""
    connection.execute(_marking(connection.dialect.name), {"process_id": process_id, "position": position})


@cache
def _marking(dialect: str) -> Any:
    statement = _insert_of(dialect)(delivery)
    further = statement.excluded.position > delivery.c.position
    told = {"position": statement.excluded.position}
    return statement.on_conflict_do_update(index_elements=["process_id"], set_=told, where=further)
