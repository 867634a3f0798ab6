"""Makes a ledger smaller: the inner spans of old runs are folded into the attempts around them.

A span goes into the nearest span around it that stays, with its joules, CPU time and bytes, so that what steps, runs
and artifacts cost stays as it was; what a flow's own body opened under one name goes into one span. Flow runs, attempts
and waits stay, as does what a figure rests on beside its sum (a process or a life-cycle stage of its own, energy
declared for work elsewhere, a gap, a write of a flow's body, whose time says what the body had seen). What the
ledger says of artifacts, reads, edges and outcomes stays.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from e2s_tasks.core.energy import COMPONENTS, HOST, add
from e2s_tasks.core.records import Kind, SpanRecord, Status
from e2s_tasks.core.results import RESULT
from e2s_tasks.ledger import runs
from e2s_tasks.ledger.engine import writing
from e2s_tasks.ledger.origins import root_runs
from e2s_tasks.ledger.query import chunks
from e2s_tasks.ledger.tables import outcome, pruned, read, span, version

FOLDED = "folded"  # attribute of a span that others were folded into: how many
AT_ONCE = 20  # runs that are pruned in one transaction: writers wait no longer than that takes
_INNER = (str(Kind.SPAN), str(Kind.READ), str(Kind.WRITE), str(Kind.MOVE))
_HOST = tuple(f"{component}_j" for component in HOST)
_SUMS = (*(f"{component}_j" for component in COMPONENTS), "cpu_ns", "shared_cpu_ns", "bytes_read", "bytes_written")
_STAY = {"estimated", "remote", "remote_work", RESULT}  # attributes that say of a figure what a sum cannot
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


@dataclass(slots=True)
class _Folding:
    """What becomes of a run's spans: those that others go into, as they will be, and where each folded one goes."""

    into: dict[str, SpanRecord] = field(default_factory=dict)
    target: dict[str, str] = field(default_factory=dict)
    until: dict[tuple[str, str], float] = field(default_factory=dict)


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


def prune(engine: sa.Engine, keep_s: float, *, dry_run: bool) -> Pruned:
    """Fold the inner spans of runs that ended more than `keep_s` seconds ago; dry_run: only count them."""
    before = time.time() - keep_s
    done = Pruned(size_before=_size(engine))
    with engine.connect() as connection:
        run_ids = _old_runs(connection, before)
    for some in chunks(run_ids, AT_ONCE):
        with engine.connect() if dry_run else writing(engine) as connection:
            if not dry_run and connection.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            for run_id in some:
                count = _prune_run(connection, run_id, before, dry_run=dry_run)
                done.spans += count
                done.runs += bool(count)
    if not dry_run and done.spans and _shrink(engine):
        done.size_after = _size(engine)
    return done


def _old_runs(connection: sa.Connection, before: float) -> list[str]:
    """The root runs that have inner spans which started before."""
    query = sa.select(span.c.run_id).where(span.c.started_at < before, span.c.kind.in_(_INNER)).distinct()
    found = list(connection.execute(query.where(span.c.parent_id.is_not(None))).scalars())
    return sorted(set(root_runs(connection, found).values()))


def _prune_run(connection: sa.Connection, run_id: str, before: float, *, dry_run: bool) -> int:
    """How many spans of a root run were folded: none of one that goes on, or that ended later."""
    ids = list(runs.members(connection, [run_id]))
    spans = runs.with_parents(connection, run_id, ids)
    if any(one.status == Status.RUNNING or one.ended_at is None or one.ended_at >= before for one in spans):
        return 0
    writers = {one for (one,) in _select_in(connection, version.c.span_id, version.c.run_id, ids)}
    readers = {one for (one,) in _select_in(connection, read.c.span_id, read.c.run_id, ids)}
    folding = _fold(spans, writers, keepers=writers & readers)
    if folding.target and not dry_run:
        _apply(connection, folding, ids)
    return len(folding.target)


def _select_in(
    connection: sa.Connection, wanted: sa.Column[Any], column: sa.Column[Any], ids: list[str]
) -> Iterator[Any]:
    for chunk in chunks(ids):
        yield from connection.execute(sa.select(wanted).where(column.in_(chunk)))


def _fold(spans: list[SpanRecord], writers: set[str], keepers: set[str]) -> _Folding:
    """What is folded into what. spans: with the parents that `Ledger.run` finds; writers: what wrote a version.

    keepers: writes that kept files of an earlier version, which went into the new version alone, not into their step.
    """
    by_id = {one.id: one for one in spans}
    folding = _Folding()
    alike: dict[tuple[Any, ...], str] = {}
    for one in _parents_first(spans, by_id):
        around_id = folding.target.get(one.parent_id or "", one.parent_id or "")
        around = folding.into.get(around_id) or by_id.get(around_id)
        if around is None or one.id in keepers or not _may_go(one, around, writers):
            continue
        if around.kind == Kind.FLOW:  # what a flow's body did is not its orchestration
            same = (around.id, one.kind, one.name, one.status, one.process_id, one.stage, _gaps(one))
            first = alike.setdefault(same, one.id)
            if first == one.id:
                continue
            around = folding.into.get(first, by_id[first])
            around = replace(around, ended_at=max(around.ended_at or 0.0, one.ended_at or 0.0))
        elif not _lies_inside(one, around):
            continue
        folding.target[one.id] = around.id
        folding.into[around.id] = _sum(around, one)
        key = (one.process_id, one.run_id)
        folding.until[key] = max(one.started_at, folding.until.get(key, 0.0))
    return folding


