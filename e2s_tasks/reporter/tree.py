"""The spans of a run as a tree, with what each used together with everything inside it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TypeVar

from e2s_tasks.core.records import Kind, RunRecords, SpanRecord, Status
from e2s_tasks.core.results import with_their_task_runs

IN_TIME = attrgetter("started_at", "id")
N = TypeVar("N", int, float)


@dataclass(slots=True)
class Used:
    """Joules, CPU nanoseconds and bytes moved; None is missing."""

    joules: float | None = None
    cpu_ns: int = 0
    bytes_read: int | None = None
    bytes_written: int | None = None

    def include(self, other: "Used") -> None:
        """Add what another one used."""
        self.joules = _plus(self.joules, other.joules)
        self.cpu_ns += other.cpu_ns
        self.bytes_read = _plus(self.bytes_read, other.bytes_read)
        self.bytes_written = _plus(self.bytes_written, other.bytes_written)


def _plus(one: N | None, other: N | None) -> N | None:
    return other if one is None else one if other is None else one + other


def own(span: SpanRecord) -> Used:
    """What a span used itself. Where a part is missing and the rest is 0, nothing is known of it."""
    joules = span.joules
    if not joules and span.attributes.get("gaps"):
        joules = None
    return Used(joules, span.cpu_ns, span.bytes_read, span.bytes_written)


@dataclass(slots=True)
class SpanTree:
    """Spans in the order in which to tell them, parents first; `used` is inclusive, `own_j` exclusive joules."""

    spans: list[SpanRecord] = field(default_factory=list)
    parents: dict[str, str | None] = field(default_factory=dict)
    children: dict[str | None, list[SpanRecord]] = field(default_factory=lambda: defaultdict(list))
    by_id: dict[str, SpanRecord] = field(default_factory=dict)
    used: dict[str, Used] = field(default_factory=dict)
    own_j: dict[str, float | None] = field(default_factory=dict)

    @property
    def roots(self) -> list[SpanRecord]:
        """The spans that lie in no other one: one for each life of a flow run."""
        return self.children[None]

    def ancestors(self, span: SpanRecord) -> Iterable[SpanRecord]:
        """The spans around a span, the nearest first."""
        parent = self.parents[span.id]
        while parent is not None:
            yield self.by_id[parent]
            parent = self.parents[parent]

    def within(self, span: SpanRecord) -> Iterable[SpanRecord]:
        """The span and everything inside it."""
        pending = [span]
        while pending:
            one = pending.pop()
            yield one
            pending += self.children[one.id]


def tree(spans: Sequence[SpanRecord], run_id: str) -> SpanTree:
    """The tree of a run's spans, to any depth. A span whose parent was lost lies in its flow run's span.

    What moved a task run's persisted result lies in its last attempt.
    """
    result = SpanTree(by_id={span.id: span for span in with_their_task_runs(spans)})
    in_time = sorted(result.by_id.values(), key=IN_TIME)
    wanted = _wanted_parents(in_time, run_id, result.by_id)
    inside: dict[str | None, list[SpanRecord]] = defaultdict(list)
    for span in in_time:
        inside[wanted[span.id]].append(span)
    for start in [*inside[None], *in_time]:  # the second part only finds what lies in a circle of parents
        if start.id not in result.parents:
            _place(start, inside, result)
    for span in reversed(result.spans):
        used = result.used[span.id]
        parent = result.parents[span.id]
        if parent is not None:
            result.used[parent].include(used)
    return result


def _place(start: SpanRecord, inside: dict[str | None, list[SpanRecord]], result: SpanTree) -> None:
    """Put a root and everything inside it into the tree."""
    pending: list[tuple[SpanRecord, str | None]] = [(start, None)]
    while pending:
        span, parent = pending.pop()
        if span.id in result.parents:
            continue
        result.parents[span.id] = parent
        result.children[parent].append(span)
        result.spans.append(span)
        used = result.used[span.id] = own(span)
        result.own_j[span.id] = used.joules
        pending += [(child, span.id) for child in reversed(inside[span.id])]


def _wanted_parents(in_time: Sequence[SpanRecord], run_id: str, by_id: dict[str, SpanRecord]) -> dict[str, str | None]:
    flows: dict[str, list[SpanRecord]] = defaultdict(list)
    for span in in_time:
        if span.kind == Kind.FLOW and span.flow_run_id is not None:
            flows[span.flow_run_id].append(span)
    wanted: dict[str, str | None] = {}
    for span in in_time:
        if span.parent_id in by_id:
            wanted[span.id] = span.parent_id
            continue
        home = span.flow_run_id if span.kind != Kind.FLOW else None if span.flow_run_id == run_id else run_id
        lives = flows.get(home or "", [])
        begun = [life for life in lives if life.started_at <= span.started_at] or lives[:1]
        wanted[span.id] = begun[-1].id if begun else None
    return wanted


def adopted(run: RunRecords, spans: SpanTree) -> RunRecords:
    """The run with each span inside the parent that the tree found for it."""
    found = [
        span if span.parent_id == spans.parents[span.id] else replace(span, parent_id=spans.parents[span.id])
        for span in run.spans
    ]
    return replace(run, spans=found)


def last_root(spans: SpanTree, run_id: str) -> SpanRecord | None:
    """The last life of the run's root flow run; without one, the last root span."""
    lives = [root for root in spans.roots if root.kind == Kind.FLOW and root.flow_run_id == run_id]
    return max(lives or spans.roots, key=lambda root: root.started_at, default=None)


def ended(root: SpanRecord, spans: SpanTree) -> float | None:
    """When a run ended whose last life is this: with its last span, as steps may outlive a cancelled flow."""
    if root.ended_at is None:
        return None
    return max([root.ended_at, *(one.ended_at for one in spans.spans if one.ended_at is not None)])


def outermost(span: SpanRecord, spans: SpanTree) -> SpanRecord:
    """The outermost attempt that a span lies in, else the span."""
    around = [span, *spans.ancestors(span)]
    return next((one for one in reversed(around) if one.kind == Kind.ATTEMPT), span)


def succeeded(span: SpanRecord, spans: SpanTree) -> bool:
    """Whether a span's work counts: the attempts that it lies in (or is) completed, or reused a result."""
    around = [span, *spans.ancestors(span)]
    return all(one.status in {Status.COMPLETED, Status.CACHED} for one in around if one.kind == Kind.ATTEMPT)
