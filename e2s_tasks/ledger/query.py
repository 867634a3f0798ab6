"""Reading whole records, many ids at a time, and conditions that both databases have an index for."""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sa

from e2s_tasks.core.records import Record, SpanRecord
from e2s_tasks.ledger.tables import TABLES

PORTION = 2000  # spans that are held as rows before they are records
CHUNK = 500  # below every database's limit on the parameters of a statement
R = TypeVar("R", bound=Record)


def chunks(values: Iterable[str], size: int = CHUNK) -> Iterator[list[str]]:
    """The values in lists that fit into one statement."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def select(connection: sa.Connection, record_type: type[R], *conditions: sa.ColumnElement[bool]) -> list[R]:
    """The records of a type that meet the conditions, in no particular order. Equal texts in them are one object."""
    query = sa.select(*TABLES[record_type].columns).where(*conditions)
    if record_type is SpanRecord:  # of which there are many; a cursor of the server's costs four more round trips
        query = query.execution_options(yield_per=PORTION)
    found = connection.execute(query)
    rows = found if record_type is SpanRecord else found.all()
    known: dict[Any, Any] = {}  # a run of many spans repeats the ids of its process, run and parents in each
    same = known.setdefault
    return [record_type(*[same(value, value) if type(value) is str else value for value in row]) for row in rows]


def select_in(
    connection: sa.Connection, record_type: type[R], column: sa.Column[Any], values: Iterable[str]
) -> list[R]:
    """The records of a type whose column holds one of the values."""
    return [record for chunk in chunks(values) for record in select(connection, record_type, column.in_(chunk))]


def starts_with(connection: sa.Connection, column: sa.ColumnElement[str], text: str) -> sa.ColumnElement[bool]:
    """Whether a column's text starts so, as a condition that an index serves."""
    if connection.dialect.name == "sqlite":  # its LIKE takes upper and lower case for the same, and no index
        return sa.and_(column >= text, column < text + chr(sys.maxunicode))
    return column.like("".join(f"\\{one}" if one in "%_\\" else one for one in text) + "%")


def flow_run_name(connection: sa.Connection) -> sa.ColumnElement[str]:
    """The name of a flow span's flow run, written as in the index that holds it."""
    if connection.dialect.name == "sqlite":
        return sa.literal_column("json_extract(span.attributes, '$.flow_run_name')", sa.Text)
    return sa.literal_column("(span.attributes ->> 'flow_run_name')", sa.Text)
