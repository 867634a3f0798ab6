"""What `prune` folds into what: a pure question about the spans of one root run.

A span goes into the nearest span around it that stays, with its joules, CPU time and bytes, so that what steps, runs
and artifacts cost stays as it was; what a flow's own body opened under one name goes into one span. Flow runs, attempts
and waits stay, as does what a figure rests on beside its sum (a process or a life-cycle stage of its own, energy
declared for work elsewhere, a gap, a write of a flow's body, whose time says what the body had seen).
"""

from collections import defaultdict
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from e2s_tasks.core.energy import COMPONENTS, HOST
from e2s_tasks.core.records import Kind, SpanRecord, Status
from e2s_tasks.core.results import RESULT

FOLDED = "folded"  # attribute of a span that others were folded into: how many
INNER = (str(Kind.SPAN), str(Kind.READ), str(Kind.WRITE), str(Kind.MOVE))
SUMS = (*(f"{component}_j" for component in COMPONENTS), "cpu_ns", "shared_cpu_ns", "bytes_read", "bytes_written")
_sums = attrgetter(*SUMS)
_host = attrgetter(*(f"{component}_j" for component in HOST))
_STAY = {"estimated", "remote", "remote_work", RESULT}  # attributes that say of a figure what a sum cannot


@dataclass(slots=True)
class Folding:
    """What becomes of spans: those that others went into, as they now are, and where each folded one goes.

    until: of a process and run, when the last folded span began.
    """

    into: dict[str, SpanRecord] = field(default_factory=dict)
    target: dict[str, str] = field(default_factory=dict)
    until: dict[tuple[str, str], float] = field(default_factory=dict)

    def add(self, spans: list[SpanRecord], writers: AbstractSet[str], keepers: AbstractSet[str]) -> int:
        """Fold the spans of one root run, adding to those that stay; how many are gone.

        spans: with the parents that `Ledger.run` finds. writers: what wrote a version. keepers: writes that kept files
        of an earlier version, which went into the new version alone, not into their step.
        """
        by_id = {one.id: one for one in spans}
        alike: dict[tuple[Any, ...], SpanRecord] = {}
        before = len(self.target)
        for one in _parents_first(spans, by_id):
            parent = one.parent_id or ""
            around = by_id.get(self.target.get(parent, parent))
            if around is None or one.id in keepers or not _may_go(one, around, writers):
                continue
            if around.is_orchestration:  # what a flow's body did is not its orchestration
                same = (around.id, one.kind, one.name, one.status, one.process_id, one.stage, _gaps(one))
                around = alike.setdefault(same, one)
                if around is one:
                    continue
                around.ended_at = max(around.ended_at or 0.0, one.ended_at or 0.0)
            elif not _lies_inside(one, around):
                continue
            self._put(one, around)
        return len(self.target) - before

    def _put(self, one: SpanRecord, around: SpanRecord) -> None:
        for name, more in zip(SUMS, _sums(one), strict=True):
            if more:
                setattr(around, name, (getattr(around, name) or 0) + more)
            elif more is not None and getattr(around, name) is None:
                setattr(around, name, more)
        around.attributes[FOLDED] = around.attributes.get(FOLDED, 0) + 1
        self.into[around.id] = around
        self.target[one.id] = around.id
        key = (one.process_id, one.run_id)
        self.until[key] = max(one.started_at, self.until.get(key, 0.0))


def _parents_first(spans: list[SpanRecord], by_id: dict[str, SpanRecord]) -> list[SpanRecord]:
    inside: dict[str, list[SpanRecord]] = defaultdict(list)
    found = []
    for one in spans:
        if one.parent_id in by_id:
            inside[str(one.parent_id)].append(one)
        else:
            found.append(one)
    for one in found:  # which grows
        found += inside.pop(one.id, [])
    return found


def _may_go(one: SpanRecord, around: SpanRecord, writers: AbstractSet[str]) -> bool:
    """Whether no figure rests on the span beside its sums."""
    in_body = around.kind not in (Kind.ATTEMPT, Kind.WAIT)
    return (
        one.kind in INNER
        and _is_known(one)
        and (one.remote_j, one.other_j, one.idle_j) == (None, None, None)
        and not _STAY.intersection(one.attributes)
        and not (in_body and one.id in writers)
    )


def _lies_inside(one: SpanRecord, around: SpanRecord) -> bool:
    """Whether the span around is worth the same: of the process and stage, over all its time, and counted at all.

    A component that only one of the two has a figure for is a gap, which a sum would hide.
    """
    return (
        _is_known(around)
        and around.status != Status.CACHED  # whose own zeros stand for nothing
        and one.process_id == around.process_id
        and (one.stage is None or one.stage == around.stage)
        and _gaps(one) == _gaps(around)
        and around.started_at <= one.started_at
        and (one.ended_at or 0.0) <= (around.ended_at or 0.0)
    )


def _gaps(one: SpanRecord) -> tuple[bool, ...]:
    """Which components have no figure."""
    return tuple([figure is None for figure in _host(one)])


def _is_known(one: SpanRecord) -> bool:
    """Whether the span's energy is all known: a gap stays where it is, since a sum would hide it or spread it."""
    return not all(_gaps(one)) and not one.incomplete
