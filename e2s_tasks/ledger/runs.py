"""All that is known of root runs."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from operator import attrgetter
from typing import Any, cast

import sqlalchemy as sa

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
from e2s_tasks.ledger import artifacts
from e2s_tasks.ledger.adoption import adopt
from e2s_tasks.ledger.finding import not_found
from e2s_tasks.ledger.glances import members
from e2s_tasks.ledger.origins import Origins
from e2s_tasks.ledger.query import chunks, select, select_in
from e2s_tasks.ledger.tables import call, decision, edge, outcome, process, read, span, version

IN_TIME = attrgetter("started_at", "id")


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
        raise not_found(connection, run_id)
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
        raise not_found(connection, run_id)
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


def producers(connection: sa.Connection, result_key: str) -> list[SpanRecord]:
    """The completed attempts that produced a persisted result, the one that ended last at the end."""
    of_key = span.c.result_key == result_key, span.c.status == str(Status.COMPLETED), span.c.ended_at.is_not(None)
    return [
        SpanRecord(*row)
        for row in connection.execute(sa.select(span).where(*of_key).order_by(span.c.ended_at, span.c.id))
    ]
