"""Amortised energy: fully loaded, with upstream versions divided by a declared number of uses.

amortised(a) = the sum over root runs R of S(R) + o(R) x S(R) / sum of e in R, with S(R) the sum of w(s) x e(s) over the
steps from which a can be reached. w(s) is the largest product of 1 / uses(v), over the versions v that a path from s to
a passes through, of any such path: what leads to a without being divided counts whole. a itself is not divided.
"""

from collections.abc import Iterator, Mapping
from heapq import heappop, heappush

from e2s_tasks.core.energy import add
from e2s_tasks.core.lineage import Joules, RunGraph

Place = tuple[str, int]  # a root run, and a node of its graph


def amortised(graphs: Mapping[str, RunGraph], run_id: str, version_id: str) -> Joules | None:
    """The amortised energy of a version; None where nobody declared the uses of anything that it came from.

    graphs: of all root runs that led to it.
    """
    if not any(graph.declared.uses for graph in graphs.values()):
        return None
    node = graphs[run_id].reach.node_of(version_id)
    assert node is not None  # noqa: S101 - a version of that run
    weights = _weights(graphs, (run_id, node))
    parts = []
    for run, graph in graphs.items():
        of_run = {node: weight for (where, node), weight in weights.items() if where == run}
        if of_run:
            parts.append(graph.costs.weighted(of_run))
    return Joules(add(part.host for part in parts), add(part.movement for part in parts))


def _weights(graphs: Mapping[str, RunGraph], start: Place) -> dict[Place, float]:
    """The weight of each node from which the start can be reached, the heaviest path first (Dijkstra, by products)."""
    found: dict[Place, float] = {}
    pending: list[tuple[float, Place]] = [(-1.0, start)]
    while pending:
        weight, place = heappop(pending)
        if place in found:
            continue
        found[place] = -weight
        for before in _behind(graphs, place):
            if before not in found:
                heappush(pending, (weight / _uses(graphs, before, place), before))
    return found


def _behind(graphs: Mapping[str, RunGraph], place: Place) -> Iterator[Place]:
    """What leads to a node directly, in its own run and in others."""
    run_id, node = place
    reach = graphs[run_id].reach
    for before in reach.behind(node):
        yield run_id, before
    for origin in reach.origins_at(node):
        graph = graphs.get(origin.run_id or "")
        if graph is None:
            continue
        found = (
            graph.found.of_span.get(origin.id) if origin.result else graph.reach.node_of(origin.id, made=origin.made)
        )
        if found is not None:
            yield str(origin.run_id), found


def _uses(graphs: Mapping[str, RunGraph], before: Place, after: Place) -> float:
    """What an edge divides by: the uses of the version that it leaves, unless the files go on in a version."""
    graph = graphs[before[0]]
    version = graph.reach.version_at(before[1])
    if version is None or graphs[after[0]].reach.version_at(after[1]) is not None:
        return 1.0
    return graph.declared.uses.get(graph.versions[version].uri, 1.0)
