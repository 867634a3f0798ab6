"""All runs of a period together: what flows, solutions, stages, steps and days used, and what waiting avoided.

Each run's figures come from the functions that make its summary; here they are only added up. What is missing in some
runs makes a sum a lower bound, and how many such runs there are is told.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Set
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.energy import COMPONENTS, Energy, Provenance, add, total
from e2s_tasks.core.records import RunRecords, Status
from e2s_tasks.reporter import avoided, figures, grid
from e2s_tasks.reporter.folding import fold, summed
from e2s_tasks.reporter.kpis import declared
from e2s_tasks.reporter.period import solution_kpis
from e2s_tasks.reporter.reuse import made_here
from e2s_tasks.reporter.run import Producers
from e2s_tasks.reporter.stages import joules_by_stage, lower_bounds, rows
from e2s_tasks.reporter.steps import rows_of, share
from e2s_tasks.reporter.tree import SpanTree, ended, last_root, tree
from e2s_tasks.reporter.units import iso

if TYPE_CHECKING:
    from e2s_tasks.ledger import Ledger

MOST_RUNS = 25
MOST_STEPS = 15
MOST_SOLUTIONS = 8
KPI_RUNS = 300  # over all solutions: of more, the KPIs are those of the latest runs, which says so
MOST_RESULTS = 200  # reused results of which the ledger is asked what making them had cost
DAY_S = 86_400.0
_Step = tuple[str, str, str]  # flow, kind and name
MOST_DAYS = 100  # that are told one by one; as many weeks


@dataclass(slots=True)
class _Run:
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
class _Sums:
    """Sums over some runs."""

    runs: int = 0
    failed: int = 0
    failed_j: list[float | None] = field(default_factory=list)
    lower_bounds: int = 0
    joules: list[float | None] = field(default_factory=list)
    lost: list[float | None] = field(default_factory=list)
    lower_lost: bool = False
    grams: list[float | None] = field(default_factory=list)

    def include(self, run: _Run) -> None:
        """Add a run."""
        self.runs += 1
        if run.status in figures.UNSUCCESSFUL:
            self.failed += 1
            self.failed_j.append(run.energy.total)
        self.lower_bounds += run.lower_bound
        self.joules.append(run.energy.total)
        self.lost.append(run.lost_j)
        self.lower_lost |= bool(run.lower_lost_rows)
        self.grams.append(run.grams)

    def row(self, total_j: float | None) -> dict[str, Any]:
        """The sums as plain JSON values; lower_bounds: runs that lack parts; without_emissions: without known grams."""
        joules = add(self.joules)
        return {
            "runs": self.runs,
            "lower_bounds": self.lower_bounds,
            "failed_runs": self.failed,
            "failed_runs_j": add(self.failed_j) if self.failed else 0.0,
            "energy_j": joules,
            "share": share(joules, total_j),
            "unsuccessful_j": add(self.lost),
            "unsuccessful_lower_bound": self.lower_lost,
            "emissions_g": add(self.grams),
            "without_emissions": self.grams.count(None),
        }


def fleet(ledger: "Ledger", since: float, until: float) -> dict[str, Any]:
    """All root runs that started from `since` on, up to `until` (epoch seconds), as plain JSON values.

    A run counts at the time (UTC) at which it started. docs/report.md describes the fields.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    runs: list[_Run] = []
    steps: dict[_Step, list[list[float]]] = defaultdict(lambda: [[], []])
    lower: set[_Step] = set()
    lower_lost: set[_Step] = set()
    reused = _Reused(ledger)
    for records in ledger.period(since):
        spans = tree(records.spans, records.run_id)
        lost = figures.lost(spans)
        one = _assessed(records, spans, lost)
        if one is not None and one.started_at <= until:
            runs.append(one)
            _add_steps(steps, one.flow, spans, lost)
            lower |= {(one.flow, *row) for row in one.lower_rows}
            lower_lost |= {(one.flow, *row) for row in one.lower_lost_rows}
            reused.include(spans)
    energy = total(run.energy for run in runs)
    costliest, smaller = fold(_steps(steps, lower, lower_lost, energy.total), MOST_STEPS)
    most, others = fold(sorted(runs, key=lambda one: -(one.energy.total or 0.0)), MOST_RUNS)
    everything = _Sums()
    for run in runs:
        everything.include(run)
    return {
        "since": iso(since),
        "until": iso(until),
        **everything.row(energy.total),
        "statuses": dict(Counter(run.status for run in runs).most_common()),
        "energy_j_range": {"total": _range(runs)},
        "provenance": {name: _provenance(name, runs) for name in COMPONENTS},
        "waiting_j": sum(run.waiting_j for run in runs),
        "waiting_lower_bound": any(run.lower_waiting for run in runs),
        **_avoided(runs),
        **reused.figures(),
        "components": [_component(name, energy, runs) for name in COMPONENTS],
        "flows": _groups(runs, "flow", energy.total),
        "solutions": _groups(runs, "solution", energy.total),
        "stages": rows((run.stages for run in runs), {row for run in runs for row in run.lower_stages}),
        "steps": costliest,
        "other_steps": len(smaller),
        "smaller_steps": summed(smaller) if smaller else None,
        "by": _by(since, until),
        "times": _times(runs, since, until),
        "top_runs": [_top(run) for run in most],
        "other_runs": len(others),
        "kpis": _kpis(ledger, runs, since),
    }


