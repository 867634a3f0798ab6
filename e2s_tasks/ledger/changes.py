"""What has been written since somebody last looked: so that sums over all runs need not be made anew from all of them.

Each write leaves a number with the runs that it was of. In SQLite, where writes come one after another, it is counted
on; in PostgreSQL it is the transaction's, for a write may end after one that began later: numbers from the oldest
transaction on that was still open are given again, and who asks knows those that it has seen by their equal number.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from e2s_tasks.core.records import CallRecord, Record
from e2s_tasks.ledger.tables import changed

_SQLITE_NUMBER = sa.select(sa.func.coalesce(sa.func.max(changed.c.number), 0) + 1)
_POSTGRESQL_NUMBER = sa.text("SELECT pg_current_xact_id()::text::bigint")
_POSTGRESQL_OPEN = sa.text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")


@dataclass(frozen=True, slots=True)
class Changes:
    """The runs (as they recorded themselves) that were written to, each with the number of the last write.

    until: what to ask with the next time.
    """

    until: int
    runs: dict[str, int]


def note(
    connection: sa.Connection,
    insert: Callable[[sa.Table], Any],
    rows: Mapping[type[Record], Iterable[Mapping[str, Any]]],
) -> None:
    """Note that these rows are being written, inside their transaction. insert: the dialect's INSERT into a table."""
    runs = set(_runs(rows))
    if not runs:
        return
    sqlite = connection.dialect.name == "sqlite"
    number = connection.execute(_SQLITE_NUMBER if sqlite else _POSTGRESQL_NUMBER).scalar()
    statement = insert(
        changed
    )  # a lower number replaces a higher one, too: who has seen that one asks for this as well
    statement = statement.on_conflict_do_update(index_elements=["run_id"], set_={"number": statement.excluded.number})
    connection.execute(statement, [{"run_id": run_id, "number": number} for run_id in sorted(runs)])


def _runs(rows: Mapping[type[Record], Iterable[Mapping[str, Any]]]) -> Iterator[str]:
    for record_type, values in rows.items():
        name = "id" if record_type is CallRecord else "run_id"
        yield from (row[name] for row in values if row.get(name))


def since(connection: sa.Connection, number: int | None) -> Changes:
    """What was written from then on; None: nothing yet, only where to begin."""
    sqlite = connection.dialect.name == "sqlite"
    until = int(connection.execute(_SQLITE_NUMBER if sqlite else _POSTGRESQL_OPEN).scalar() or 0)
    if number is None:
        return Changes(until, {})
    rows = connection.execute(sa.select(changed.c.run_id, changed.c.number).where(changed.c.number >= number))
    return Changes(until, dict(rows.tuples().all()))
