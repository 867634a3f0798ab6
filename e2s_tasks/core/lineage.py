"""What each artifact version of a run cost: energy-to-solution within the root run that wrote it.

S(a) = energy of the steps from which the version can be reached; in-run(a) = S + o x S / sum of e, with o the run's
orchestration and e(s) a step's inclusive energy. Attributed figures divide every joule over the final products; what
leads to none is unclaimed, so that attributed + unclaimed = E(R) = sum of e + o.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress

from e2s_tasks.core.energy import Energy, add, total
from e2s_tasks.core.graph import bits, chosen, members
from e2s_tasks.core.products import Products, Weight, declared
from e2s_tasks.core.reach import Reach
from e2s_tasks.core.records import RunRecords, VersionRecord
from e2s_tasks.core.steps import Step, Steps, steps_of


@dataclass(frozen=True, slots=True)
class Joules:
    """Host energy and modelled movement in joules; None is a gap."""

    host: float | None
    movement: float | None

    @property
    def total(self) -> float | None:
        """Host + movement; None where both are missing."""
        return add((self.host, self.movement))


@dataclass(frozen=True, slots=True)
class VersionE2S:
    """What a version cost within its root run. `attributed` is None for what is no final product.

    reasons: why the figures are lower bounds; empty where they are not. closure: one bit for each step it came from.
    """

    version: VersionRecord
    in_run: Joules
    attributed: Joules | None
    reasons: tuple[str, ...]
    closure: int
    of: "tuple[Step, ...]"

    @property
    def in_run_j(self) -> float | None:
        """In-run energy in joules: host + movement."""
        return self.in_run.total

    @property
    def attributed_j(self) -> float | None:
        """Attributed energy in joules; None for what is no final product."""
        return None if self.attributed is None else self.attributed.total

    @property
    def lower_bound(self) -> bool:
        """Whether the figures are lower bounds."""
        return bool(self.reasons)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps from which the version can be reached, in the order of their starts."""
        return tuple(compress(self.of, chosen(self.closure)))


@dataclass(frozen=True, slots=True)
class Lineage:
    """The energy-to-solution of a root run's artifacts.

    graph: what leads to what, from which fully loaded figures go on. energy: E(R), what the run used, waiting aside.
    weights: by what shared steps were divided over final products. not_made: declared products that it did not write.
    step_of: the index in `steps` of each span's step; orchestration and waiting are absent. unlinked: steps that
    returned a result that no step is known to have used, and wrote nothing.
    """

    graph: "RunGraph"
    steps: tuple[Step, ...]
    step_of: dict[str, int]
    energy: Energy
    orchestration: Energy
    waiting: Energy
    versions: dict[str, VersionE2S]
    final_products: tuple[str, ...]
    unclaimed: Joules
    unlinked: tuple[Step, ...]
    weights: str
    not_made: tuple[str, ...]

    @property
    def energy_j(self) -> float | None:
        """E(R) in joules."""
        return self.energy.total

    @property
    def orchestration_j(self) -> float | None:
        """What the flow runs used beside their steps, in joules."""
        return self.orchestration.total

    @property
    def waiting_j(self) -> float | None:
        """What waiting used, in joules: part of no artifact and of no E(R)."""
        return self.waiting.total

    @property
    def unclaimed_j(self) -> float | None:
        """What led to no final product, in joules."""
        return self.unclaimed.total


