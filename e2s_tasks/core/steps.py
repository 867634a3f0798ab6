"""Which spans of a run make up which step: the nodes of the lineage graph.

A step is an outermost task run with all its attempts; what is nested in it belongs to it. The I/O and plain spans of a
flow's own body are one pseudo-step per flow run; a plain span outside any flow is the body of what happens inside it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from e2s_tasks.core.energy import HOST, Energy, total
from e2s_tasks.core.records import Kind, RunRecords, SpanRecord, Status
from e2s_tasks.core.remote import why_missing
from e2s_tasks.core.results import with_their_task_runs

RETURNED = "returned"  # attribute of an attempt: True if it returned anything but None


@dataclass(slots=True)
class Step:
    """A node of the lineage graph. `energy` is inclusive: all attempts and all that is nested in them, in joules.

    id: the task run's id, or the flow run's for a flow's body (`body`), or a span's outside Prefect. gaps: why the
    energy is not all that was used.
    """

    id: str
    name: str
    body: bool
    flow_run_id: str | None
    status: str
    attempts: int
    started_at: float
    ended_at: float | None
    energy: Energy
    returned: bool
    gaps: tuple[str, ...]


@dataclass(slots=True)
class Steps:
    """A run's steps, and the step (its index) of each span; orchestration and waiting belong to none."""

    steps: list[Step] = field(default_factory=list)
    of_span: dict[str, int] = field(default_factory=dict)
    of_body: dict[str, int] = field(default_factory=dict)  # flow run id, or id of an outermost plain span
    orchestration: list[SpanRecord] = field(default_factory=list)
    waiting: list[SpanRecord] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Home:
    """Where a span's energy goes, and that of what is nested in it. flow: the innermost flow span around it."""

    kind: str  # "task", "body" or "wait"
    key: str
    flow: str | None = None


def steps_of(run: RunRecords) -> Steps:
    """The steps of a run, in the order of their first start."""
    run = replace(run, spans=list(with_their_task_runs(run.spans)))
    homes = _homes(run.spans)
    merged = _merge_flow_attempts(run, homes)
    found = Steps()
    grouped: dict[_Home, list[SpanRecord]] = defaultdict(list)
    for span in sorted(run.spans, key=lambda one: (one.started_at, one.id)):
        home = homes[span.id]
        if home.kind == "wait":
            found.waiting.append(span)
        elif (home.kind == "body" and span.is_orchestration) or merged.get(home.key, "") is None:
            found.orchestration.append(span)
        else:
            key = merged.get(home.key) or home.key
            grouped[_Home(home.kind, key)].append(span)
    absent = _absent(run)
    names = {span.flow_run_id: span.name for span in run.spans if span.kind == Kind.FLOW}
    for home, spans in grouped.items():
        if home.kind == "body":
            found.of_body[home.key] = len(found.steps)
        found.of_span.update((span.id, len(found.steps)) for span in spans)
        name = names.get(home.key) if home.kind == "body" else None
        found.steps.append(_step(home, spans, name, absent))
    _add_silent_bodies(run, homes, found)
    of_flows = (
        *why_missing(run.spans, {span.id for span in found.orchestration}),
        *dict.fromkeys(_why_cut_short(span) for span in found.orchestration if span.is_cut_short),
    )
    if of_flows:  # every step's figure has its share of the orchestration
        found.steps = [replace(step, gaps=(*step.gaps, *of_flows)) for step in found.steps]
    return found


def _homes(spans: Iterable[SpanRecord]) -> dict[str, _Home]:
    """The home of each span, its parents' first."""
    by_id = {span.id: span for span in spans}
    homes: dict[str, _Home] = {}
    on_path: set[str] = set()
    for start in by_id.values():
        path: list[SpanRecord] = []
        span: SpanRecord | None = start
        while span is not None and span.id not in homes and span.id not in on_path:
            on_path.add(span.id)
            path.append(span)
            span = by_id.get(span.parent_id or "")
        for one in reversed(path):
            homes[one.id] = _home(one, homes.get(one.parent_id or ""))
    return homes


def _home(span: SpanRecord, outer: _Home | None) -> _Home:
    flow = outer.flow if outer else None
    if span.is_waiting or (outer and outer.kind == "wait"):
        return _Home("wait", span.id, flow)
    if outer and outer.kind == "task":
        return outer
    if span.kind == Kind.FLOW:
        return _Home("body", span.flow_run_id or span.id, span.id)
    if span.kind == Kind.ATTEMPT:
        return _Home("task", span.task_run_id or span.id, flow)
    return outer or _Home("body", span.flow_run_id or span.id)


