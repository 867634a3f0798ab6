"""The runs of a period with no more of each than sums over many runs need: read quickly, and a part at a time."""

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

import sqlalchemy as sa

from e2s_tasks.core.energy import HOST
from e2s_tasks.core.records import DecisionRecord, ProcessRecord, RunRecords, SourceRecord, SpanRecord
from e2s_tasks.ledger import glances, runs
from e2s_tasks.ledger.adoption import adopt
from e2s_tasks.ledger.query import chunks, select_in
from e2s_tasks.ledger.tables import decision, process, span

# Attributes that figures look at in any span, or the start of their names.
TOLD = re.compile('"(declared|moved_its_run|gaps|killed|estimated|remote|result|lost)')
# What stands in place of the fields of a span that sums over many runs do not need.
_SPARED = {
    "seq": "0", "task_key": "NULL", "cpu_ns": "0", "shared_cpu_ns": "0", "bytes_read": "NULL", "bytes_written": "NULL",
    "rows": "NULL", "other_j": "NULL", "idle_j": "NULL",
}  # fmt: skip


def in_period(connection: sa.Connection, since: float) -> list[str]:
    """The root runs that started at or after `since` (epoch seconds), the oldest first."""
    query = glances.roots().where(span.c.started_at >= since).order_by(span.c.started_at, span.c.run_id)
    return list(connection.execute(query).scalars())


def in_brief(connection: sa.Connection, run_ids: Iterable[str]) -> Iterator[RunRecords]:
    """These root runs."""
    for chunk in chunks(run_ids):
        yield from _records_of(connection, chunk)


def samples(connection: sa.Connection, run_ids: list[str]) -> Iterator[RunRecords]:
    """Root runs with their processes and one span for all that lack the same parts: enough to say if a run lacks any.

    One of those that set off work elsewhere has all its spans, for the figure of that work may be in any of them.
    """
    root_of = glances.members(connection, run_ids)
    found = {run_id: RunRecords(run_id) for run_id in run_ids}
    text = sa.cast(span.c.attributes, sa.Text)
    alike = [
        *(span.c[f"{name}_j"].is_(None) for name in HOST), span.c.status,
        _used(), text.like('%"killed"%'), text.like('%"soon after"%'), text.like('%"gaps"%'), text.like('%"remote%'),
    ]  # fmt: skip
    whole, ids = set(), []
    for chunk in chunks(root_of):
        query = sa.select(span.c.run_id, sa.func.min(span.c.id), alike[-1]).where(span.c.run_id.in_(chunk))
        for run_id, id_, elsewhere in connection.execute(query.group_by(span.c.run_id, span.c.process_id, *alike)):
            ids.append(id_)
            whole |= {root_of[run_id]} if elsewhere else set()
    for one in select_in(connection, SpanRecord, span.c.id, ids):
        found[root_of[one.run_id]].spans.append(one)
    processes = {
        one.id: one for one in _processes(connection, {one.process_id for run in found.values() for one in run.spans})
    }
    for run in found.values():
        run.processes = [processes[one] for one in {one.process_id for one in run.spans} if one in processes]
    yield from (run for run_id, run in found.items() if run_id not in whole)
    yield from _records_of(connection, sorted(whole))


def _used() -> sa.ColumnElement[bool]:
    """Whether a span has used host energy, as far as is known."""
    return sa.or_(*(sa.func.coalesce(span.c[f"{name}_j"], 0.0) > 0 for name in HOST))


def _records_of(connection: sa.Connection, run_ids: list[str]) -> Iterator[RunRecords]:
    root_of = glances.members(connection, run_ids)
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
        adopt(run.spans, run.run_id, calls)
        of_run = dict.fromkeys(one.process_id for one in run.spans)
        run.processes = [processes[one] for one in of_run if one in processes]
        yield run


def _spans(connection: sa.Connection, run_ids: Iterable[str]) -> Iterator[SpanRecord]:
    """The spans with the columns that are needed, and attributes where they say something of a figure."""
    *columns, attributes = (
        sa.literal_column(_SPARED[one.name]) if one.name in _SPARED else one for one in span.columns
    )
    query = sa.select(*columns, sa.cast(attributes, sa.Text))
    for chunk in chunks(run_ids):
        for row in connection.execute(query.where(span.c.run_id.in_(chunk))).all():
            *values, text = row
            told = json.loads(text) if row.parent_id is None or TOLD.search(text) else {}
            yield SpanRecord(*values, told)  # type: ignore[call-arg] # all its fields, in their order


def _processes(connection: sa.Connection, ids: Iterable[str]) -> Iterator[ProcessRecord]:
    """The processes; those with the same sources share them."""
    names = [one.name for one in process.columns if one.name != "sources"]
    columns = [*(process.c[name] for name in names), sa.cast(process.c.sources, sa.Text)]
    for chunk in chunks(ids):
        for *values, told in connection.execute(sa.select(*columns).where(process.c.id.in_(chunk))).all():
            yield ProcessRecord(**dict(zip(names, values, strict=True)), sources=_sources(told))


@lru_cache(maxsize=1000)
def _sources(told: str) -> list[SourceRecord]:
    return [SourceRecord(**one) for one in json.loads(told)]
