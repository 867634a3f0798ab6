"""Makes a ledger smaller: the inner spans of old runs are folded into the attempts around them (`folding.py`).

What the ledger says of artifacts, reads, edges and outcomes stays. Runs are taken together in batches, each of them one
transaction: whoever interrupts it, or kills it, loses nothing and has what was folded by then.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from e2s_tasks.core.records import Status
from e2s_tasks.ledger import runs
from e2s_tasks.ledger.engine import writer
from e2s_tasks.ledger.folding import FOLDED, INNER, SUMS, Folding
from e2s_tasks.ledger.origins import root_runs
from e2s_tasks.ledger.query import chunks
from e2s_tasks.ledger.tables import outcome, pruned, read, span, version

AT_ONCE = 8000  # inner spans that are pruned in one transaction, or those of one run: writers wait for as long
# SQLite's 2 MB of pages are less than the indexes of a large ledger, and each batch would be copied into its file.
IN_BULK = ("PRAGMA cache_size = -65536", "PRAGMA wal_autocheckpoint = 16384")
_LOCK = 0x653274  # PostgreSQL's advisory lock: shared by who takes records in, exclusive for who folds spans


@dataclass(slots=True)
class Pruned:
    """What was, or would be, folded: how many spans of how many runs, and the ledger's bytes before and after.

    size_after is None where nothing was done, and where the database could not be made smaller at once.
    """

    runs: int = 0
    spans: int = 0
    size_before: int | None = None
    size_after: int | None = None


def lock_for_ingest(connection: sa.Connection) -> None:
    """Have a running `prune` finish what it is at. SQLite's write transactions are exclusive by themselves."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock_shared(:lock)"), {"lock": _LOCK})


