"""Questions about runs. A root run is a flow run that no measured run started, or work outside any flow.

The flow runs under it belong to it, as does what other processes recorded under the id of one of those.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, cast

import sqlalchemy as sa

from e2s_tasks.core.energy import COMPONENTS, Energy, total
from e2s_tasks.core.records import (
    OF_STEP,
    CallRecord,
    DecisionRecord,
    EdgeRecord,
    Kind,
    OutcomeRecord,
    ProcessRecord,
    ReadRecord,
    Record,
    RunRecords,
    SourceRecord,
    SpanRecord,
    Status,
    VersionRecord,
)
from e2s_tasks.errors import NotFoundError
from e2s_tasks.ledger import artifacts
from e2s_tasks.ledger.adoption import adopt
from e2s_tasks.ledger.origins import Origins, root_runs
from e2s_tasks.ledger.query import chunks, flow_run_name, select, select_in, starts_with
from e2s_tasks.ledger.tables import call, decision, edge, outcome, process, read, span, version
from e2s_tasks.near import RUN_ONE, hint, nearest

SHORT = 8  # characters of an id that lists show
IN_TIME = attrgetter("started_at", "id")
DECLARE = 'Declare one: @e2s_flow(solution="...") in Prefect, the tag e2s:solution=... of a DAG in Airflow.'
MOST_TOLD = 5  # of several runs that a text may name
NEAR = 200  # how many of the latest runs are searched for near matches


@dataclass(frozen=True, slots=True)
class RunRow:
    """A root run at a glance. `energy` is inclusive: all its spans, in joules by component."""

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
    heads = _heads(connection, run_ids)
    energies = _energies(connection, run_ids)
    return [_row(heads[run_id], *energies[run_id]) for run_id in run_ids]


def known(connection: sa.Connection, run_ids: Sequence[str]) -> list[RunRow]:
    """Those of these root runs that are known, at a glance, in the order given."""
    heads = _heads(connection, run_ids)
    return rows_of(connection, [run_id for run_id in run_ids if run_id in heads])


def _heads(connection: sa.Connection, run_ids: Sequence[str]) -> dict[str, list[SpanRecord]]:
    """The root spans of each run, in the order of their starts; a flow's before anything else."""
    heads: dict[str, list[SpanRecord]] = defaultdict(list)
    for chunk in chunks(run_ids):
        for root in select(connection, SpanRecord, span.c.parent_id.is_(None), span.c.run_id.in_(chunk)):
            heads[root.run_id].append(root)
    for roots in heads.values():
        roots.sort(key=lambda root: (root.kind != Kind.FLOW or root.flow_run_id != root.run_id, root.started_at))
    return heads


def _energies(connection: sa.Connection, run_ids: Sequence[str]) -> dict[str, tuple[Energy, int, float]]:
    """What the spans of each run used, how many they are, and when the last of them ended."""
    root_of = members(connection, run_ids)
    sums = [sa.func.sum(span.c[f"{name}_j"]) for name in COMPONENTS]
    parts: dict[str, list[Energy]] = defaultdict(list)
    counts: dict[str, int] = defaultdict(int)
    ends: dict[str, float] = defaultdict(float)
    count, end = sa.func.count(), sa.func.max(span.c.ended_at)
    for chunk in chunks(root_of):
        query = sa.select(span.c.run_id, count, end, *sums).where(span.c.run_id.in_(chunk)).group_by(span.c.run_id)
        for run_id, number, last, *figures in connection.execute(query):
            parts[root_of[run_id]].append(Energy(*figures))
            counts[root_of[run_id]] += number
            ends[root_of[run_id]] = max(ends[root_of[run_id]], last or 0.0)
    return {run_id: (total(parts[run_id]), counts[run_id], ends[run_id]) for run_id in run_ids}


def _row(roots: list[SpanRecord], energy: Energy, spans: int, end: float) -> RunRow:
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
    )


def as_written(connection: sa.Connection, run_id: str) -> RunRecords:
    """The spans of one root run, in the order of their starts, and their processes, as these wrote them down.

    Raises:
        NotFoundError: no span of such a run is known.
    """
    spans = _spans(connection, run_id, list(members(connection, [run_id])))
    return RunRecords(run_id, processes=_processes(connection, spans), spans=spans)


def _spans(connection: sa.Connection, run_id: str, ids: list[str]) -> list[SpanRecord]:
    spans = select_in(connection, SpanRecord, span.c.run_id, ids)
    if not spans:
        raise _not_found(connection, run_id)
    return sorted(spans, key=lambda one: (one.started_at, one.id))