def _assessed(run: RunRecords, spans: SpanTree, lost: Set[str]) -> _Run | None:
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
    return _Run(
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


def _provenance(name: str, runs: list[_Run]) -> str:
    """What a component's figure rests on: measured only if it is in every run that has it."""
    kinds = {run.provenance[name] for run in runs} - {str(Provenance.MISSING)}
    return str(Provenance.MISSING) if not kinds else kinds.pop() if len(kinds) == 1 else str(Provenance.MODELLED)


def _range(runs: list[_Run]) -> figures.Range:
    """[low, high] of all joules: every model at its low or at its high end; high is None where parts are missing."""
    known = [run.total_range for run in runs]
    lows = [bounds[0] for bounds in known if bounds is not None]
    highs = [bounds[1] for bounds in known if bounds is not None]
    open_above = None in highs or any(run.missing for run in runs)
    return [add(lows), None if open_above else add(highs)] if lows else None


def _add_steps(steps: dict[_Step, list[list[float]]], flow: str, spans: SpanTree, lost: Set[str]) -> None:
    """Add each step's joules, and those of what was lost: its attempts that did not succeed."""
    of_row = rows_of(spans)
    for span in spans.spans:
        joules = spans.own_j[span.id]
        if joules:
            steps[flow, *of_row[span.id]][0].append(joules)
        if span.id in lost:
            steps[flow, *of_row[span.id]][1].append(joules or 0.0)


def _steps(
    steps: dict[_Step, list[list[float]]],
    lower: Collection[_Step],
    lower_lost: Collection[_Step],
    total_j: float | None,
) -> list[dict[str, Any]]:
    """The steps over all runs, the costliest first. lower, lower_lost: those that lack a part, or whose failed
    attempts do.
    """
    found: list[dict[str, Any]] = [
        {"flow": flow, "kind": kind, "name": name, "energy_j": sum(joules), "share": share(sum(joules), total_j),
         "unsuccessful_j": sum(lost), "lower_bound": (flow, kind, name) in lower,
         "unsuccessful_lower_bound": (flow, kind, name) in lower_lost}
        for (flow, kind, name), (joules, lost) in steps.items()
    ]  # fmt: skip
    return sorted(found, key=lambda row: -row["energy_j"])


def _groups(runs: list[_Run], by: str, total_j: float | None) -> list[dict[str, Any]]:
    """The runs of each flow, or of each solution, the most energy first."""
    sums: dict[str | None, _Sums] = defaultdict(_Sums)
    for run in runs:
        sums[getattr(run, by)].include(run)
    found = [{by: name} | of_group.row(total_j) for name, of_group in sums.items()]
    return sorted(found, key=lambda row: -(row["energy_j"] or 0.0))


def _by(since: float, until: float) -> str:
    """How finely a period is told: by day, week or month, so that a person can still read it."""
    days = (until - since) / DAY_S
    return "day" if days <= MOST_DAYS else "week" if days <= MOST_DAYS * 7 else "month"


def _begin(at: float, by: str) -> date:
    """The first day of the day, week or month (UTC) that a time lies in."""
    day = datetime.fromtimestamp(at, UTC).date()
    if by == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if by == "month" else day


def _times(runs: list[_Run], since: float, until: float) -> list[dict[str, Any]]:
    """Every day, week or month from the first to the last, also those without a run; months from the first run on."""
    by = _by(since, until)
    sums: dict[date, _Sums] = defaultdict(_Sums)
    for run in runs:
        sums[_begin(run.started_at, by)].include(run)
    earliest = min((run.started_at for run in runs), default=until)
    first, last = _begin(max(since, earliest) if by == "month" else since, by), _begin(until, by)
    found, days = [], {"day": 1, "week": 7, "month": 31}[by]
    while first <= last:
        found.append({"from": first.isoformat()} | sums[first].row(None))
        after = first + timedelta(days=days)
        first = after.replace(day=1) if by == "month" else after
    return found


def _component(name: str, energy: Energy, runs: list[_Run]) -> dict[str, Any]:
    measured = sum(run.measured_j.get(name, 0.0) for run in runs)
    unknown = sum(getattr(run.energy, name) is None for run in runs)
    lacking = sum(name in run.missing for run in runs)
    return {
        "component": name, "energy_j": getattr(energy, name), "measured_j": measured, "runs_without": unknown,
        "lower_bounds": lacking,
    }  # fmt: skip


def _avoided(runs: list[_Run]) -> dict[str, Any]:
    """What waiting avoided, in gCO2eq, and of how many of the runs that waited and began nobody knows."""
    waited = [run.waited for run in runs if run.waited is not None and run.waited["began_at"] is not None]
    known = [one["avoided_g"] for one in waited]
    return {
        "waited_runs": len(waited),
        "avoided_g": add(known) if waited else 0.0,
        "predicted_avoided_g": add(one["predicted_avoided_g"] for one in waited) if waited else 0.0,
        "avoided_unknown": known.count(None),
    }


class _Reused:
    """What results that cached task runs reused had cost in other runs."""

    def __init__(self, ledger: "Ledger") -> None:
        self._producers = Producers(ledger)
        self._joules: dict[str | None, float | None] = {}
        self._cached = self._unknown = 0
        self._avoided: list[float] = []

    def include(self, spans: SpanTree) -> None:
        """Add a run's cached task runs."""
        cached = [span for span in spans.spans if span.status == Status.CACHED]
        here = made_here(spans.spans) if cached else {}
        self._cached += len(cached)
        for span in cached:
            if span.id in here:
                continue
            if span.result_key not in self._joules and len(self._joules) < MOST_RESULTS:
                self._joules[span.result_key] = self._producers.joules(span)
            joules = self._joules.get(span.result_key)
            if joules is None:
                self._unknown += 1
            else:
                self._avoided.append(joules)

    def figures(self) -> dict[str, Any]:
        """Joules, with how many task runs were cached, and of how many nobody knows what that avoided."""
        known = sum(self._avoided) if self._avoided or not self._unknown else None
        return {"cached_task_runs": self._cached, "avoided_j": known, "cached_unknown": self._unknown}


def _top(run: _Run) -> dict[str, Any]:
    return {
        "id": run.id, "flow": run.flow, "name": run.name, "solution": run.solution, "status": run.status,
        "started_at": iso(run.started_at), "ended_at": iso(run.ended_at), "energy_j": run.energy.total,
        "unsuccessful_j": run.lost_j, "emissions_g": run.grams, "lower_bound": run.lower_bound,
    }  # fmt: skip


def _kpis(ledger: "Ledger", runs: list[_Run], since: float) -> list[dict[str, Any]]:
    """The KPIs of the solutions with the most energy; of many runs those of the latest."""
    of_solution: dict[str, list[_Run]] = defaultdict(list)
    for run in runs:
        if run.solution is not None:
            of_solution[run.solution].append(run)
    ranking = sorted(of_solution.items(), key=lambda one: -(add(run.energy.total for run in one[1]) or 0.0))
    shown = ranking[:MOST_SOLUTIONS]
    most = KPI_RUNS if len([*chain(*(of for _, of in shown))]) <= KPI_RUNS else KPI_RUNS // len(shown)
    found = []
    for solution, its_runs in shown:
        starts = sorted(run.started_at for run in its_runs)
        begin = since if len(starts) <= most else starts[-most]
        found.append(solution_kpis(ledger, solution, begin) | {"all_runs": len(starts)})
    return found