def _parents_first(spans: list[SpanRecord], by_id: dict[str, SpanRecord]) -> list[SpanRecord]:
    inside: dict[str, list[SpanRecord]] = defaultdict(list)
    found = []
    for one in spans:
        if one.parent_id in by_id:
            inside[str(one.parent_id)].append(one)
        else:
            found.append(one)
    for one in found:  # which grows
        found += inside.pop(one.id, [])
    return found


def _may_go(one: SpanRecord, around: SpanRecord, writers: set[str]) -> bool:
    """Whether no figure rests on the span beside its sums."""
    in_body = around.kind not in (Kind.ATTEMPT, Kind.WAIT)
    return (
        one.kind in _INNER
        and _is_known(one)
        and (one.remote_j, one.other_j, one.idle_j) == (None, None, None)
        and not _STAY.intersection(one.attributes)
        and not (in_body and one.id in writers)
    )


def _lies_inside(one: SpanRecord, around: SpanRecord) -> bool:
    """Whether the span around is worth the same: of the process and stage, over all its time, and counted at all.

    A component that only one of the two has a figure for is a gap, which a sum would hide.
    """
    return (
        _is_known(around)
        and around.status != Status.CACHED  # whose own zeros stand for nothing
        and one.process_id == around.process_id
        and (one.stage is None or one.stage == around.stage)
        and _gaps(one) == _gaps(around)
        and around.started_at <= one.started_at
        and (one.ended_at or 0.0) <= (around.ended_at or 0.0)
    )


def _gaps(one: SpanRecord) -> tuple[bool, ...]:
    """Which components have no figure."""
    return tuple(getattr(one, name) is None for name in _HOST)


def _is_known(one: SpanRecord) -> bool:
    """Whether the span's energy is all known: a gap stays where it is, since a sum would hide it or spread it."""
    return one.energy.host is not None and not one.attributes.get("gaps")


def _sum(around: SpanRecord, one: SpanRecord) -> SpanRecord:
    """The span around with what another one used."""
    figures: dict[str, Any] = {name: add((getattr(around, name), getattr(one, name))) for name in _SUMS}
    return replace(around, **figures, attributes=around.attributes | {FOLDED: around.attributes.get(FOLDED, 0) + 1})


def _apply(connection: sa.Connection, folding: _Folding, ids: list[str]) -> None:
    """Write down the sums, let what pointed to a folded span point to where it went, and delete the folded ones."""
    columns = {
        name: sa.bindparam(f"new_{name}", type_=span.c[name].type) for name in (*_SUMS, "ended_at", "attributes")
    }
    update = sa.update(span).where(span.c.id == sa.bindparam("of_id")).values(columns)
    connection.execute(
        update,
        [{"of_id": one.id, **{f"new_{name}": getattr(one, name) for name in columns}} for one in folding.into.values()],
    )
    for table in (version, read, outcome):
        pointing = {one for (one,) in _select_in(connection, table.c.span_id, table.c.run_id, ids)} & set(
            folding.target
        )
        for old in pointing:
            connection.execute(sa.update(table).where(table.c.span_id == old).values(span_id=folding.target[old]))
    for chunk in chunks(folding.target):
        connection.execute(
            sa.update(span).where(span.c.parent_id.in_(chunk)).values(parent_id=_new_parent(chunk, folding))
        )
        connection.execute(sa.delete(span).where(span.c.id.in_(chunk)))
    _mark(connection, folding.until)


def _new_parent(chunk: Iterable[str], folding: _Folding) -> sa.Case[Any]:
    return sa.case(*((span.c.parent_id == old, folding.target[old]) for old in chunk), else_=span.c.parent_id)


def _mark(connection: sa.Connection, until: dict[tuple[str, str], float]) -> None:
    known = {
        (process_id, run_id): at
        for chunk in chunks({process_id for process_id, _ in until})
        for process_id, run_id, at in connection.execute(sa.select(pruned).where(pruned.c.process_id.in_(chunk)))
    }
    for (process_id, run_id), at in until.items():
        values = {"process_id": process_id, "run_id": run_id, "until": max(at, known.get((process_id, run_id), at))}
        if (process_id, run_id) in known:
            same = (pruned.c.process_id == process_id, pruned.c.run_id == run_id)
            connection.execute(sa.update(pruned).where(*same).values(until=values["until"]))
        else:
            connection.execute(sa.insert(pruned).values(values))


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
