"""The rows that a person reads: each step of a run once, so that the rows of depth 0 add up to the run's energy.

A row is an outermost attempt, a wait, or the spans of a flow run's own body; reads, writes and transfers are folded
into the row around them, and equal work inside a row into one row below it. The flow runs' own remainder is the last.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from e2s_tasks.core.energy import Energy, add, total
from e2s_tasks.core.records import PEAK_MEMORY, Kind, SpanRecord, Status
from e2s_tasks.reporter.figures import UNSUCCESSFUL
from e2s_tasks.reporter.tree import SpanTree, Used, own
from e2s_tasks.reporter.units import iso

FOLDED = {Kind.READ, Kind.WRITE, Kind.MOVE}
BODY = "body"
ORCHESTRATION = "orchestration"
MOVING = "moving to a cleaner hour"
WITHIN = " / "  # between a subflow and its step
# A flow span's own joules: Prefect's work between steps and the Python of the flow's body, which nothing tells apart.
ORCHESTRATION_AND_BODY = "orchestration and flow body"


@dataclass(slots=True)
class Outermost:
    """What the rows of depth 0 are made of, in the order of time: each joule of the run is in one of them.

    steps: attempts, waits and work outside any flow, with all that is inside them. bodies: spans that a flow run's own
    body opened, by that flow's span. flows: the flow runs' own; moved: of those that only moved a run.
    """

    steps: list[SpanRecord] = field(default_factory=list)
    bodies: dict[str, list[SpanRecord]] = field(default_factory=lambda: defaultdict(list))
    flows: list[SpanRecord] = field(default_factory=list)
    moved: list[SpanRecord] = field(default_factory=list)


def outermost(spans: SpanTree) -> Outermost:
    """Iterative: any depth and number."""
    found = Outermost()
    pending: list[tuple[SpanRecord, SpanRecord | None]] = [(one, None) for one in reversed(spans.roots)]
    while pending:
        span, flow = pending.pop()
        inside = reversed(spans.children[span.id])
        if span.kind == Kind.ORCHESTRATION and span.is_waiting:  # with what it opened for the attempt that waits
            found.moved += spans.within(span)
        elif span.is_orchestration:
            (found.moved if span.is_waiting else found.flows).append(span)
            home = span if span.kind == Kind.FLOW or flow is None else flow
            pending += [(child, home) for child in inside]
        elif span.kind in {Kind.ATTEMPT, Kind.WAIT} or flow is None:
            found.steps.append(span)
        else:
            found.bodies[flow.id].append(span)
            pending += [(child, flow) for child in inside]
    return found


def energy_by_step(spans: SpanTree) -> dict[str, Energy]:
    """The joules by component of the rows of depth 0, by their name: together the run's. A cached task run has none."""
    found = outermost(spans)
    groups = [(step_name(one, spans), spans.within(one)) for one in found.steps]
    groups += [(body_name(spans.by_id[flow_id]), iter(group)) for flow_id, group in found.bodies.items()]
    groups += [(MOVING, iter(found.moved)), (orchestration_name(found.flows), iter(found.flows))]
    by_name: dict[str, list[Energy]] = defaultdict(list)
    for name, group in groups:
        by_name[name] += [one.energy for one in group if one.status != Status.CACHED]
    return {name: total(energies) for name, energies in by_name.items() if energies}


def steps(spans: SpanTree, total_j: float | None, lacking: Collection[str] = ()) -> list[dict[str, Any]]:
    """The rows in order of time, each followed by the rows inside it. Iterative: any depth and number.

    lacking: the ids of the spans whose energy lacks a part; what these are in is a lower bound.
    """
    found = outermost(spans)
    rows: list[dict[str, Any]] = []
    whole = _Whole(total_j, set(lacking), _with_what_is_around(spans, lacking))
    for span in found.steps:
        rows += _with_inner([span], step_name(span, spans), spans, whole)
    for flow_id, group in found.bodies.items():
        rows += _body(group, spans.by_id[flow_id], whole)
    if found.moved:
        used, ids = [own(one) for one in found.moved], {one.id for one in found.moved}
        outer = [one for one in found.moved if spans.parents.get(one.id) not in ids]  # whose time is all of theirs
        rows.insert(0, _row(outer, Kind.WAIT, MOVING, depth=0, used=used, whole=whole, inclusive=True))
    if found.flows:
        used = [own(flow) for flow in found.flows]
        name = orchestration_name(found.flows)
        rows.append(_row(found.flows, ORCHESTRATION, name, depth=0, used=used, whole=whole))
    return rows


