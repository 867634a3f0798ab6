"""Where an artifact version's energy comes from: a tree of versions and the steps that led to them, over all runs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from e2s_tasks.core import remote
from e2s_tasks.core.edges import Origin
from e2s_tasks.core.energy import COMPONENTS, Provenance
from e2s_tasks.core.lineage import RunGraph
from e2s_tasks.core.reach import Feeding
from e2s_tasks.core.records import Kind, RunRecords
from e2s_tasks.core.upstream import FullyLoaded, Upstream
from e2s_tasks.reporter import figures
from e2s_tasks.reporter.steps import share
from e2s_tasks.reporter.units import iso

# The root run, and in it a "version" by its id (or the "files" that its own write made), or a "step" by its number.
Key = tuple[str, str, str | int]


@dataclass(slots=True)
class _Node:
    """A row of the tree. own_j: a step's energy with its share of the orchestration; joules: with all below it.

    lower: whether something is not known of it, or of what is below it.
    """

    key: Key
    parent: int | None
    depth: int
    row: dict[str, Any]
    own_j: float | None = None
    joules: float | None = None
    measured_j: float = 0.0
    reasons: list[str] = field(default_factory=list)
    lower: bool = False


def ancestry(loaded: FullyLoaded, upstream: Upstream, run_id: str, version_id: str) -> list[dict[str, Any]]:
    """The rows of the tree, each followed by what is below it; see docs/artifacts.md for the fields.

    The `own_j` of all rows add up to the fully loaded energy: what several need stands at the first of them, and is
    only named (`repeated`) at the others.
    """
    nodes = _Walk(upstream).rows((run_id, "version", version_id))
    nodes[0].lower = bool(loaded.reasons)
    for node in reversed(nodes):
        node.lower |= bool(node.reasons) or node.key[1] == "unknown"
        if node.parent is not None:
            nodes[node.parent].lower |= node.lower
        node.joules = node.own_j if node.joules is None else node.joules + (node.own_j or 0.0)
        if node.parent is not None and node.joules is not None:
            above = nodes[node.parent]
            above.joules = (above.joules or 0.0) + node.joules
            above.measured_j += node.measured_j
    total = loaded.joules.total
    return [_row(number, node, total) for number, node in enumerate(nodes)]


def _row(number: int, node: _Node, total: float | None) -> dict[str, Any]:
    return {
        "id": number,
        "parent": node.parent,
        "depth": node.depth,
        "kind": "version" if node.key[1] == "files" else node.key[1],
        "part": node.key[1] == "files",
        **node.row,
        "own_j": node.own_j,
        "joules": node.joules,
        "lower_bound": node.lower,
        "share": share(node.joules, total),
        "provenance": _worth(node),
        "reasons": node.reasons,
    }


def _worth(node: _Node) -> str:
    """What the row's joules rest on: measured and modelled only where all of them do."""
    if node.joules is None:
        return str(Provenance.MISSING)
    if node.measured_j >= node.joules * (1 - 1e-9) and node.joules:
        return str(Provenance.MEASURED)
    return "partly modelled" if node.measured_j else str(Provenance.MODELLED)