def lineage_of(
    run: RunRecords, products: Collection[str] | None = None, weight: Weight | Mapping[str, float] | None = None
) -> Lineage:
    """The energy-to-solution of each version that a root run wrote.

    products: URIs that replace the final products found; weight: what divides a step's energy among those it led to, or
    the weight of each by its URI. Both are by default what the run's flow declares.
    """
    graph = RunGraph(run)
    found, costs, reach = graph.found, graph.costs, graph.reach
    products = graph.declared.uris if products is None else products
    finals = graph.final_products(products)
    attributed, unclaimed, weights = _attribute(graph, finals, graph.declared.weight if weight is None else weight)
    steps = tuple(found.steps)
    versions = {}
    for version in run.versions:
        closure = reach.steps(reach.of_version(version.id))
        versions[version.id] = VersionE2S(
            version=version,
            in_run=costs.in_run(closure),
            attributed=attributed.get(version.id),
            reasons=tuple(graph.reasons(version)),
            closure=closure,
            of=steps,
        )
    return Lineage(
        graph=graph,
        steps=steps,
        step_of=found.of_span,
        energy=total([*(step.energy for step in steps), costs.orchestration]),
        orchestration=costs.orchestration,
        waiting=total(span.energy for span in found.waiting),
        versions=versions,
        final_products=tuple(version.id for version in finals),
        unclaimed=unclaimed,
        unlinked=tuple(graph.unlinked),
        weights=weights,
        not_made=tuple(sorted(set(products or ()) - {one.uri for one in run.versions})),
    )


class Costs:
    """The steps' energies, and each one's pro-rata share of the orchestration."""

    def __init__(self, found: Steps) -> None:
        energies = [step.energy for step in found.steps]
        self.orchestration = total(span.energy for span in found.orchestration)
        self.host = [energy.host or 0.0 for energy in energies]
        self.movement = [energy.movement or 0.0 for energy in energies]
        self.total = [host + movement for host, movement in zip(self.host, self.movement, strict=True)]
        self.sum = sum(self.total)
        self._known_host = bits(energy.host is not None for energy in energies)
        self._known_movement = bits(energy.movement is not None for energy in energies)

    def in_run(self, closure: int) -> Joules:
        """S + o x S / sum of e, over the steps of a closure."""
        ones = chosen(closure)
        host, movement = sum(compress(self.host, ones)), sum(compress(self.movement, ones))
        return self.joules(closure, host, movement)

    def weighted(self, weights: Mapping[int, float]) -> Joules:
        """The same, over steps of which only a part counts: weights has the part of each."""
        known = {step: part for step, part in weights.items() if step < len(self.total)}
        host, movement = (sum(part * of[step] for step, part in known.items()) for of in (self.host, self.movement))
        return self.joules(sum(1 << step for step in known), host, movement)

    def unclaimed(self, claimed: int) -> Joules:
        """What no final product depends on; with no energy in any step, the orchestration too."""
        rest = ~claimed & ((1 << len(self.total)) - 1)
        if not self.sum:
            return Joules(self.orchestration.host, self.orchestration.movement)
        return self.in_run(rest) if rest else Joules(0.0, 0.0)

    def joules(self, closure: int, host: float, movement: float) -> Joules:
        """Energies of steps with their share of the orchestration; None for what is known of no step of the closure."""
        share = (host + movement) / self.sum if self.sum else 0.0
        host += share * (self.orchestration.host or 0.0)
        movement += share * (self.orchestration.movement or 0.0)
        return Joules(
            host if host or closure & self._known_host else None,
            movement if movement or closure & self._known_movement else None,
        )


