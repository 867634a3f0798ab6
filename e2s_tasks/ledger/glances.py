"""Root runs at a glance. A root run is a flow run that no measured run started, or work outside any flow.

The flow runs under it belong to it, as does what other processes recorded under the id of one of those.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from e2s_tasks.core.energy import COMPONENTS, Energy, total
from e2s_tasks.core.records import Kind, SpanRecord, Status
from e2s_tasks.ledger.query import chunks, select
from e2s_tasks.ledger.tables import call, span


@dataclass(frozen=True, slots=True)
class RunRow:
    """A root run at a glance. `energy` is inclusive: all its spans, in joules by component.

    waits: for a cleaner grid, in its process, or suspended without one.
    """

    run_id: str
    flow_run_id: str | None
    name: str
    flow_run_name: str | None
    kind: str
    status: str
    solution: str | None
    started_at: float
    ended_at: float | None
    spans: int
    energy: Energy
    waits: bool


def members(connection: sa.Connection, run_ids: Iterable[str]) -> dict[str, str]:
    """The ids under which the root runs' spans are recorded, each with its root run: their own and their subflows'.

    A flow run that one of them started in a process of its own is a subflow, too.
    """
    root_of = {run_id: run_id for run_id in run_ids}
    frontier = list(root_of)
    while frontier:
        found: dict[str, str] = {}
        for chunk in chunks(frontier):
            flows = sa.select(span.c.flow_run_id, span.c.run_id).where(is_flow(), span.c.run_id.in_(chunk)).distinct()
            calls = sa.select(call.c.id, call.c.caller).where(call.c.caller.in_(chunk))
            for flow_run_id, above in [*connection.execute(flows), *connection.execute(calls)]:
                if flow_run_id is not None and flow_run_id not in root_of:
                    found[flow_run_id] = root_of[above]
        root_of |= found
        frontier = list(found)
    return root_of


def is_flow(table: sa.FromClause = span) -> sa.ColumnElement[bool]:
    """Whether a row is of a flow run."""
    return table.c.kind == sa.literal_column("'flow'")  # as written in the partial index


def roots() -> sa.Select[tuple[str, float]]:
    """Root runs' ids with their first start: each span without a parent, if it is the first one of such a run.

    No grouping, so that the newest are found from the end of an index, however many there are.
    """
    flow, earlier = span.alias("flow"), span.alias("earlier")
    of_another = (
        sa.exists().where(is_flow(flow), flow.c.flow_run_id == span.c.run_id, flow.c.run_id != flow.c.flow_run_id)
    )  # fmt: skip
    called = sa.exists().where(call.c.id == span.c.run_id, is_flow(flow), flow.c.flow_run_id == call.c.caller)
    one, other = (sa.tuple_(table.c.started_at, table.c.id) for table in (earlier, span))
    not_first = sa.exists().where(earlier.c.parent_id.is_(None), earlier.c.run_id == span.c.run_id, one < other)
    return sa.select(span.c.run_id, span.c.started_at).where(
        span.c.parent_id.is_(None), ~not_first, ~of_another, ~called
    )


def latest(connection: sa.Connection, limit: int | None, since: float | None) -> list[RunRow]:
    """Root runs, newest first."""
    query = roots().order_by(span.c.started_at.desc(), span.c.run_id).limit(limit)
    if since is not None:
        query = query.where(span.c.started_at >= since)
    return rows_of(connection, list(connection.execute(query).scalars()))


def rows_of(connection: sa.Connection, run_ids: Sequence[str]) -> list[RunRow]:
    """Root runs at a glance, in the order of their ids given."""
    roots_of = heads(connection, run_ids)
    energies = _energies(connection, run_ids)
    waiting = _waiting(connection, run_ids)
    return [_row(roots_of[run_id], *energies[run_id], waits=run_id in waiting) for run_id in run_ids]


def known(connection: sa.Connection, run_ids: Sequence[str]) -> list[RunRow]:
    """Those of these root runs that are known, at a glance, in the order given."""
    found = heads(connection, run_ids)
    return rows_of(connection, [run_id for run_id in run_ids if run_id in found])


def heads(connection: sa.Connection, run_ids: Sequence[str]) -> dict[str, list[SpanRecord]]:
    """The root spans of each run, in the order of their starts; a flow's before anything else."""
    found: dict[str, list[SpanRecord]] = defaultdict(list)
    for chunk in chunks(run_ids):
        for root in select(connection, SpanRecord, span.c.parent_id.is_(None), span.c.run_id.in_(chunk)):
            found[root.run_id].append(root)
    for roots in found.values():
        roots.sort(key=lambda root: (root.kind != Kind.FLOW or root.flow_run_id != root.run_id, root.started_at))
    return found


def _energies(connection: sa.Connection, run_ids: Sequence[str]) -> dict[str, tuple[Energy, int, float]]:
    """What the spans of each run used, how many they are, marks aside, and when the last of them ended."""
    root_of = members(connection, run_ids)
    sums = [sa.func.sum(span.c[f"{name}_j"]) for name in COMPONENTS]
    parts: dict[str, list[Energy]] = defaultdict(list)
    counts: dict[str, int] = defaultdict(int)
    ends: dict[str, float] = defaultdict(float)
    count, end = sa.func.count(sa.case((span.c.kind != Kind.MARK.value, 1))), sa.func.max(span.c.ended_at)
    for chunk in chunks(root_of):
        query = sa.select(span.c.run_id, count, end, *sums).where(span.c.run_id.in_(chunk)).group_by(span.c.run_id)
        for run_id, number, last, *figures in connection.execute(query):
            parts[root_of[run_id]].append(Energy(*figures))
            counts[root_of[run_id]] += number
            ends[root_of[run_id]] = max(ends[root_of[run_id]], last or 0.0)
    return {run_id: (total(parts[run_id]), counts[run_id], ends[run_id]) for run_id in run_ids}


def _waiting(connection: sa.Connection, run_ids: Sequence[str]) -> set[str]:
    """Those of the runs whose process waits for a cleaner grid."""
    waits = sa.select(span.c.run_id).where(span.c.kind == Kind.WAIT.value, span.c.status == Status.RUNNING.value)
    return {found for chunk in chunks(run_ids) for found in connection.scalars(waits.where(span.c.run_id.in_(chunk)))}


def _row(roots: list[SpanRecord], energy: Energy, spans: int, end: float, *, waits: bool) -> RunRow:
    first = roots[0]
    lives = [root for root in roots if root.kind == first.kind and root.flow_run_id == first.flow_run_id]
    last = lives[-1]
    return RunRow(
        run_id=first.run_id,
        flow_run_id=first.flow_run_id,
        name=first.name,
        flow_run_name=first.attributes.get("flow_run_name"),
        kind=first.kind,
        status=last.status,
        solution=first.solution,
        started_at=first.started_at,
        ended_at=None if last.ended_at is None else max(last.ended_at, end),
        spans=spans,
        energy=energy,
        waits=waits or last.status == Status.SUSPENDED,
    )