def spans_with_parents(connection: sa.Connection, run_ids: Iterable[str]) -> tuple[list[str], list[list[SpanRecord]]]:
    """The ids under which root runs are recorded; the spans of each run, each with the parent that is found for it."""
    root_of = members(connection, run_ids)
    spans: dict[str, list[SpanRecord]] = defaultdict(list)
    for one in select_in(connection, SpanRecord, span.c.run_id, root_of):
        spans[root_of[one.run_id]].append(one)
    calls = calls_among(connection, root_of)
    for run_id, of_run in spans.items():
        of_run.sort(key=lambda one: (one.started_at, one.id))
        adopt(of_run, run_id, calls)
    return list(root_of), list(spans.values())


def calls_among(connection: sa.Connection, ids: Iterable[str]) -> dict[str, CallRecord]:
    """By their ids the flow runs among these that others started in processes of their own."""
    return {one.id: one for one in select_in(connection, CallRecord, call.c.id, ids)}


def _processes(connection: sa.Connection, spans: list[SpanRecord]) -> list[ProcessRecord]:
    processes = select_in(connection, ProcessRecord, process.c.id, {one.process_id for one in spans})
    for one in processes:
        one.sources = [SourceRecord(**source) for source in cast("list[dict[str, Any]]", one.sources)]
    return processes


def records(connection: sa.Connection, run_id: str) -> RunRecords:
    """Everything known of one root run.

    Raises:
        NotFoundError: no span of such a run is known.
    """
    found = records_of(connection, [run_id], Origins())
    if not found:
        raise _not_found(connection, run_id)
    found[0].version_numbers = artifacts.numbers(connection, [one.id for one in found[0].versions])
    return found[0]


def records_of(
    connection: sa.Connection,
    run_ids: Iterable[str],
    origins: Origins | None,
    parts: Collection[type[Record]] | None = None,
) -> list[RunRecords]:
    """What is known of each of the root runs that the ledger has, without the numbers of their versions.

    origins: explains what they have from other runs; None: nobody asks. parts: the types of record that are wanted.
    """
    root_of = members(connection, run_ids)
    runs = {run_id: RunRecords(run_id) for run_id in dict.fromkeys(root_of.values())}
    for record_type, table, name in (part for part in _PARTS if parts is None or part[0] in parts):
        for record in select_in(connection, record_type, table.c.run_id, root_of):
            getattr(runs[root_of[record.run_id]], name).append(record)
    found = [run for run in runs.values() if run.spans]
    processes = {one.id: one for one in _processes(connection, [span for run in found for span in run.spans])}
    calls = calls_among(connection, root_of)
    for run in found:
        put_in_order(run)
        adopt(run.spans, run.run_id, calls)
        ids = dict.fromkeys(one.process_id for one in run.spans)
        run.processes = [processes[process_id] for process_id in ids if process_id in processes]
    if origins is not None:
        origins.explain(connection, found)
    return found


_PARTS: tuple[tuple[Any, sa.Table, str], ...] = (
    (SpanRecord, span, "spans"),
    (VersionRecord, version, "versions"),
    (ReadRecord, read, "reads"),
    (EdgeRecord, edge, "edges"),
    (OutcomeRecord, outcome, "outcomes"),
    (DecisionRecord, decision, "decisions"),
)
SPENT = (SpanRecord, DecisionRecord)  # what the energy and the emissions of a run are made from


def put_in_order(run: RunRecords) -> None:
    """Each of the run's records in the order of its time."""
    run.spans.sort(key=IN_TIME)
    run.versions.sort(key=artifacts.age)
    run.edges.sort(key=lambda one: one.id)
    for of_run in (run.reads, run.outcomes, run.decisions):
        of_run.sort(key=lambda one: (one.at, one.id))
    run.decisions = [
        one for one in run.decisions if one.run_id == run.run_id
    ] or run.decisions  # not of what it started


def step_decisions(connection: sa.Connection, run_id: str, step: str) -> list[DecisionRecord]:
    """The decisions for one step of a root run, the earliest first."""
    of_step = decision.c.plan[OF_STEP].as_string() == step
    return sorted(select(connection, DecisionRecord, decision.c.run_id == run_id, of_step), key=lambda one: one.at)


def ended(connection: sa.Connection, run_id: str, task_keys: Iterable[str]) -> float | None:
    """When the last attempt of these tasks in a root run ended; None where none is known to have."""
    of_run = (span.c.run_id == run_id) & (span.c.kind == Kind.ATTEMPT.value)
    ends = (
        connection.scalar(sa.select(sa.func.max(span.c.ended_at)).where(of_run, span.c.task_key.in_(chunk)))
        for chunk in chunks(task_keys)
    )
    return max((one for one in ends if one is not None), default=None)