class RunGraph:
    """The steps of a root run, what they cost, and what leads to what."""

    def __init__(self, run: RunRecords) -> None:
        self.run = run
        self.found = steps_of(run)
        self.costs = Costs(self.found)
        self.reach = Reach(run, self.found)
        self.versions = {one.id: one for one in run.versions}

    @cached_property
    def declared(self) -> Products:
        """What the run declares of its products."""
        return declared(self.run)

    def to_version(self, version_id: str) -> int:
        """What leads to a version, see Reach; 0 for one of another run."""
        return self.reach.of_version(version_id) if version_id in self.versions else 0

    def to_files(self, version_id: str) -> int:
        """What leads to the files that a version's own write made, see Reach."""
        return self.reach.of_files(version_id) if version_id in self.versions else 0

    def to_result(self, span_id: str) -> int:
        """What leads to the result of an attempt, see Reach."""
        step = self.found.of_span.get(span_id)
        return 0 if step is None else self.reach.of_step(step)

    def reasons(self, version: VersionRecord) -> Iterator[str]:
        """Why the in-run figures of the version are lower bounds."""
        sources = self.reach.of_version(version.id)
        if not self.reach.steps(sources):
            yield "the step that wrote it is unknown"
        yield from self.reach.reasons(sources)
        yield from self.unused_before(version.created_at)

    def unused_before(self, at: float) -> Iterator[str]:
        """The results that may have gone unseen into what was made at a time: later ones cannot have."""
        for step in self.unlinked:
            if step.ended_at is None or step.ended_at <= at:
                yield f"it is not known who used the result of {step.name!r}"

    @cached_property
    def unlinked(self) -> list[Step]:
        """Steps that returned a result that no step is known to have used, and that wrote nothing."""
        wrote = {self.found.of_span.get(version.span_id) for version in self.run.versions}
        used = self.reach.used
        return [
            step
            for number, step in enumerate(self.found.steps)
            if step.returned and number not in wrote and number not in used
        ]

    def final_products(self, products: Collection[str] | None) -> list[VersionRecord]:
        """The last versions of their URIs from which no other URI's last version is reachable, or those declared.

        A superseded version does not count, nor does what lies in the same strongly connected part: a step that
        rewrites its output and reads it back has still made it.
        """
        last = {one.uri: one for one in sorted(self.run.versions, key=lambda one: (one.created_at, one.id))}
        if products is not None:
            return [one for uri, one in last.items() if uri in products]
        leading = self.reach.leading([one.id for one in last.values()])
        return [one for one in last.values() if one.id not in leading]


def _attribute(
    graph: RunGraph, finals: Sequence[VersionRecord], weight: Weight | Mapping[str, float]
) -> tuple[dict[str, Joules], Joules, str]:
    """What each final product answers for, what is left unclaimed, and what the steps were divided by."""
    costs, reach = graph.costs, graph.reach
    closures_of = [(one, reach.steps(reach.of_version(one.id)), _weight(one, weight)) for one in finals]
    shares = _Shares(len(costs.total))
    for _, closure, weighed in closures_of:
        shares.add(closure, weighed)
    attributed = {}
    for final, closure, weighed in closures_of:
        host = movement = 0.0
        for step in members(closure):
            part = shares.of(step, weighed)
            host += part * costs.host[step]
            movement += part * costs.movement[step]
        attributed[final.id] = costs.joules(closure, host, movement)
    return attributed, costs.unclaimed(shares.claimed), shares.said(weight)


def _weight(version: VersionRecord, weight: Weight | Mapping[str, float]) -> float | None:
    if isinstance(weight, Mapping):
        return weight.get(version.uri)
    return 1.0 if weight == "equal" else version.bytes if weight == "bytes" else version.rows


class _Shares:
    """How each step's energy is divided over the final products that depend on it."""

    def __init__(self, steps: int) -> None:
        self._count = [0] * steps
        self._sum = [0.0] * steps
        self._unknown = [False] * steps
        self.claimed = 0

    def add(self, closure: int, weight: float | None) -> None:
        """A final product of this weight depends on the steps of the closure."""
        self.claimed |= closure
        for step in members(closure):
            self._count[step] += 1
            self._sum[step] += weight or 0.0
            self._unknown[step] |= weight is None

    def of(self, step: int, weight: float | None) -> float:
        """The fraction of the step's energy that a product of this weight answers for."""
        return 1 / self._count[step] if self._equal(step) else (weight or 0.0) / self._sum[step]

    def _equal(self, step: int) -> bool:
        return self._unknown[step] or not self._sum[step]

    def said(self, weight: Weight | Mapping[str, float]) -> str:
        """By what the steps with several products were divided."""
        by = weight if isinstance(weight, str) else "declared weight"
        shared = [step for step, count in enumerate(self._count) if count > 1]
        equal = [step for step in shared if self._equal(step)]
        if by == "equal" or not equal:
            return by
        some = "equal" if len(equal) == len(shared) else f"{by}, {len(equal)} of {len(shared)} shared steps equal"
        return f"{some}: {by} unknown or zero"
