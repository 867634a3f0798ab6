"""What of each run of a period is added up: its figures, and its steps', from the functions that make its summary.

Where there are many runs, several processes read a part of them each.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Set
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.energy import Energy
from e2s_tasks.core.records import RunRecords, SpanRecord, Status
from e2s_tasks.reporter import avoided, figures, grid
from e2s_tasks.reporter.kpis import declared
from e2s_tasks.reporter.reuse import made_here
from e2s_tasks.reporter.stages import joules_by_stage, lower_bounds
from e2s_tasks.reporter.steps import rows_of
from e2s_tasks.reporter.tree import SpanTree, ended, last_root, tree

if TYPE_CHECKING:
    from e2s_tasks.ledger import Ledger

MANY = 2000  # runs: as many are read in a second, and it takes a tenth of that to have a process do it
MOST_PROCESSES = 4
Step = tuple[str, str, str]  # flow, kind and name


@dataclass(slots=True)
class Run:
    """What of a run is added up; joules and grams, None where not known."""

    id: str
    flow: str
    name: str | None
    solution: str | None
    status: str
    started_at: float
    ended_at: float | None
    energy: Energy
    total_range: figures.Range
    provenance: dict[str, str]
    measured_j: dict[str, float]
    lost_j: float | None
    waiting_j: float
    lower_waiting: bool
    grams: float | None
    missing: frozenset[str]
    lower_rows: frozenset[tuple[str, str]]
    lower_lost_rows: frozenset[tuple[str, str]]
    lower_stages: frozenset[str]
    waited: dict[str, Any] | None
    stages: dict[str, float | None]

    @property
    def lower_bound(self) -> bool:
        """Whether parts of its energy are missing."""
        return bool(self.missing)


@dataclass(slots=True)
class Runs:
    """Runs, the oldest first, and their steps' joules: of all, and of the attempts that did not succeed.

    lower, lower_lost: the steps that lack a part, or whose failed attempts do. cached: how many task runs were cached;
    reusing: those whose results other runs had made.
    """

    runs: list[Run] = field(default_factory=list)
    steps: dict[Step, tuple[list[float], list[float]]] = field(default_factory=dict)
    lower: set[Step] = field(default_factory=set)
    lower_lost: set[Step] = field(default_factory=set)
    cached: int = 0
    reusing: list[SpanRecord] = field(default_factory=list)

    def include(self, records: RunRecords, until: float) -> None:
        """Add a run, unless it began later."""
        spans = tree(records.spans, records.run_id)
        lost = figures.lost(spans)
        one = _assessed(records, spans, lost)
        if one is None or one.started_at > until:
            return
        self.runs.append(one)
        self._add_steps(one.flow, spans, lost)
        self.lower |= {(one.flow, *row) for row in one.lower_rows}
        self.lower_lost |= {(one.flow, *row) for row in one.lower_lost_rows}
        cached = [span for span in spans.spans if span.status == Status.CACHED]
        here = made_here(spans.spans) if cached else {}
        self.cached += len(cached)
        self.reusing += [span for span in cached if span.id not in here]

    def _add_steps(self, flow: str, spans: SpanTree, lost: Set[str]) -> None:
        of_row = rows_of(spans)
        for span in spans.spans:
            joules = spans.own_j[span.id]
            if joules or span.id in lost:
                all_j, lost_j = self.steps.setdefault((flow, *of_row[span.id]), ([], []))
                if joules:
                    all_j.append(joules)
                if span.id in lost:
                    lost_j.append(joules or 0.0)

    def add(self, later: "Runs") -> None:
        """Add runs that began later than these."""
        self.runs += later.runs
        for step, (all_j, lost_j) in later.steps.items():
            mine = self.steps.setdefault(step, ([], []))
            mine[0].extend(all_j)
            mine[1].extend(lost_j)
        self.lower |= later.lower
        self.lower_lost |= later.lower_lost
        self.cached += later.cached
        self.reusing += later.reusing


def read(ledger: "Ledger", since: float, until: float, processes: int = 1) -> Runs:
    """The root runs that started from `since` on, up to `until` (epoch seconds), by so many processes if they are many.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    run_ids = ledger.period(since)
    processes = min(processes, MOST_PROCESSES, len(run_ids) // (MANY // 2))
    if processes < 2 or not hasattr(os, "fork") or threading.active_count() > 1:  # of which a fork has but one
        return _read(ledger, run_ids, until)
    size = -(-len(run_ids) // processes)
    parts = [run_ids[at : at + size] for at in range(0, len(run_ids), size)]
    found = Runs()
    with multiprocessing.get_context("fork").Pool(processes, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        for part in pool.imap(partial(_read_anew, ledger.url, until=until), parts):
            found.add(part)
    return found


def _read_anew(url: str, run_ids: list[str], until: float) -> Runs:
    """The same in a process of its own, with connections of its own."""
    from e2s_tasks.ledger import Ledger

    with closing(Ledger.open(url)) as ledger:
        return _read(ledger, run_ids, until)


def _read(ledger: "Ledger", run_ids: Iterable[str], until: float) -> Runs:
    found = Runs()
    for records in ledger.in_brief(run_ids):
        found.include(records, until)
    return found


def _assessed(run: RunRecords, spans: SpanTree, lost: Set[str]) -> Run | None:
    root = last_root(spans, run.run_id)
    if root is None:
        return None
    energy, waiting_j, decision = figures.run_energy(run.spans), figures.waiting(spans), grid.met(run)
    lacking, kinds = figures.lacking(run), figures.kinds_of(run)
    missing = frozenset(name for names in lacking.values() for name in names)
    rows_of_spans = rows_of(spans) if lacking else {}
    pue = declared(run).pue
    moved = any(one.plan.get("arrived") is not None for one in run.decisions)
    lives = [one for one in spans.roots if one.kind == root.kind and one.flow_run_id == root.flow_run_id]
    return Run(
        id=run.run_id,
        flow=root.name,
        name=root.attributes.get("flow_run_name") or root.attributes.get("task_run_name"),
        solution=root.solution,
        status=str(root.status),
        started_at=min(life.started_at for life in lives),
        ended_at=ended(root, spans),
        energy=energy,
        total_range=figures.total_range(run, energy, missing),
        provenance=figures.provenance(run, energy, kinds),
        measured_j=_measured(run, energy, kinds),
        lost_j=figures.unsuccessful(spans, lost),
        waiting_j=waiting_j,
        lower_waiting=figures.waiting_lacks(spans, lacking),
        grams=figures.grams(energy.total, decision.intensity if decision else None, pue),
        missing=missing,
        lower_rows=frozenset(rows_of_spans[id_] for id_ in lacking),
        lower_lost_rows=frozenset(rows_of_spans[id_] for id_ in lost & lacking.keys()),
        lower_stages=frozenset(lower_bounds(spans, lacking)),
        waited=avoided.waited(run, energy.total, waiting_j, pue) if moved else None,
        stages=joules_by_stage(spans),
    )


def _measured(run: RunRecords, energy: Energy, kinds: figures.Kinds) -> dict[str, float]:
    """Of each component the joules that sensors told."""
    sensed = figures.measured(kinds)
    found: dict[str, float] = {}
    for process, used in figures.by_process(run, energy).items() if sensed else ():
        for name in (name for process_id, name in sensed if process_id == process):
            found[name] = found.get(name, 0.0) + (getattr(used, name) or 0.0)
    return found