def _merge_flow_attempts(run: RunRecords, homes: dict[str, _Home]) -> dict[str, str | None]:
    """For task runs of a flow run's earlier attempts: the task run of a later one that did the same, or None.

    They match by task key and call ordinal. None is orchestration: work that no later attempt came to again. What
    wrote a version stays a step.
    """
    flow_spans = defaultdict(list)
    for span in run.spans:
        if span.kind == Kind.FLOW and span.flow_run_id and homes[span.id].kind == "body":
            flow_spans[span.flow_run_id].append(span)
    attempts = {flow_run: spans for flow_run, spans in flow_spans.items() if len(spans) > 1}
    if not attempts:
        return {}
    wrote = {homes[version.span_id].key for version in run.versions if version.span_id in homes}
    calls = _calls(run.spans, homes)
    merged: dict[str, str | None] = {}
    for spans in attempts.values():
        later: dict[tuple[str, int], str] = {}
        spans.sort(key=lambda one: (one.started_at, one.id), reverse=True)
        for number, span in enumerate(spans):
            for call, key in calls.get(span.id, {}).items():
                if call in later and later[call] != key:
                    merged[key] = later[call]
                elif call not in later:
                    later[call] = key
                    if number and key not in wrote:
                        merged[key] = None
    return merged


def _calls(spans: Iterable[SpanRecord], homes: dict[str, _Home]) -> dict[str, dict[tuple[str, int], str]]:
    """The outermost task runs under each flow span, by task key and call ordinal."""
    calls: dict[str, dict[tuple[str, int], str]] = defaultdict(dict)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    seen: set[tuple[str, str]] = set()
    for span in sorted(spans, key=lambda one: (one.started_at, one.id)):
        home = homes[span.id]
        if home.kind != "task" or home.flow is None or span.kind != Kind.ATTEMPT or (home.flow, home.key) in seen:
            continue
        seen.add((home.flow, home.key))
        task = span.task_key or span.name
        calls[home.flow][task, counts[home.flow, task]] = home.key
        counts[home.flow, task] += 1
    return calls


def _step(home: _Home, spans: list[SpanRecord], name: str | None, absent: dict[str, set[str]]) -> Step:
    ids = {span.id for span in spans}
    heads = [span for span in spans if span.parent_id not in ids]
    ends = [span.ended_at for span in spans]
    energies = [span.energy for span in spans]
    return Step(
        id=home.key,
        name=name or heads[-1].name,
        body=home.kind == "body",
        flow_run_id=heads[-1].flow_run_id,
        status=heads[-1].status,
        attempts=len(heads) if home.kind == "task" else 1,
        started_at=spans[0].started_at,
        ended_at=None if None in ends else max(end for end in ends if end is not None),
        energy=total(energies),
        returned=any(head.attributes.get(RETURNED) is True for head in heads),
        gaps=tuple(dict.fromkeys(_gaps(spans, energies, absent))),
    )


def _add_silent_bodies(run: RunRecords, homes: dict[str, _Home], found: Steps) -> None:
    """What a flow span itself read or wrote, its flow's body did; such a body may have no span of its own."""
    flows = {span.id: span for span in run.spans if span.kind == Kind.FLOW and homes[span.id].kind == "body"}
    for span_id in (*(one.span_id for one in run.versions), *(one.span_id for one in run.reads)):
        span = flows.get(span_id)
        if span is None:
            continue
        key = homes[span.id].key
        if key not in found.of_body:
            found.of_body[key] = len(found.steps)
            body = _step(_Home("body", key), [span], span.name, {})
            found.steps.append(replace(body, energy=Energy(), gaps=()))
        found.of_span[span.id] = found.of_body[key]


def _absent(run: RunRecords) -> dict[str, set[str]]:
    """The components that each process has no device for: their missing figures are no gaps."""
    absent = {}
    for process in run.processes:
        declared = {source.component for source in process.sources}
        present = {source.component for source in process.sources if not source.absent}
        absent[process.id] = (declared - present) | (set(HOST) - declared)
    return absent


def _gaps(spans: list[SpanRecord], energies: list[Energy], absent: dict[str, set[str]]) -> Iterator[str]:
    """Why the energy of a step's spans is not all that they used."""
    expected: set[str] = set()
    for span, energy in zip(spans, energies, strict=True):
        if span.status == Status.CACHED:
            continue
        expected.update(component for component in HOST if component not in absent.get(span.process_id, HOST))
        if energy.host is None:
            yield f"the energy of {span.name!r} is missing"
        gaps = span.attributes.get("gaps", ())
        for component in gaps:
            if component == "static" and "cpu" in gaps:  # a part of it, missing with it: said once
                continue
            yield f"{component} energy of {span.name!r} is missing for some time"
        if span.is_cut_short:
            yield _why_cut_short(span)
        if span.status == Status.RUNNING:
            yield f"{span.name!r} is still running"
    known = total(energies)
    if known.host is not None:
        for component in HOST:
            if component in expected and getattr(known, component) is None:
                yield f"{component} energy of {spans[0].name!r} is missing"
    yield from why_missing(spans)


def _why_cut_short(span: SpanRecord) -> str:
    return f"up to a second of {span.name!r} before its process was killed is not in it"