def find(connection: sa.Connection, text: str | None) -> str:
    """The root run of a run id, the unique start of one, or a flow run's name; None: the latest root run.

    Raises:
        NotFoundError: there is none, or several; `suggestions` holds near matches.
    """
    if text is None:
        newest = latest(connection, 1, None)
        if not newest:
            raise NotFoundError(f"The ledger holds no run yet. {RUN_ONE}")
        return newest[0].run_id
    found = _matching(connection, text)
    if len(found) == 1:
        return found[0]
    if found:
        raise _several(connection, text, found)
    raise _not_found(connection, text)


def _matching(connection: sa.Connection, text: str) -> list[str]:
    """The root runs that the text may name: by exact id, else by a flow run's name, else by the start of an id."""
    first = roots().subquery()
    root_ids = sa.select(first.c.run_id)
    run_of = sa.select(span.c.run_id).where(is_flow())
    attempts = (
        (root_ids.where(first.c.run_id == text), run_of.where(span.c.flow_run_id == text)),
        (run_of.where(flow_run_name(connection) == text),),
        (
            root_ids.where(starts_with(connection, first.c.run_id, text)),
            run_of.where(starts_with(connection, span.c.flow_run_id, text)),
        ),
    )
    for queries in attempts:
        found = {run_id for query in queries for run_id in connection.execute(query).scalars()}
        if text and found:
            return sorted(set(root_runs(connection, found).values()))
    return []


def _several(connection: sa.Connection, text: str, run_ids: Sequence[str]) -> NotFoundError:
    """Of several runs that the text may name, the newest first: the id of each, what ran, and when it began."""
    heads = {run_id: roots[0] for run_id, roots in _heads(connection, run_ids).items()}
    newest = sorted(heads.values(), key=lambda head: head.started_at, reverse=True)[:MOST_TOLD]
    told = [
        f"{head.run_id} ({head.name}, {datetime.fromtimestamp(head.started_at, UTC):%Y-%m-%d %H:%M UTC})"
        for head in newest
    ]
    more = f" and {len(run_ids) - len(told)} more" if len(run_ids) > len(told) else ""
    said = f"{text!r} could be any of {len(run_ids)} runs: {', '.join(told)}{more}. Give more of the run's id."
    return NotFoundError(said, [head.run_id for head in newest])


def _not_found(connection: sa.Connection, text: str) -> NotFoundError:
    meant = _meant(text, latest(connection, NEAR, None))
    near = dict(meant[name] for name in nearest(text, meant))
    said = hint([*near.values()], (), "`e2s runs` lists the runs.")
    return NotFoundError(f"No run {text!r} is in the ledger. {said}", [*near])


def _meant(text: str, rows: Iterable[RunRow]) -> dict[str, tuple[str, str]]:
    """By what somebody may have meant to type: what names the run, and that in words.

    These are its name and its id, and the flow and the solution whose latest run it is.
    """
    start = max(SHORT, len(text))  # lists show the start of an id, so that is what people type
    meant: dict[str, tuple[str, str]] = {}
    for row in rows:
        short = row.run_id[:SHORT]
        for name in (row.flow_run_name, row.run_id, row.run_id[:start]):
            if name:
                meant.setdefault(name, (name, name))
        for name, what in ((row.name, row.name), (row.solution, f"the solution {row.solution}")):
            if name:
                meant.setdefault(name, (short, f"{short}, the latest run of {what}"))
    return meant


def producer(connection: sa.Connection, result_key: str, not_flow_run_id: str | None) -> SpanRecord | None:
    """The completed attempt that last produced a persisted result, in another flow run than the one given."""
    query = (
        sa.select(span)
        .where(span.c.result_key == result_key, span.c.status == str(Status.COMPLETED))
        .order_by(span.c.ended_at.desc())
        .limit(1)
    )
    if not_flow_run_id is not None:
        query = query.where(span.c.flow_run_id.is_distinct_from(not_flow_run_id))
    row = connection.execute(query).first()
    return None if row is None else SpanRecord(*row)


def of_solution(connection: sa.Connection, solution: str, since: float | None) -> list[str]:
    """The ids of the root runs of a solution, the oldest first.

    Raises:
        NotFoundError: no run of that solution is known, at any time; `suggestions` holds near matches.
    """
    columns = roots().where(span.c.solution == solution).subquery().c
    query = sa.select(columns.run_id, columns.started_at).order_by(columns.started_at)
    found = list(connection.execute(query))
    if not found:
        known = list(connection.execute(sa.select(span.c.solution).where(is_flow()).distinct()).scalars())
        names = [name for name in known if name]
        near = nearest(solution, names)
        said = hint(near, names, DECLARE)
        raise NotFoundError(f"No run of a solution {solution!r} is in the ledger. {said}", near)
    return [run_id for run_id, started_at in found if since is None or started_at >= since]
