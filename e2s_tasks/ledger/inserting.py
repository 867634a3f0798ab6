"""Writes records into the ledger's tables, each once and the latest word on it."""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any, cast

import sqlalchemy as sa

from e2s_tasks.core.records import ProcessRecord, Record, SpanRecord
from e2s_tasks.ledger import changes
from e2s_tasks.ledger.retention import lock_for_ingest, not_pruned
from e2s_tasks.ledger.tables import TABLES, delivery, span

LARGEST = 2**63 - 1
AT_ONCE = 400  # rows in a statement of SQLite at most: more are slower again
_NAMES = {record: [field.name for field in fields(record)] for record in TABLES}


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
    """What has the higher sequence number; of a run that several processes tell of, with what only the other knew."""
    last, other = (told, known) if told.seq > known.seq else (known, told)
    if not told.is_of_no_process:
        return last
    return replace(last, started_at=min(last.started_at, other.started_at), solution=last.solution or other.solution)


def _row(record: Record) -> dict[str, Any]:
    if isinstance(record, ProcessRecord):
        return {name: _storable(value) for name, value in asdict(record).items()}
    row = {name: _storable(getattr(record, name)) for name in _NAMES[type(record)]}
    if isinstance(record, SpanRecord):  # drivers see plain text, not enumerations
        row["kind"], row["status"] = str(record.kind), str(record.status)
    return row


def _storable(value: Any) -> Any:
    """The value as any database takes it: one that none takes must not hold up all the others of its journal."""
    if value is None or type(value) is float or (type(value) is str and value.isascii() and "\0" not in value):
        return value  # nearly all of them
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")
    if isinstance(value, dict):
        return {_storable(key): _storable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_storable(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-LARGEST, min(LARGEST, value))
    return value


def write(
    connection: sa.Connection, rows: dict[type[Record], list[dict[str, Any]]], delivered: tuple[str, int] | None
) -> None:
    """Write such rows inside the connection's transaction. delivered: see `Ledger.ingest`."""
    insert = _insert_of(connection.dialect.name)
    lock_for_ingest(connection)
    if SpanRecord in rows:
        rows[SpanRecord] = not_pruned(connection, rows[SpanRecord])
    for record_type, values in rows.items():
        if values:
            _write(connection, _keeping_the_newest(insert, record_type), values)
    _keep_what_others_knew(connection, rows.get(SpanRecord, []))
    changes.note(connection, insert, rows)
    if delivered is not None:
        _mark(connection, insert, *delivered)


def _insert_of(dialect: str) -> Any:
    """The dialect's INSERT, which can leave or replace what is there; the other dialect is not loaded."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    return insert


def _keeping_the_newest(insert: Any, record_type: type[Record]) -> Any:
    statement = insert(TABLES[record_type])
    if record_type is not SpanRecord:
        return statement.on_conflict_do_nothing(index_elements=["id"])
    newer = {name: statement.excluded[name] for name in _NAMES[SpanRecord] if name != "id"}
    newer["started_at"] = _earlier(statement.excluded.started_at, span.c.started_at)
    newer["solution"] = sa.func.coalesce(statement.excluded.solution, span.c.solution)
    return statement.on_conflict_do_update(index_elements=["id"], set_=newer, where=statement.excluded.seq > span.c.seq)


def _keep_what_others_knew(connection: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Of runs that several processes tell of, add what these rows know and the later word, already there, does not."""
    told = [
        {"of": row["id"], "start": row["started_at"], "for": row["solution"]}
        for row in rows
        if row["process_id"] == row["run_id"]
    ]
    if told:
        start = sa.bindparam("start", type_=span.c.started_at.type)
        solution = sa.bindparam("for", type_=span.c.solution.type)
        statement = sa.update(span).where(span.c.id == sa.bindparam("of", type_=span.c.id.type))
        known = {
            "started_at": _earlier(start, span.c.started_at),
            "solution": sa.func.coalesce(span.c.solution, solution),
        }
        connection.execute(statement.values(known), told)


def _earlier(one: sa.ColumnElement[float], other: sa.ColumnElement[float]) -> sa.ColumnElement[float]:
    return sa.case((one < other, one), else_=other)


def _write(connection: sa.Connection, statement: Any, rows: list[dict[str, Any]]) -> None:
    """Execute an INSERT with these rows, in SQLite many at once.

    sqlite3 gives the interpreter's lock away at each statement, and where another thread is busy it has it back 5 ms
    later: a thousand rows one by one took 5 s.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(statement, rows)
        return
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(rows[0]))
    columns = [(name, _stored_by(statement.table.c[name], connection.dialect)) for name in compiled.positiontup]
    one = f"({', '.join('?' * len(columns))})"
    at_once = max(1, min(AT_ONCE, _most_values(connection) // len(columns)))
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        values = tuple(stored(row[name]) if stored else row[name] for row in some for name, stored in columns)
        connection.exec_driver_sql(str(compiled).replace(one, ", ".join([one] * len(some)), 1), values)


def _most_values(connection: sa.Connection) -> int:
    """How many values a statement of this SQLite may have: before 3.32 it was 999."""
    driver: Any = connection.connection.driver_connection
    return int(driver.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER))


def _stored_by(column: sa.Column[Any], dialect: sa.Dialect) -> Any:
    """What makes the driver's value of one of the column's, if anything."""
    return column.type.dialect_impl(dialect).bind_processor(dialect)


def _mark(connection: sa.Connection, insert: Any, process_id: str, position: int) -> None:
    """Note how far the journal of a process is taken in."""
    statement = insert(delivery)
    further = statement.excluded.position > delivery.c.position
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["process_id"], set_={"position": statement.excluded.position}, where=further
        ),
        {"process_id": process_id, "position": position},
    )
