"""Fully loaded energy: what led to a version in every run of the ledger, each step once.

fully loaded(a) = the sum over root runs R of S(R) + o(R) x S(R) / sum of e in R, with S(R) the energy of the steps of R
from which a can be reached, through versions that other runs read and through results that they reused.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from e2s_tasks.core.amortised import amortised
from e2s_tasks.core.edges import Origin
from e2s_tasks.core.energy import add
from e2s_tasks.core.lineage import Joules, RunGraph
from e2s_tasks.core.records import Kind, RunRecords

AHEAD = 3
LIMITED = 20  # runs that are loaded at once while there is a limit
TOO_MANY = "only the nearest of the runs that led to it were followed (`e2s artifact` follows all)"
GONE = "the run {}, in which it begins, is not in the ledger any more"
Load = Callable[[Collection[str], int], Iterable[RunRecords]]


@dataclass(frozen=True, slots=True)
class FullyLoaded:
    """The fully loaded energy of a version. by_run: the part of each root run; steps: those reached, as bits.

    reasons: why it is a lower bound; empty where it is not. amortised: the same with upstream versions divided by their
    declared uses; None where nobody declared any.
    """

    by_run: dict[str, Joules]
    steps: dict[str, int]
    reasons: tuple[str, ...]
    amortised: Joules | None = None

    @property
    def joules(self) -> Joules:
        """The sum over the runs."""
        parts = self.by_run.values()
        return Joules(add(part.host for part in parts), add(part.movement for part in parts))


@dataclass(slots=True)
class _Walk:
    """What leads to some origins: by root run the sources reached (see Reach), and why some of it is not known."""

    reached: dict[str, int] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


class Upstream:
    """Follows what versions came from through any number of runs, which are loaded once each, many at a time.

    load: the records of the root runs with these ids, as far as there are any, and of so many others that they probably
    lead to. Each time AHEAD times as many as were loaded before: a chain of thousands of runs takes a few portions.
    most_spans: when so many are loaded no further run is followed, which makes the figures lower bounds.
    """

    def __init__(self, load: Load, most_spans: int | None = None) -> None:
        self._load = load
        self._most_spans = most_spans
        self._spans = 0
        self._left_out: set[str] = set()
        self._walks: dict[frozenset[Origin], _Walk] = {}
        self._asked: set[str] = set()
        self._runs: dict[str, RunRecords] = {}
        self.graphs: dict[str, RunGraph] = {}

    def of(self, graph: RunGraph, version_id: str) -> FullyLoaded:
        """What led to a version that the graph's run wrote."""
        own = graph.run.run_id
        self.graphs[own] = graph
        sources = graph.to_version(version_id)
        walk = self._walk(frozenset(graph.reach.origins(sources)))
        reached = {own: 0} | walk.reached
        reached[own] |= sources
        steps = {run_id: self.graphs[run_id].reach.steps(found) for run_id, found in reached.items()}
        version = graph.versions[version_id]
        gaps = (reason for run_id, found in reached.items() for reason in self._gaps(run_id, found, own))
        return FullyLoaded(
            by_run={run_id: self.graphs[run_id].costs.in_run(found) for run_id, found in steps.items()},
            steps=steps,
            reasons=tuple(dict.fromkeys([*graph.reasons(version), *gaps, *walk.reasons])),
            amortised=amortised({run_id: self.graphs[run_id] for run_id in reached}, own, version_id),
        )

    def _walk(self, start: frozenset[Origin]) -> _Walk:
        if start not in self._walks:
            walk = self._walks[start] = _Walk()
            followed: set[Origin] = set()
            pending = set(start)
            while pending:
                followed |= pending
                pending = self._follow(walk, pending) - followed
        return self._walks[start]

    def _follow(self, walk: _Walk, origins: Iterable[Origin]) -> set[Origin]:
        """Reach what leads to the origins, in their own runs; what this has from other runs."""
        by_run: dict[str, list[Origin]] = defaultdict(list)
        for origin in origins:
            if origin.run_id is None:
                walk.reasons.append(origin.reason)
            else:
                by_run[origin.run_id].append(origin)
        self._fetch(by_run)
        ahead: set[Origin] = set()
        for run_id, of_run in by_run.items():
            graph = self.graphs.get(run_id)
            if graph is None:
                walk.reasons.append(TOO_MANY if run_id in self._left_out else GONE.format(run_id))
                continue
            before = found = walk.reached.get(run_id, 0)
            for origin in of_run:
                found |= _sources(graph, origin)
                walk.reasons += (_in(graph, reason) for reason in _unlinked(graph, origin))
            walk.reached[run_id] = found
            ahead.update(graph.reach.origins(found & ~before))
        return ahead

    def _fetch(self, run_ids: Iterable[str]) -> None:
        new = [run_id for run_id in run_ids if run_id not in self.graphs]
        wanted = [run_id for run_id in new if run_id not in self._runs and run_id not in self._asked]
        self._asked.update(wanted)
        at_once = len(wanted) if self._most_spans is None else LIMITED
        for start in range(0, len(wanted), at_once or 1):
            self._load_more(wanted[start : start + at_once])
        for run_id in new:
            if run_id in self._runs:
                self.graphs[run_id] = RunGraph(self._runs[run_id])

    def _load_more(self, run_ids: list[str]) -> None:
        ahead = AHEAD * len(self._runs)
        if self._most_spans is not None:
            if self._spans >= self._most_spans:
                self._left_out.update(run_ids)
                return
            ahead = min(ahead, LIMITED)
        for run in self._load(run_ids, ahead):
            self._runs[run.run_id] = run
            self._spans += len(run.spans)

    def _gaps(self, run_id: str, sources: int, own: str) -> Iterator[str]:
        graph = self.graphs[run_id]
        for reason in graph.reach.reasons(sources):
            yield reason if run_id == own else _in(graph, reason)


def _sources(graph: RunGraph, origin: Origin) -> int:
    if origin.result:
        return graph.to_result(origin.id)
    return graph.to_files(origin.id) if origin.made else graph.to_version(origin.id)


def _unlinked(graph: RunGraph, origin: Origin) -> Iterator[str]:
    version = graph.versions.get(origin.id)
    if version is not None:
        yield from graph.unused_before(version.created_at)


def _in(graph: RunGraph, reason: str) -> str:
    """The reason with the run that it is about."""
    lives = [span for span in graph.run.spans if span.kind == Kind.FLOW and span.flow_run_id == graph.run.run_id]
    name = lives[0].attributes.get("flow_run_name") if lives else None
    return f"{reason} (run {name or graph.run.run_id[:8]})"
