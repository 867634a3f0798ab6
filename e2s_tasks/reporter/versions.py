"""An artifact over time: its versions, what changed between two, and where the energy of one comes from."""

from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from e2s_tasks.core.energy import add
from e2s_tasks.core.lineage import Lineage, lineage_of
from e2s_tasks.core.records import RunRecords, VersionRecord
from e2s_tasks.core.upstream import Upstream
from e2s_tasks.errors import NotFoundError
from e2s_tasks.reporter.ancestry import ancestry
from e2s_tasks.reporter.artifacts import Emitted, artifact, unknown
from e2s_tasks.reporter.tree import SpanTree, adopted, tree
from e2s_tasks.reporter.units import iso

if TYPE_CHECKING:
    from e2s_tasks.core.steps import Step
    from e2s_tasks.ledger import Ledger

MOST_STEPS = 5
LEAST_OF_ID = 6  # characters, with which one may be named


class _Figure(NamedTuple):
    """Joules, None where missing, and whether they are a lower bound."""

    joules: float | None
    lower_bound: bool


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

    def one(self, which: int | str | None = None) -> dict[str, Any]:
        """A version by its number or id, the last one by default, with the change since the one before, and its tree.

        Raises:
            NotFoundError: there is no such version.
        """
        index = self._index(which)
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

    def _index(self, which: int | str | None) -> int:
        """The place of a version: of its number, its id, or enough of the beginning of that."""
        count, text = len(self._versions), str(which)
        if which is None:
            return count - 1
        if text.isdecimal() and 1 <= int(text) <= count:
            return int(text) - 1
        ids = [one.id for one in self._versions]
        named = [id_ for id_ in ids if id_.lower().startswith(text.lower())]
        found = [id_ for id_ in named if len(text) >= min(LEAST_OF_ID, len(id_))]
        if len(found) != 1:
            raise NotFoundError(f"{self.uri} has no version {which}. {self._which_there_are(text, named)}")
        return ids.index(found[0])

    def _which_there_are(self, text: str, named: list[str]) -> str:
        """What can be given instead. named: the ids that begin so, all the same."""
        count = len(self._versions)
        numbers = "It has version 1 alone." if count == 1 else f"It has 1 to {count}."
        if named and len(text) < LEAST_OF_ID and not text.isdecimal():
            return f"{numbers} Give at least {LEAST_OF_ID} characters of an id."
        return f"{numbers} The ids of {len(named)} begin so: give more of one." if len(named) > 1 else numbers

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
        changed = _changed(self._in_run(before), self._in_run(now))
        return {
            "since_version": index,
            "since": iso(before.created_at),
            **{f"in_run_{name}": told for name, told in changed.items()},
            "steps": _differing(self._steps(before), self._steps(now)),
        }

    def _known(self, version: VersionRecord) -> bool:
        """Whether its run is in the ledger: a process that is killed may leave the version alone."""
        try:
            self._run(version.run_id)
        except NotFoundError:
            return False
        return version.id in self._run(version.run_id)[2].versions

    def _in_run(self, version: VersionRecord) -> _Figure:
        found = self._run(version.run_id)[2].versions[version.id]
        return _Figure(found.in_run_j, found.lower_bound)

    def _steps(self, version: VersionRecord) -> dict[str, _Figure]:
        """What the steps that a version came from used in its run, by their names."""
        by_name: dict[str, list[Step]] = defaultdict(list)
        for step in self._run(version.run_id)[2].versions[version.id].steps:
            by_name[step.name].append(step)
        return {
            name: _Figure(add(step.energy.total for step in steps), any(step.gaps for step in steps))
            for name, steps in by_name.items()
        }


def _changed(old: _Figure, new: _Figure) -> dict[str, Any]:
    """The ratio of the new figure to the old one, as far as it can be told: of a bound only a rise from an exact one.

    at_least: it is so much or more. unknown: nobody knows which of the two is more.
    """
    if old.joules is None or new.joules is None:
        return {"ratio": None, "at_least": False, "unknown": True}
    certain = not old.lower_bound and (not new.lower_bound or new.joules > old.joules)
    ratio = new.joules / old.joules if certain and old.joules else None
    return {"ratio": ratio, "at_least": certain and new.lower_bound, "unknown": not certain}


def _differing(old: dict[str, _Figure], new: dict[str, _Figure]) -> list[dict[str, Any]]:
    """The steps whose energy differs most, the most first; those of which nobody knows by how much are the last."""
    rows = [_step(name, old.get(name), new.get(name)) for name in dict.fromkeys([*new, *old])]
    rows.sort(key=lambda row: (row["unknown"], -abs((row["to_j"] or 0.0) - (row["from_j"] or 0.0))))
    return rows[:MOST_STEPS]


def _step(name: str, old: _Figure | None, new: _Figure | None) -> dict[str, Any]:
    """A step of either version; one that only one of them has changed by all that it used there."""
    only = new if old is None else old if new is None else None
    alone = only and {"ratio": None, "at_least": only.lower_bound, "unknown": only.joules is None}
    return {
        "name": name,
        "from_j": old and old.joules,
        "to_j": new and new.joules,
        "from_lower_bound": bool(old and old.lower_bound),
        "to_lower_bound": bool(new and new.lower_bound),
        "only_in": None if only is None else "to" if old is None else "from",
        **(alone or (_changed(old, new) if old and new else {})),
    }
