"""What each artifact version of a run cost: energy-to-solution within the root run that wrote it.

S(a) = energy of the steps from which the version can be reached; in-run(a) = S + o x S / sum of e, with o the run's
orchestration and e(s) a step's inclusive energy. Attributed figures divide every joule over the final products; what
leads to none is unclaimed, so that attributed + unclaimed = E(R) = sum of e + o.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Literal

from e2s_tasks.core.edges import Edges
from e2s_tasks.core.energy import Energy, add, total
from e2s_tasks.core.graph import between, chosen, closures, members, parts
from e2s_tasks.core.records import RunRecords, VersionRecord
from e2s_tasks.core.steps import Step, Steps, steps_of

Weight = Literal["bytes", "rows", "equal"]


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

    energy: E(R), what the run used, waiting aside. weights: by what shared steps were divided over final products.
    step_of: the index in `steps` of each span's step; orchestration and waiting are absent. unlinked: steps that
    returned a result that no step is known to have used, and wrote nothing.
    """

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


def lineage_of(run: RunRecords, products: Collection[str] | None = None, weight: Weight = "bytes") -> Lineage:
    """The energy-to-solution of each version that a root run wrote.

    products: URIs that replace the final products found; weight: what divides a step's energy among those it led to.
    """
    found = steps_of(run)
    graph = _Graph(run, found)
    costs = _Costs(found)
    finals = graph.final_products(products)
    attributed, unclaimed, weights = _attribute(costs, finals, graph, weight)
    unlinked = graph.unlinked()
    steps = tuple(found.steps)
    versions = {
        version.id: VersionE2S(
            version=version,
            in_run=costs.in_run(graph.closure(version)),
            attributed=attributed.get(version.id),
            reasons=(*graph.reasons(version), *_unused_before(version, unlinked)),
            closure=graph.closure(version),
            of=steps,
        )
        for version in run.versions
    }
    return Lineage(
        steps=steps,
        step_of=found.of_span,
        energy=total([*(step.energy for step in steps), costs.orchestration]),
        orchestration=costs.orchestration,
        waiting=total(span.energy for span in found.waiting),
        versions=versions,
        final_products=tuple(version.id for version in finals),
        unclaimed=unclaimed,
        unlinked=tuple(unlinked),
        weights=weights,
    )


def _unused_before(version: VersionRecord, unlinked: Iterable[Step]) -> list[str]:
    """The results that may have gone into the version unseen: one that came only after the write cannot have."""
    return [
        f"it is not known who used the result of {step.name!r}"
        for step in unlinked
        if step.ended_at is None or step.ended_at <= version.created_at
    ]


class _Costs:
    """The steps' energies, and each one's pro-rata share of the orchestration."""

    def __init__(self, found: Steps) -> None:
        energies = [step.energy for step in found.steps]
        self.orchestration = total(span.energy for span in found.orchestration)
        self.host = [energy.host or 0.0 for energy in energies]
        self.movement = [energy.movement or 0.0 for energy in energies]
        self.total = [host + movement for host, movement in zip(self.host, self.movement, strict=True)]
        self.sum = sum(self.total)
        self._known_host = _bits(energy.host is not None for energy in energies)
        self._known_movement = _bits(energy.movement is not None for energy in energies)

    def in_run(self, closure: int) -> Joules:
        """S + o x S / sum of e, over the steps of a closure."""
        ones = chosen(closure)
        host, movement = sum(compress(self.host, ones)), sum(compress(self.movement, ones))
        return self.joules(closure, host, movement)

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


def _bits(flags: Iterable[bool]) -> int:
    return int("0" + "".join("1" if flag else "0" for flag in flags)[::-1], 2)


class _Graph:
    """Which steps each version came from; strongly connected parts of steps and versions are contracted."""

    def __init__(self, run: RunRecords, found: Steps) -> None:
        self._run, self._found = run, found
        self._edges = Edges(run, found)
        self._part = parts(self._edges.ahead)
        self._following = between(self._edges.ahead, self._part)
        own = [0] * len(self._following)
        for step in range(len(found.steps)):
            own[self._part[step]] |= 1 << step
        self._closures = closures(self._following, own)
        self._incomplete = _bits(step in self._edges.missing for step in range(len(found.steps)))

    def closure(self, version: VersionRecord) -> int:
        """One bit for each step from which the version can be reached."""
        return self._closures[self._part[self._edges.node[version.id]]]

    def reasons(self, version: VersionRecord) -> Iterator[str]:
        """Why the figures of the version are lower bounds, by what its closure reaches."""
        closure = self.closure(version)
        if not closure:
            yield "the step that wrote it is unknown"
        missing = (self._edges.missing[step] for step in members(closure & self._incomplete))
        yield from dict.fromkeys(reason for reasons in missing for reason in reasons)

    def final_products(self, products: Collection[str] | None) -> list[VersionRecord]:
        """The last versions of their URIs from which no other URI's last version is reachable, or those declared.

        A superseded version does not count, nor does what lies in the same strongly connected part: a step that
        rewrites its output and reads it back has still made it.
        """
        last = {one.uri: one for one in sorted(self._run.versions, key=lambda one: (one.created_at, one.id))}
        if products is not None:
            return [one for uri, one in last.items() if uri in products]
        part_of = {uri: self._part[self._edges.node[one.id]] for uri, one in last.items()}
        leads = self._lead_to(set(part_of.values()))
        return [one for uri, one in last.items() if not leads[part_of[uri]]]

    def _lead_to(self, wanted: set[int]) -> list[bool]:
        """For each part, whether one of the wanted parts can be reached from it, itself aside."""
        leads: list[bool] = []
        for following in self._following:  # what a part leads to has a lower number
            leads.append(any(part in wanted or leads[part] for part in following))
        return leads

    def unlinked(self) -> list[Step]:
        """Steps that returned a result that no step is known to have used, and that wrote nothing."""
        wrote = {self._found.of_span.get(version.span_id) for version in self._run.versions}
        return [
            step
            for number, step in enumerate(self._found.steps)
            if step.returned and number not in wrote and number not in self._edges.used
        ]


def _attribute(
    costs: _Costs, finals: Sequence[VersionRecord], graph: _Graph, weight: Weight
) -> tuple[dict[str, Joules], Joules, str]:
    """What each final product answers for, what is left unclaimed, and what the steps were divided by."""
    closures_of = [(final, graph.closure(final), _weight(final, weight)) for final in finals]
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


def _weight(version: VersionRecord, weight: Weight) -> float | None:
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

    def said(self, weight: Weight) -> str:
        """By what the steps with several products were divided."""
        shared = [step for step, count in enumerate(self._count) if count > 1]
        equal = [step for step in shared if self._equal(step)]
        if weight == "equal" or not equal:
            return weight
        some = "equal" if len(equal) == len(shared) else f"{weight}, {len(equal)} of {len(shared)} shared steps equal"
        return f"{some}: {weight} unknown or zero"
