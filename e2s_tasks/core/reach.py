"""What leads to each step and version of a run: its steps, what it has from other runs, and what is not known.

A set of these is one integer: a bit for each step, then one for each origin in another run, then one for each gap.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from e2s_tasks.core.edges import Edges, Origin
from e2s_tasks.core.graph import between, closures, members, parts
from e2s_tasks.core.records import RunRecords
from e2s_tasks.core.steps import Steps


@dataclass(slots=True)
class Feeding:
    """What leads to a step or version directly: steps and versions of its run, origins in others, what is missing.

    files: the versions of which only the files that their own writes made lead there.
    """

    steps: list[int] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class Reach:
    """The closures of a run's graph; strongly connected parts of steps and versions are contracted.

    used: the steps whose results are known to be used.
    """

    def __init__(self, run: RunRecords, found: Steps) -> None:
        edges = self._edges = Edges(run, found)
        self.used = edges.used
        self._node = edges.node
        self._steps = len(found.steps)
        self._origins = [(node, origin) for node, origins in edges.origins.items() for origin in origins]
        self._gaps = [(node, reason) for node, reasons in edges.missing.items() for reason in reasons]
        self._part = parts(edges.ahead)
        self._following = between(edges.ahead, self._part)
        own = [0] * len(self._following)
        holders = [*range(self._steps), *(node for node, _ in self._origins), *(node for node, _ in self._gaps)]
        for bit, node in enumerate(holders):
            own[self._part[node]] |= 1 << bit
        self._closures = closures(self._following, own)

    def of_version(self, version_id: str) -> int:
        """What leads to a version of this run."""
        return self._closures[self._part[self._node[version_id]]]

    def of_files(self, version_id: str) -> int:
        """What leads to the files that a version's own write made."""
        return self._closures[self._part[self._edges.made[version_id]]]

    def keeps(self, version_id: str) -> bool:
        """Whether the version kept files of earlier ones."""
        return self._edges.made[version_id] != self._node[version_id]

    def of_step(self, step: int) -> int:
        """What leads to a step, itself included."""
        return self._closures[self._part[step]]

    def steps(self, sources: int) -> int:
        """The steps among the sources, one bit for each."""
        return sources & ((1 << self._steps) - 1)

    def origins(self, sources: int) -> Iterator[Origin]:
        """What the sources have from other runs."""
        after = len(self._origins)
        for number in members(sources >> self._steps & ((1 << after) - 1)):
            yield self._origins[number][1]

    def reasons(self, sources: int) -> Iterator[str]:
        """Why energy is missing among the sources, each reason once."""
        gaps = members(sources >> self._steps + len(self._origins))
        yield from dict.fromkeys(self._gaps[number][1] for number in gaps)

    def node_of(self, version_id: str, *, made: bool = False) -> int | None:
        """The node of a version of this run, or (`made`) of what its own write made; None for another run's."""
        return (self._edges.made if made else self._node).get(version_id)

    def version_at(self, node: int) -> str | None:
        """The version that a node stands for, with those before it or as what its own write made."""
        return self._version_of.get(node) or self._files_of.get(node) or self._edges.together.get(node)

    def behind(self, node: int) -> list[int]:
        """The nodes that lead to a node directly: steps (by their index), versions and helpers without energy."""
        return self._behind[node]

    def origins_at(self, node: int) -> list[Origin]:
        """What a node has from other runs."""
        return self._edges.origins.get(node, [])

    def feeding_version(self, version_id: str) -> Feeding:
        """What leads to a version directly."""
        return self._feeding(self._node[version_id])

    def feeding_files(self, version_id: str) -> Feeding:
        """What leads directly to the files that a version's own write made."""
        return self._feeding(self._edges.made[version_id])

    def feeding_step(self, step: int) -> Feeding:
        """What leads to a step directly."""
        return self._feeding(step)

    def _feeding(self, node: int) -> Feeding:
        found = Feeding(origins=self._edges.origins.get(node, []), missing=self._edges.missing.get(node, []))
        pending, seen = list(self._behind[node]), {node}
        while pending:
            one = pending.pop()
            if one in seen:
                continue
            seen.add(one)
            if one < self._steps:
                found.steps.append(one)
            elif one in self._version_of:
                found.versions.append(self._version_of[one])
            elif one in self._files_of and self._node[self._files_of[one]] != node:
                found.files.append(self._files_of[one])
            else:  # a helper without energy: what leads to it counts
                pending += self._behind[one]
        found.steps.sort()
        return found

    @cached_property
    def _files_of(self) -> dict[int, str]:
        return {node: version_id for version_id, node in self._edges.made.items()}

    @cached_property
    def _version_of(self) -> dict[int, str]:
        return {node: version_id for version_id, node in self._node.items()}

    @cached_property
    def _behind(self) -> list[list[int]]:
        behind: list[list[int]] = [[] for _ in self._edges.ahead]
        for node, ahead in enumerate(self._edges.ahead):
            for one in ahead:
                behind[one].append(node)
        return behind

    def leading(self, version_ids: Collection[str]) -> set[str]:
        """Those of the versions from which another of them can be reached, unless that leads back to them.

        Of a version that kept files, what its own write made counts: a read of that leads on from the version, too.
        """
        part_of = {one: self._part[self._node[one]] for one in version_ids}
        wanted = set(part_of.values())
        leads: list[bool] = []
        for following in self._following:  # what a part leads to has a lower number
            leads.append(any(part in wanted or leads[part] for part in following))
        return {
            one for one, part in part_of.items() if leads[part] or (self.keeps(one) and self._files_lead(one, wanted))
        }

    def _files_lead(self, version_id: str, wanted: set[int]) -> bool:
        whole = self._part[self._node[version_id]]
        reached = _walk(self._part[self._edges.made[version_id]], self._following)
        return bool((wanted & reached) - _walk(whole, self._preceding))

    @cached_property
    def _preceding(self) -> list[set[int]]:
        preceding: list[set[int]] = [set() for _ in self._following]
        for part, following in enumerate(self._following):
            for one in following:
                preceding[one].add(part)
        return preceding


def _walk(start: int, following: list[set[int]]) -> set[int]:
    """What can be reached, the start included."""
    seen, pending = {start}, [start]
    while pending:
        ahead = following[pending.pop()] - seen
        seen |= ahead
        pending += ahead
    return seen
