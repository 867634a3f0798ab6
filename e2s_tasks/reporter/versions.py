"""An artifact over time: its versions, what changed between two, and where the energy of one comes from."""

from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.lineage import Lineage, lineage_of
from e2s_tasks.core.records import RunRecords, VersionRecord
from e2s_tasks.core.upstream import Upstream
from e2s_tasks.errors import NotFoundError
from e2s_tasks.reporter.ancestry import ancestry
from e2s_tasks.reporter.artifacts import Emitted, artifact, unknown
from e2s_tasks.reporter.tree import SpanTree, adopted, tree
from e2s_tasks.reporter.units import iso

if TYPE_CHECKING:
    from e2s_tasks.ledger import Ledger

MOST_STEPS = 5


class ArtifactHistory:
    """The versions of an artifact in the ledger, the first one first.

    Raises:
        LedgerError: the ledger cannot be read.
    """

    def __init__(self, ledger: "Ledger", uri: str) -> None:
        self._ledger = ledger
        self._upstream = Upstream(ledger.loader())
        self._emitted = Emitted()
        self._versions = ledger.versions(uri)
        self._run = cache(self._load)
        self.uri = uri

    def _load(self, run_id: str) -> tuple[RunRecords, SpanTree, Lineage]:
        run = self._ledger.run(self._ledger.root_run(run_id))
        spans = tree(run.spans, run.run_id)
        return run, spans, lineage_of(adopted(run, spans))

    def rows(self, limit: int) -> list[dict[str, Any]]:
        """The last `limit` versions, each with its energy-to-solution and the change since the one before it."""
        numbers = range(max(0, len(self._versions) - limit), len(self._versions))
        return [self._described(number) | {"change": self._change(number)} for number in numbers]

    def one(self, number: int | None = None) -> dict[str, Any]:
        """A version by its number, the last one by default, with the change since the one before it, and its tree.

        Raises:
            NotFoundError: there is no version of that number.
        """
        if number is not None and not 1 <= number <= len(self._versions):
            raise NotFoundError(f"{self.uri} has no version {number}. It has 1 to {len(self._versions)}.")
        index = len(self._versions) - 1 if number is None else number - 1
        version = self._versions[index]
        row = self._described(index)
        if not self._known(version):
            return row | {"change": None, "tree": []}
        run, _, lineage = self._run(version.run_id)
        loaded = self._upstream.of(lineage.graph, version.id)
        rows = ancestry(loaded, self._upstream, run.run_id, version.id)
        numbers = self._ledger.version_numbers([one["id_of_version"] for one in rows if one["kind"] == "version"])
        for one in rows:
            one["version"] = numbers.get(one.pop("id_of_version", ""))
        return row | {"change": self._change(index), "tree": rows}

    def _described(self, index: int) -> dict[str, Any]:
        version = self._versions[index]
        if not self._known(version):
            return unknown(version) | {"version": index + 1, "run_id": version.run_id}
        run, spans, lineage = self._run(version.run_id)
        row = artifact(run, spans, lineage, self._upstream, version, self._emitted)
        return row | {"version": index + 1, "run_id": run.run_id}

    def _change(self, index: int) -> dict[str, Any] | None:
        """How the in-run energy differs from that of the version before, and in which steps; None for the first one."""
        if index == 0:
            return None
        before, now = self._versions[index - 1], self._versions[index]
        if not self._known(before) or not self._known(now):
            return None
        old, new = self._steps(before), self._steps(now)
        old_j, new_j = self._in_run(before), self._in_run(now)
        return {
            "since_version": index,
            "since": iso(before.created_at),
            "in_run_ratio": new_j / old_j if old_j and new_j is not None else None,
            "steps": _differing(old, new),
        }

    def _known(self, version: VersionRecord) -> bool:
        """Whether its run is in the ledger: a process that is killed may leave the version alone."""
        try:
            self._run(version.run_id)
        except NotFoundError:
            return False
        return version.id in self._run(version.run_id)[2].versions

    def _in_run(self, version: VersionRecord) -> float | None:
        return self._run(version.run_id)[2].versions[version.id].in_run_j

    def _steps(self, version: VersionRecord) -> dict[str, float]:
        """The joules of the steps that a version came from in its run, by their names."""
        steps: dict[str, float] = defaultdict(float)
        for step in self._run(version.run_id)[2].versions[version.id].steps:
            steps[step.name] += step.energy.total or 0.0
        return steps


def _differing(old: dict[str, float], new: dict[str, float]) -> list[dict[str, Any]]:
    """The steps whose energy differs most, the most first."""
    rows = [
        {
            "name": name,
            "from_j": old.get(name),
            "to_j": new.get(name),
            "ratio": new[name] / old[name] if old.get(name) and name in new else None,
        }
        for name in dict.fromkeys([*new, *old])
    ]
    rows.sort(key=lambda row: -abs((row["to_j"] or 0.0) - (row["from_j"] or 0.0)))  # type: ignore[operator]
    return rows[:MOST_STEPS]