def not_pruned(connection: sa.Connection, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of spans without those that were folded away: a journal that is replayed does not bring them back."""
    until: dict[tuple[str, str], float] = {}
    for chunk in chunks({row["process_id"] for row in rows}):
        found = connection.execute(sa.select(pruned).where(pruned.c.process_id.in_(chunk)))
        until |= {(process_id, run_id): at for process_id, run_id, at in found}
    if not until:
        return rows
    return [
        row
        for row in rows
        if FOLDED in row["attributes"] or row["started_at"] > until.get((row["process_id"], row["run_id"]), -1.0)
    ]


def prune(engine: sa.Engine, keep_s: float, *, dry_run: bool, told: Callable[[int, int], None] | None) -> Pruned:
    """Fold the inner spans of runs that ended more than `keep_s` seconds ago; dry_run: only count them.

    told: is called after each transaction with how many inner spans have been looked at, and of how many.
    """
    before = time.time() - keep_s
    done = Pruned(size_before=_size(engine))
    with engine.connect() as connection:
        old = _old_runs(connection, before)
    looked_at, of = 0, sum(old.values())
    with engine.connect() if dry_run else writer(engine) as connection:
        for some in _batches(old):
            with connection.begin():
                counts = _prune(connection, some, before, dry_run=dry_run)
            done.spans += sum(counts)
            done.runs += sum(map(bool, counts))
            looked_at += sum(old[run_id] for run_id in some)
            if told is not None:
                told(looked_at, of)
    if not dry_run and done.spans and _shrink(engine):
        done.size_after = _size(engine)
    return done


def _prune(connection: sa.Connection, run_ids: list[str], before: float, *, dry_run: bool) -> list[int]:
    """Fold some runs together, while nobody takes records in; how many spans of each are folded."""
    if connection.dialect.name == "sqlite":
        for pragma in IN_BULK:
            connection.exec_driver_sql(pragma)
    elif not dry_run:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    batch = _Batch(connection, run_ids)
    counts = batch.fold(before)
    if not dry_run and any(counts):
        batch.apply()
    return counts


def _old_runs(connection: sa.Connection, before: float) -> dict[str, int]:
    """The root runs that have inner spans which started before, and how many: the oldest first.

    Runs of one time lie together in the database, so that a batch of them touches few of its pages.
    """
    old = sa.and_(span.c.started_at < before, span.c.kind.in_(INNER), span.c.parent_id.is_not(None))
    query = sa.select(span.c.run_id, sa.func.count()).where(old).group_by(span.c.run_id)
    rows = connection.execute(query.order_by(sa.func.min(span.c.started_at), span.c.run_id)).all()
    roots = root_runs(connection, [run_id for run_id, _ in rows])
    found: dict[str, int] = defaultdict(int)
    for run_id, count in rows:
        found[roots[run_id]] += count
    return found


def _batches(counts: dict[str, int]) -> Iterator[list[str]]:
    """The runs, so many together that they have AT_ONCE inner spans or a single one has more."""
    some: list[str] = []
    held = 0
    for run_id, count in counts.items():
        if some and held + count > AT_ONCE:
            yield some
            some, held = [], 0
        some.append(run_id)
        held += count
    if some:
        yield some


class _Batch:
    """Some root runs that are folded in one transaction."""

    def __init__(self, connection: sa.Connection, run_ids: list[str]) -> None:
        self._connection = connection
        self._ids, self._runs = runs.spans_with_parents(connection, run_ids)
        self._span_of = {table: dict(self._pointing(table)) for table in (version, read, outcome)}
        self._folding = Folding()

    def fold(self, before: float) -> list[int]:
        """How many spans of each run are folded: none of one that goes on, or that ended later."""
        writers, readers = (set(self._span_of[table].values()) for table in (version, read))
        return [
            0
            if any(one.status == Status.RUNNING or one.ended_at is None or one.ended_at >= before for one in spans)
            else self._folding.add(spans, writers, writers & readers)
            for spans in self._runs
        ]

    def _pointing(self, table: sa.Table) -> Iterator[tuple[str, str]]:
        """The ids of a table's records of these runs, each with its span's."""
        wanted = sa.select(table.c.id, table.c.span_id)
        for chunk in chunks(self._ids):
            yield from self._connection.execute(wanted.where(table.c.run_id.in_(chunk))).tuples()

    def apply(self) -> None:
        """Write down the sums, let what pointed to a folded span point to where it went, and delete the folded ones."""
        target = self._folding.target
        summed = (*SUMS, "ended_at", "attributes")
        figures = {one.id: [getattr(one, name) for name in summed] for one in self._folding.into.values()}
        self._update(span, figures, *summed)
        for table, span_of in self._span_of.items():
            moved = {one: [target[span_id]] for one, span_id in span_of.items() if span_id in target}
            self._update(table, moved, "span_id")
        kept = (one for spans in self._runs for one in spans if one.id not in target)
        self._update(span, {one.id: [target[one.parent_id]] for one in kept if one.parent_id in target}, "parent_id")
        for chunk in chunks(sorted(target)):  # as they lie in the index
            self._connection.execute(sa.delete(span).where(span.c.id.in_(chunk)))
        _mark(self._connection, self._folding.until)

    def _update(self, table: sa.Table, rows: dict[str, list[Any]], *names: str) -> None:
        """Set the columns of the rows with these ids."""
        new = [f"new_{name}" for name in names]
        columns = {name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
        update = sa.update(table).where(table.c.id == sa.bindparam("of_id")).values(columns)
        if rows:
            self._connection.execute(
                update, [{"of_id": of_id, **dict(zip(new, row, strict=True))} for of_id, row in rows.items()]
            )


def _mark(connection: sa.Connection, until: dict[tuple[str, str], float]) -> None:
    """Note how far what a process recorded of a run is folded."""
    known: dict[tuple[str, str], float] = {}
    for chunk in chunks({process_id for process_id, _ in until}):
        found = connection.execute(sa.select(pruned).where(pruned.c.process_id.in_(chunk)))
        known |= {(process_id, run_id): at for process_id, run_id, at in found}
    rows = [{"of_process": key[0], "of_run": key[1], "at": max(at, known.get(key, at))} for key, at in until.items()]
    same = (pruned.c.process_id == sa.bindparam("of_process"), pruned.c.run_id == sa.bindparam("of_run"))
    connection.execute(sa.delete(pruned).where(*same), rows)
    values: dict[str, Any] = {
        "process_id": sa.bindparam("of_process"),
        "run_id": sa.bindparam("of_run"),
        "until": sa.bindparam("at"),
    }
    connection.execute(sa.insert(pruned).values(values), rows)


def _size(engine: sa.Engine) -> int | None:
    """Bytes of the database."""
    question = "SELECT pg_database_size(current_database())"
    if engine.dialect.name == "sqlite":
        question = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    with engine.connect() as connection:
        found = connection.execute(sa.text(question)).scalar()
    return None if found is None else int(found)


def _shrink(engine: sa.Engine) -> bool:
    """Give the free space back; where somebody is at work it is used again instead."""
    statements = ["VACUUM (ANALYZE) span"]
    if engine.dialect.name == "sqlite":
        statements = ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"]
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            driver: Any = connection.connection.driver_connection  # past SQLAlchemy, which would begin a transaction
            for statement in statements:
                driver.execute(statement)
    except Exception as error:
        if isinstance(error, (SQLAlchemyError, engine.dialect.loaded_dbapi.Error)):
            return False
        raise
    return True