@dataclass(frozen=True, slots=True)
class _Whole:
    """What all rows of a run need: its joules, the spans that lack a part, and those with what is around them."""

    joules: float | None
    lacking: set[str]
    around: set[str]


def _with_what_is_around(spans: SpanTree, ids: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for id_ in ids:
        above: str | None = id_
        while above is not None and above not in found:
            found.add(above)
            above = spans.parents.get(above)
    return found


def rows_of(spans: SpanTree) -> dict[str, tuple[str, str]]:
    """By span, the kind and name of the row of depth 0 that its own joules are in: those of `consumers`."""
    found = outermost(spans)
    rows = {one.id: (str(one.kind), step_name(one, spans)) for one in found.steps}
    for flow_id, group in found.bodies.items():
        rows |= dict.fromkeys((one.id for one in group), (BODY, body_name(spans.by_id[flow_id])))
    rows |= dict.fromkeys((one.id for one in found.moved), (str(Kind.WAIT), MOVING))
    orchestration = (ORCHESTRATION, orchestration_name(found.flows))
    rows |= dict.fromkeys((one.id for one in found.flows), orchestration)
    for span in spans.spans:  # parents first: what is inside a step
        if span.id not in rows:
            rows[span.id] = rows[spans.parents[span.id] or ""]
    return rows


def orchestration_name(spans: Iterable[SpanRecord]) -> str:
    """What the row of the orchestration's spans is called: a run that is of no process, as a DAG's, has no body."""
    with_body = any(one.kind == Kind.FLOW and not one.is_of_no_process for one in spans)
    return ORCHESTRATION_AND_BODY if with_body else ORCHESTRATION


def step_name(span: SpanRecord, spans: SpanTree) -> str:
    """The step's name, after the subflow that it is part of."""
    flows = [around.name for around in spans.ancestors(span) if around.kind == Kind.FLOW]
    return WITHIN.join([*reversed(flows[:-1]), span.name])


def body_name(flow: SpanRecord) -> str:
    """The row of what a flow's own body did in spans; a run that is of no process has none."""
    return f"{flow.name} (spans {'outside its tasks' if flow.is_of_no_process else 'of its body'})"


def _body(group: list[SpanRecord], flow: SpanRecord, whole: _Whole) -> list[dict[str, Any]]:
    """The spans that a flow's own body opened outside tasks, the named ones below; tasks in those are steps."""
    top = _row(group, BODY, body_name(flow), depth=0, used=[own(span) for span in group], whole=whole)
    named = (
        _row(alike, alike[0].kind, alike[0].name, depth=1, used=[own(span) for span in alike], whole=whole)
        for alike in _alike(group)
    )
    return [top, *named]


def _with_inner(group: list[SpanRecord], name: str, spans: SpanTree, whole: _Whole) -> list[dict[str, Any]]:
    used = [spans.used[span.id] for span in group]
    top = _row(group, group[0].kind, name, depth=0, used=used, whole=whole, inclusive=True)
    inside = spans.children[group[0].id]
    stretches = [one for one in inside if is_stretch(one, group[0])]
    if stretches:  # the time that it was suspended in between is none of its own
        lengths = [one.ended_at - one.started_at for one in stretches if one.ended_at is not None]
        top["duration_s"] = sum(lengths, start=top["duration_s"] or 0.0)
        top["peak_memory_bytes"] = peak_memory([*group, *stretches])
        inside = [child for one in inside for child in (spans.children[one.id] if one in stretches else [one])]
    return [top, *_inner(inside, 1, spans, whole)]


def is_stretch(span: SpanRecord, first: SpanRecord) -> bool:
    """Whether a span is a later stretch of an attempt that had been suspended after its first."""
    of_one = span.kind == first.kind == Kind.ATTEMPT and span.task_run_id is not None
    return of_one and (span.task_run_id, span.attempt) == (first.task_run_id, first.attempt)


def _inner(inside: list[SpanRecord], depth: int, spans: SpanTree, whole: _Whole) -> list[dict[str, Any]]:
    """Rows for what lies inside a row: spans of one kind, name, status and attempt together."""
    rows = []
    pending = [(depth, group) for group in reversed(_alike(inside))]
    while pending:
        level, group = pending.pop()
        first = group[0]
        rows.append(
            _row(
                group,
                first.kind,
                first.name,
                depth=level,
                used=[spans.used[span.id] for span in group],
                whole=whole,
                inclusive=True,
            )
        )
        deeper = [child for span in group for child in spans.children[span.id]]
        pending += [(level + 1, alike) for alike in reversed(_alike(deeper))]
    return rows


def _alike(spans: Iterable[SpanRecord]) -> list[list[SpanRecord]]:
    groups: dict[tuple[Any, ...], list[SpanRecord]] = defaultdict(list)
    for span in spans:
        if span.kind not in FOLDED:
            groups[span.kind, span.name, span.status, span.attempt].append(span)
    return list(groups.values())


def _row(
    group: list[SpanRecord], kind: str, name: str, *, depth: int, used: list[Used], whole: _Whole,
    inclusive: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """inclusive: what lies inside the spans is in `used`, too."""
    sums = Used()
    for one in used:
        sums.include(one)
    lower = whole.around if inclusive else whole.lacking
    first = group[0]
    told = kind not in {BODY, ORCHESTRATION}
    durations = [span.ended_at - span.started_at for span in group if span.ended_at is not None]
    return {
        "span_id": first.id if told and len(group) == 1 else None,
        "kind": str(kind),
        "name": name,
        "run_name": first.attributes.get("task_run_name") if len(group) == 1 else None,
        "task_run_id": first.task_run_id if len(group) == 1 else None,
        "depth": depth,
        "spans": len(group),
        "attempt": first.attempt if told else None,
        "status": str(first.status) if told else None,
        "started_at": iso(first.started_at),
        "duration_s": sum(durations) if durations and kind != ORCHESTRATION else None,
        "cpu_s": sums.cpu_ns / 1e9,
        "inclusive_j": sums.joules,
        "lower_bound": bool(lower) and any(span.id in lower for span in group),
        "share": share(sums.joules, whole.joules),
        "bytes_read": sums.bytes_read,
        "bytes_written": sums.bytes_written,
        "peak_memory_bytes": peak_memory(group),
    }


def peak_memory(spans: Iterable[SpanRecord]) -> int | None:
    """The most memory, in bytes, that the process of one of these attempts had; None where none was told."""
    told = (one.attributes.get(PEAK_MEMORY) for one in spans if one.kind == Kind.ATTEMPT)
    return max((one for one in told if one is not None), default=None)


def share(joules: float | None, total_j: float | None) -> float | None:
    """The part of the total, from 0 to 1; None where one of them is missing or there is no total."""
    return joules / total_j if joules is not None and total_j else None


def consumers(rows: Iterable[dict[str, Any]], total_j: float | None) -> list[dict[str, Any]]:
    """The rows of depth 0 by name, the biggest first, with how many there were; rows without a figure left out.

    task_runs: of how many task runs they are attempts; one whose task run is not known is of its own. unsuccessful_j:
    what those of them used that did not succeed.
    """
    by_name: dict[tuple[str, str], list[float]] = defaultdict(list)
    task_runs: dict[tuple[str, str], set[str]] = defaultdict(set)
    lost: dict[tuple[str, str], float] = defaultdict(float)
    lower, lower_lost = set(), set()
    for row in rows:
        if row["depth"] == 0 and row["kind"] == Kind.ATTEMPT and row["status"] in UNSUCCESSFUL:
            lost[row["kind"], row["name"]] += row["inclusive_j"] or 0.0
            lower_lost |= {(row["kind"], row["name"])} if row["lower_bound"] else set()
        if row["depth"] == 0 and row["inclusive_j"] is not None:
            by_name[row["kind"], row["name"]].append(row["inclusive_j"])
            if row["kind"] == Kind.ATTEMPT:
                task_runs[row["kind"], row["name"]].add(row["task_run_id"] or row["span_id"])
            lower |= {(row["kind"], row["name"])} if row["lower_bound"] else set()
    ranking = [
        {
            "kind": kind,
            "name": name,
            "count": len(joules),
            "task_runs": len(task_runs[kind, name]),
            "inclusive_j": add(joules),
            "lower_bound": (kind, name) in lower,
            "unsuccessful_j": lost[kind, name],
            "unsuccessful_lower_bound": (kind, name) in lower_lost,
            "share": share(sum(joules), total_j),
        }
        for (kind, name), joules in by_name.items()
    ]
    return sorted(ranking, key=lambda one: -(one["inclusive_j"] or 0.0))