class _Walk:
    """Goes back from a version, depth first; a cycle ends where it began."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._told_by_run: dict[str, list[_Told]] = {}

    def rows(self, start: Key) -> list[_Node]:
        """The nodes of the tree in the order in which they are shown."""
        nodes: list[_Node] = []
        seen: set[Key] = set()
        pending: list[tuple[Key, int | None, int]] = [(start, None, 0)]
        while pending:
            key, parent, depth = pending.pop()
            node = _Node(key, parent, depth, self._described(key) | {"repeated": key in seen})
            nodes.append(node)
            if key in seen:
                continue
            seen.add(key)
            self._add_energy(node)
            feeding = self._feeding(key)
            node.reasons = list(dict.fromkeys(feeding.missing))
            below = [*self._below(key[0], feeding)]
            pending += [(one, len(nodes) - 1, depth + 1) for one in reversed(below)]
        return nodes

    def _graph(self, key: Key) -> RunGraph | None:
        return self._upstream.graphs.get(key[0])

    def _feeding(self, key: Key) -> Feeding:
        graph, (_, kind, which) = self._graph(key), key
        if graph is None or kind not in ("version", "files", "step"):
            return Feeding()
        if kind == "files":
            return graph.reach.feeding_files(str(which))
        return graph.reach.feeding_version(str(which)) if kind == "version" else graph.reach.feeding_step(int(which))

    def _below(self, run_id: str, feeding: Feeding) -> Iterator[Key]:
        """What is shown below: of a step that was handed what it also read from a file, the file."""
        wrote = set()
        versions = [("version", one) for one in feeding.versions] + [("files", one) for one in feeding.files]
        for kind, version_id in sorted(versions, key=lambda one: one[1]):
            graph = self._upstream.graphs[run_id]
            wrote.add(graph.found.of_span.get(graph.versions[version_id].span_id))
            yield run_id, kind, version_id
        yield from ((run_id, "step", step) for step in feeding.steps if step not in wrote)
        yield from (self._key(origin) for origin in dict.fromkeys(feeding.origins))

    def _key(self, origin: Origin) -> Key:
        graph = self._upstream.graphs.get(origin.run_id or "")
        if origin.run_id is None or graph is None:
            return origin.run_id or "", "unknown", origin.reason or origin.id
        if not origin.result:
            keeps = origin.made and graph.reach.keeps(origin.id)
            return origin.run_id, "files" if keeps else "version", origin.id
        return origin.run_id, "step", graph.found.of_span.get(origin.id, -1)

    def _described(self, key: Key) -> dict[str, Any]:
        run_id, kind, which = key
        graph = self._graph(key)
        row: dict[str, Any] = {"name": str(which), "run_name": None, "uri": None, "attempts": None, "at": None}
        if kind in ("version", "files") and graph is not None:
            version = graph.versions[str(which)]
            row |= {"name": version.uri, "uri": version.uri, "at": iso(version.created_at), "id_of_version": version.id}
        elif kind == "step" and graph is not None:
            step = graph.found.steps[int(which)]
            row |= {
                "name": step.name,
                "run_name": self._told(graph)[int(which)].run_name,
                "attempts": step.attempts,
                "at": iso(step.started_at),
            }
        return row | {"run_id": run_id or None, "run": None if graph is None else run_name(graph.run)}

    def _add_energy(self, node: _Node) -> None:
        graph = self._graph(node.key)
        if graph is None or node.key[1] != "step":
            return
        number = int(node.key[2])
        node.own_j = graph.costs.in_run(1 << number).total
        energy = graph.found.steps[number].energy.total
        if energy and node.own_j:  # the orchestration's share rests on what the step's energy rests on
            node.measured_j = node.own_j * self._told(graph)[number].measured_j / energy

    def _told(self, graph: RunGraph) -> "list[_Told]":
        """What the spans of each step tell beside its energy."""
        run = graph.run
        if run.run_id not in self._told_by_run:
            sensed = figures.measured(figures.kinds_of(run))
            told = self._told_by_run[run.run_id] = [_Told() for _ in graph.found.steps]
            for span in run.spans:
                step = graph.found.of_span.get(span.id)
                if step is not None:
                    known = (getattr(span, f"{name}_j") for name in COMPONENTS if (span.process_id, name) in sensed)
                    told[step].measured_j += sum(joules or 0.0 for joules in known) + remote.measured_j(span)
                    if span.kind == Kind.ATTEMPT and told[step].run_name is None:
                        told[step].run_name = span.attributes.get("task_run_name")
        return self._told_by_run[run.run_id]


@dataclass(slots=True)
class _Told:
    """Of a step: the joules that sensors told, here or elsewhere, and its task run's own name."""

    measured_j: float = 0.0
    run_name: str | None = None


def run_name(run: RunRecords) -> str | None:
    """The name of a root run."""
    lives: Iterable[Any] = (span for span in run.spans if span.kind == Kind.FLOW and span.flow_run_id == run.run_id)
    return next((life.attributes.get("flow_run_name") or life.name for life in lives), None)
