"""Energy of work that a span set off elsewhere (a warehouse query, a hosted model), as declared.

A span keeps its entries in the attribute `remote`: one per source, place and provenance, with joules (None: nobody gave
a figure), low, high and the number of calls. An attempt that declares remote work in advance names the source in the
attribute `remote_work`; it has a figure once an entry of the attempt, or of a span inside it, has one.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from e2s_tasks.core.energy import Provenance
from e2s_tasks.core.records import SpanRecord, Status

REMOTE = "remote"
REMOTE_WORK = "remote_work"
ELSEWHERE = "elsewhere"
Entry = Mapping[str, Any]
_SAME = ("source", "where", "provenance")


def with_entry(entries: Sequence[Entry], new: Entry) -> list[dict[str, Any]]:
    """The entries with a new one: calls of one source, place and provenance are added up."""
    kept = [dict(entry) for entry in entries]
    for entry in kept:
        if all(entry[key] == new[key] for key in _SAME) and (entry["joules"] is None) == (new["joules"] is None):
            entry["calls"] += new["calls"]
            for key in ("joules", "low", "high"):
                entry[key] = None if new[key] is None else entry[key] + new[key]
            return kept
    return [*kept, dict(new)]


def entries_of(span: SpanRecord) -> list[Entry]:
    """The remote entries of a span; a cached one set nothing off."""
    found = span.attributes.get(REMOTE, [])
    return found if isinstance(found, list) and span.status != Status.CACHED else []


def provenance_of(span: SpanRecord) -> Provenance:
    """What the span's remote figure rests on: measured only if every call says so."""
    told = {entry["provenance"] for entry in entries_of(span) if entry["joules"] is not None}
    return Provenance.MEASURED if told == {Provenance.MEASURED} else Provenance.MODELLED


def measured_j(span: SpanRecord) -> float:
    """The joules among the span's remote ones of which whoever declared them says that they were measured."""
    told = (one["joules"] for one in entries_of(span) if one["provenance"] == Provenance.MEASURED)
    return float(sum(joules for joules in told if joules is not None))


def bound_of(span: SpanRecord, end: str) -> float | None:
    """The `low` or the `high` end of the span's remote joules; the figure itself where nobody told of a range."""
    bounds = [entry[end] for entry in entries_of(span) if entry["joules"] is not None]
    return sum(bounds) if bounds else span.remote_j


def without_figure(spans: Iterable[SpanRecord]) -> Iterator[tuple[SpanRecord, str]]:
    """The spans that set off work without a figure for it, with its source: the sums are then lower bounds."""
    known = list(spans)
    telling = [span for span in known if REMOTE in span.attributes or REMOTE_WORK in span.attributes]
    if not telling:
        return
    by_id = {span.id: span for span in known}
    told: set[str] = set()  # spans that tell of their remote work, themselves or inside
    for span in telling:
        one: SpanRecord | None = span if entries_of(span) else None
        while one is not None and one.id not in told:
            told.add(one.id)
            one = by_id.get(one.parent_id or "")
    for span in telling:
        for entry in entries_of(span):
            if entry["joules"] is None:
                yield span, entry["source"]
        declared = span.attributes.get(REMOTE_WORK)
        if declared and span.id not in told and span.status != Status.CACHED:
            yield span, declared


def why_missing(spans: Iterable[SpanRecord], of: Container[str] | None = None) -> Iterator[str]:
    """The same as reasons that name the step and the source; `of`: only those of the spans with these ids."""
    for span, source in without_figure(spans):
        if of is None or span.id in of:
            yield f"no figure for the energy of the work that {span.name!r} set off: {source}"
