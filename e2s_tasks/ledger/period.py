"""The runs of a period with no more of each than sums over many runs need: read quickly, and a part at a time."""

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache

import sqlalchemy as sa

from e2s_tasks.core.records import DecisionRecord, ProcessRecord, RunRecords, SourceRecord, SpanRecord
from e2s_tasks.ledger import runs
from e2s_tasks.ledger.query import chunks, select_in
from e2s_tasks.ledger.tables import decision, process, span

TOLD = ("gaps", "estimated", "remote", "result")  # attributes of spans that are no flow's and that figures look at


def in_period(connection: sa.Connection, since: float) -> Iterator[RunRecords]:
    """The root runs that started at or after `since` (epoch seconds), the oldest first."""
    query = runs.roots().where(span.c.started_at >= since).order_by(span.c.started_at, span.c.run_id)
    for chunk in chunks(list(connection.execute(query).scalars())):
        yield from _records_of(connection, chunk)


def _records_of(connection: sa.Connection, run_ids: list[str]) -> Iterator[RunRecords]:
    root_of = runs.members(connection, run_ids)
    found = {run_id: RunRecords(run_id) for run_id in run_ids}
    for one in _spans(connection, root_of):
        found[root_of[one.run_id]].spans.append(one)
    for known in select_in(connection, DecisionRecord, decision.c.run_id, root_of):
        found[root_of[known.run_id]].decisions.append(known)
    ids = {one.process_id for run in found.values() for one in run.spans}
    processes = {one.id: one for one in _processes(connection, ids)}
    calls = runs.calls_among(connection, root_of)
    for run in found.values():
        runs.put_in_order(run)
        runs.adopt(run.spans, run.run_id, calls)
        of_run = dict.fromkeys(one.process_id for one in run.spans)
        run.processes = [processes[one] for one in of_run if one in processes]
        yield run


def _spans(connection: sa.Connection, run_ids: Iterable[str]) -> Iterator[SpanRecord]:
    """The spans with the columns that are needed, and attributes where they say something of a figure."""
    text = sa.cast(span.c.attributes, sa.Text)
    told = sa.or_(runs.is_flow(), *(text.like(f'%"{name}%') for name in TOLD))
    given = {name: sa.null() for name in ("task_key", "attempt", "bytes_read", "bytes_written", "rows", "other_j", "idle_j")}
    given |= {name: sa.literal_column("0") for name in ("seq", "cpu_ns", "shared_cpu_ns")}
    given |= {"attributes": sa.case((told, text))}
    columns = [given[one.name].label(one.name) if one.name in given else one for one in span.columns]
    for chunk in chunks(run_ids):
        for row in connection.execute(sa.select(*columns).where(span.c.run_id.in_(chunk))).all():
            *values, attributes = row
            yield SpanRecord(*values, json.loads(attributes) if attributes else {})


def _processes(connection: sa.Connection, ids: Iterable[str]) -> Iterator[ProcessRecord]:
    """The processes; those with the same sources share them."""
    columns = [sa.cast(one, sa.Text) if one.name == "sources" else one for one in process.columns]
    for chunk in chunks(ids):
        for *values, told in connection.execute(sa.select(*columns).where(process.c.id.in_(chunk))):
            yield ProcessRecord(*values, _sources(told))


@lru_cache(maxsize=1000)
def _sources(told: str) -> list[SourceRecord]:
    return [SourceRecord(**one) for one in json.loads(told)]
