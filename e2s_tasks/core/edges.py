"""What leads from one step of a run to another: versions read, results passed on, results reused, flow bodies.

Some of it begins in another run: at a version that this run read, or at an attempt whose result it reused.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from e2s_tasks.core.records import Kind, RunRecords, SpanRecord, Status
from e2s_tasks.core.steps import Steps

EXTERNAL = "no measured write explains the input"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run has from another one: a version, or (`result`) what the attempt with this span id returned.

    made: of the version only files that its own write made. run_id: the root run; None where it is not known, which
    `reason` tells.
    """

    run_id: str | None
    id: str = ""
    result: bool = False
    made: bool = False
    reason: str = ""


class Edges:
    """The edges of a run. Nodes are the steps by their index, then the versions (`node`), then helpers without energy.

    made: the node of what a version's own write made; it is another one where files of earlier versions were kept.
    together: the version of each helper that stands for it and those before it. ahead: the nodes that each node leads
    to. used: steps whose results are known to be used. missing: by node, why what it stands on is not all known.
    origins: by node, what it has from other runs.
    """

    def __init__(self, run: RunRecords, found: Steps) -> None:
        self._run, self._found = run, found
        count = len(found.steps)
        self.node = {version.id: count + number for number, version in enumerate(run.versions)}
        self.ahead: list[list[int]] = [[] for _ in range(count + len(run.versions))]
        self.made = dict(self.node)
        self.together: dict[int, str] = {}
        self._kept_in: dict[str, int] = {}
        self.used: set[int] = set()
        self.missing: dict[int, list[str]] = {n: list(step.gaps) for n, step in enumerate(found.steps) if step.gaps}
        self.origins: dict[int, list[Origin]] = defaultdict(list)
        self._find_kept()
        self._keep_what_is_known_by_name()
        self._link_versions()
        self._link_results()
        self._link_reused_results()
        self._link_bodies()

    def _link_versions(self) -> None:
        for version in self._run.versions:
            writer = self._found.of_span.get(version.span_id)
            made, whole = self.made[version.id], self.node[version.id]
            if writer is not None:
                self.ahead[writer].append(made)
            if made != whole:
                self.ahead[made].append(whole)
        for read in self._run.reads:
            reader = self._kept_in.get(read.id, self._found.of_span.get(read.span_id))
            if reader is None:
                continue
            if read.version_id is None:
                self.missing.setdefault(reader, []).append(f"{EXTERNAL} {read.uri}")
            elif read.version_id in self.node:
                seen = self.node if read.files is None else self.made
                self.ahead[seen[read.version_id]].append(reader)
            elif read.version_id in self._run.writers:
                run_id = self._run.writers[read.version_id]
                self.origins[reader].append(Origin(run_id, read.version_id, made=read.files is not None))

    def _find_kept(self) -> None:
        """A write that reads its own URI keeps files of earlier versions: these go into the new one alone.

        Such a version has a second node, for the files that this write made.
        """
        writes = {span.id for span in self._run.spans if span.kind == Kind.WRITE}
        written = {(one.span_id, one.uri): one.id for one in self._run.versions if one.span_id in writes}
        for read in self._run.reads:
            version_id = written.get((read.span_id, read.uri))
            if version_id is not None:
                self._kept_in[read.id] = self.node[version_id]
                self._set_apart(version_id)

    def _keep_what_is_known_by_name(self) -> None:
        """A version that is known by its name alone may have replaced what its run had written there, or added to it.

        Nobody can tell, so that all of it is taken to be kept: what mapped tasks write is there together. `before`: by
        URI, a node that stands for all that the run had written there so far.
        """
        before: dict[str, int] = {}
        for version in sorted(self._run.versions, key=lambda one: (one.created_at, one.id)):
            whole = self.node[version.id]
            if version.is_known_by_name and version.uri in before:
                self._set_apart(version.id)
                so_far = self._helper()
                self.together[so_far] = version.id
                self.ahead[before[version.uri]] += [whole, so_far]
                self.ahead[self.made[version.id]].append(so_far)
                before[version.uri] = so_far
            else:
                before[version.uri] = whole

    def _set_apart(self, version_id: str) -> None:
        """What the version's own write made has a node of its own."""
        if self.made[version_id] == self.node[version_id]:
            self.made[version_id] = self._helper()

    def _helper(self) -> int:
        self.ahead.append([])
        return len(self.ahead) - 1

    def _link_results(self) -> None:
        """A result was passed on. A subflow's may come from any step of it, and what it was given may reach any."""
        tasks, flows = self._task_runs(), self._flow_runs()
        entries: dict[str, int] = {}
        exits: dict[str, int] = {}
        for edge in self._run.edges:
            upstream = tasks.get(edge.upstream)
            if upstream is None and edge.upstream in flows:
                upstream = self._gate(exits, flows[edge.upstream])
            downstream = tasks.get(edge.downstream)
            if downstream is None and edge.downstream in flows:
                downstream = self._gate(entries, flows[edge.downstream])
            if upstream is not None and downstream is not None:
                self.ahead[upstream].append(downstream)
                self.used.add(upstream)
        self._link_gates(entries, exits)

    def _gate(self, gates: dict[str, int], flow: str) -> int:
        if flow not in gates:
            gates[flow] = self._helper()
        return gates[flow]

    def _link_gates(self, entries: dict[str, int], exits: dict[str, int]) -> None:
        if not entries and not exits:
            return
        for number, around in self._flows_around_steps().items():
            for flow in around:
                if flow in entries:
                    self.ahead[entries[flow]].append(number)
                if flow in exits:
                    self.ahead[number].append(exits[flow])
                    self.used.add(number)

    def _task_runs(self) -> dict[str, int]:
        """The step of each task run, nested ones included, and of each flow run inside a task run."""
        known = {}
        for span in self._run.spans:
            step = self._found.of_span.get(span.id)
            if step is not None and not self._found.steps[step].body:
                if span.kind == Kind.FLOW and span.flow_run_id:
                    known[span.flow_run_id] = step
                if span.kind in (Kind.FLOW, Kind.ATTEMPT) and span.task_run_id:
                    known[span.task_run_id] = step
        return known

    def _flow_runs(self) -> dict[str, str]:
        """The flow run of each id that may name it: its own, and that of the task run that stands for a subflow."""
        flows = {span.flow_run_id: span.flow_run_id for span in self._run.spans if span.kind == Kind.FLOW}
        flows |= {span.task_run_id: span.flow_run_id for span in self._run.spans if span.kind == Kind.FLOW}
        return {name: flow for name, flow in flows.items() if name and flow}

    def _flows_around_steps(self) -> dict[int, set[str]]:
        """The flow runs that each step ran in, the outer ones included."""
        by_id = {span.id: span for span in self._run.spans}
        around: dict[int, set[str]] = defaultdict(set)
        for span_id, step in self._found.of_span.items():
            above = _ancestors(by_id, span_id)
            around[step].update(span.flow_run_id for span in above if span.kind == Kind.FLOW and span.flow_run_id)
        return around

    def _link_reused_results(self) -> None:
        """A cached task run stands on the attempt that had produced its result, of this run or of an earlier one."""
        attempts = [span for span in self._run.spans if span.kind == Kind.ATTEMPT and span.id in self._found.of_span]
        made: dict[str, list[SpanRecord]] = defaultdict(list)
        for span in sorted(attempts, key=lambda one: (one.ended_at or 0.0, one.id)):
            if span.status == Status.COMPLETED and span.result_key:
                made[span.result_key].append(span)
        for span in attempts:
            if span.status == Status.CACHED:
                before = [one for one in made[span.result_key or ""] if (one.ended_at or 0.0) <= span.started_at]
                cached = self._found.of_span[span.id]
                if before:
                    producer = self._found.of_span[before[-1].id]
                    self.ahead[producer].append(cached)
                    self.used.add(producer)
                else:
                    self.origins[cached].append(self._earlier(span))

    def _earlier(self, cached: SpanRecord) -> Origin:
        run_id, span_id = self._run.producers.get(cached.id, (None, ""))
        reason = f"what the cached result of {cached.name!r} once cost is not known"
        return Origin(run_id, span_id, result=True) if run_id is not None else Origin(None, reason=reason)

    def _link_bodies(self) -> None:
        """A flow's body depends on every step that had ended when it began a write: a chain of steps, by their ends."""
        begun = self._last_writes_of_bodies()
        if not begun:
            return
        ended = sorted((step.ended_at, n) for n, step in enumerate(self._found.steps) if step.ended_at is not None)
        first = len(self.ahead)
        for place, (_, step) in enumerate(ended):
            self.ahead[step].append(first + place)
            self.ahead.append([first + place + 1] if place + 1 < len(ended) else [])
        ends = [end for end, _ in ended]
        for body, at in begun.items():
            before = bisect_right(ends, at)
            if before:
                self.ahead[first + before - 1].append(body)
                self.used.update(step for _, step in ended[:before])

    def _last_writes_of_bodies(self) -> dict[int, float]:
        by_id = {span.id: span for span in self._run.spans}
        begun: dict[int, float] = {}
        for version in self._run.versions:
            body = self._found.of_span.get(version.span_id)
            if body is not None and self._found.steps[body].body:
                span = by_id[version.span_id]
                at = span.started_at if span.kind == Kind.WRITE else version.created_at
                begun[body] = max(at, begun.get(body, at))
        return begun


def _ancestors(by_id: dict[str, SpanRecord], span_id: str) -> Iterator[SpanRecord]:
    """The span, and those around it, from the inside out."""
    seen: set[str] = set()
    while span_id in by_id and span_id not in seen:
        seen.add(span_id)
        yield by_id[span_id]
        span_id = by_id[span_id].parent_id or ""
