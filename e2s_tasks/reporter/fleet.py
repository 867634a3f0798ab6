"""All runs of a period together: what flows, solutions, stages, steps and days used, and what waiting avoided.

Each run's figures come from the functions that make its summary; here they are only added up. What is missing in some
runs makes a sum a lower bound, and how many such runs there are is told.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.energy import COMPONENTS, Energy, Provenance, add, total
from e2s_tasks.reporter import figures
from e2s_tasks.reporter.fleet_runs import Run, Runs, read
from e2s_tasks.reporter.folding import fold, summed
from e2s_tasks.reporter.period import solution_kpis
from e2s_tasks.reporter.run import Producers
from e2s_tasks.reporter.stages import rows
from e2s_tasks.reporter.steps import share
from e2s_tasks.reporter.units import iso

if TYPE_CHECKING:
    from e2s_tasks.ledger import Ledger

MOST_RUNS = 25
MOST_STEPS = 15
MOST_SOLUTIONS = 8
KPI_RUNS = 300  # over all solutions: of more, the KPIs are those of the latest runs, which says so
MOST_RESULTS = 200  # reused results of which the ledger is asked what making them had cost
DAY_S = 86_400.0
MOST_DAYS = 100  # that are told one by one; as many weeks


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

    def include(self, run: Run) -> None:
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


def fleet(ledger: "Ledger", since: float, until: float, processes: int = 1) -> dict[str, Any]:
    """All root runs that started from `since` on, up to `until` (epoch seconds), as plain JSON values.

    A run counts at the time (UTC) at which it started. docs/report.md describes the fields. processes: by how many of
    them many runs may be read.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    found = read(ledger, since, until, processes)
    runs = found.runs
    energy = total(run.energy for run in runs)
    costliest, smaller = fold(_steps(found, energy.total), MOST_STEPS)
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
        **_reused(ledger, found),
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


def _provenance(name: str, runs: list[Run]) -> str:
    """What a component's figure rests on: measured only if it is in every run that has it."""
    kinds = {run.provenance[name] for run in runs} - {str(Provenance.MISSING)}
    return str(Provenance.MISSING) if not kinds else kinds.pop() if len(kinds) == 1 else str(Provenance.MODELLED)


def _range(runs: list[Run]) -> figures.Range:
    """[low, high] of all joules: every model at its low or at its high end; high is None where parts are missing."""
    known = [run.total_range for run in runs]
    lows = [bounds[0] for bounds in known if bounds is not None]
    highs = [bounds[1] for bounds in known if bounds is not None]
    open_above = None in highs or any(run.missing for run in runs)
    return [add(lows), None if open_above else add(highs)] if lows else None


def _steps(of: Runs, total_j: float | None) -> list[dict[str, Any]]:
    """The steps over all runs, the costliest first."""
    found: list[dict[str, Any]] = [
        {"flow": flow, "kind": kind, "name": name, "energy_j": sum(joules), "share": share(sum(joules), total_j),
         "unsuccessful_j": sum(lost), "lower_bound": (flow, kind, name) in of.lower,
         "unsuccessful_lower_bound": (flow, kind, name) in of.lower_lost}
        for (flow, kind, name), (joules, lost) in of.steps.items()
    ]  # fmt: skip
    return sorted(found, key=lambda row: -row["energy_j"])


def _groups(runs: list[Run], by: str, total_j: float | None) -> list[dict[str, Any]]:
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


def _times(runs: list[Run], since: float, until: float) -> list[dict[str, Any]]:
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


def _component(name: str, energy: Energy, runs: list[Run]) -> dict[str, Any]:
    measured = sum(run.measured_j.get(name, 0.0) for run in runs)
    unknown = sum(getattr(run.energy, name) is None for run in runs)
    lacking = sum(name in run.missing for run in runs)
    return {
        "component": name, "energy_j": getattr(energy, name), "measured_j": measured, "runs_without": unknown,
        "lower_bounds": lacking,
    }  # fmt: skip


def _avoided(runs: list[Run]) -> dict[str, Any]:
    """What waiting avoided, in gCO2eq, and of how many of the runs that waited and began nobody knows."""
    waited = [run.waited for run in runs if run.waited is not None and run.waited["began_at"] is not None]
    known = [one["avoided_g"] for one in waited]
    return {
        "waited_runs": len(waited),
        "avoided_g": add(known) if waited else 0.0,
        "predicted_avoided_g": add(one["predicted_avoided_g"] for one in waited) if waited else 0.0,
        "avoided_unknown": known.count(None),
    }


def _reused(ledger: "Ledger", found: Runs) -> dict[str, Any]:
    """What results that cached task runs reused had cost in other runs, in joules.

    With how many task runs were cached, and of how many nobody knows what that avoided.
    """
    producers = Producers(ledger)
    looked_up = {*islice(dict.fromkeys(span.result_key for span in found.reusing), MOST_RESULTS)}
    costs = [producers.joules(span) if span.result_key in looked_up else None for span in found.reusing]
    known = [one for one in costs if one is not None]
    unknown = len(costs) - len(known)
    return {
        "cached_task_runs": found.cached,
        "avoided_j": sum(known) if known or not unknown else None,
        "cached_unknown": unknown,
    }


def _top(run: Run) -> dict[str, Any]:
    return {
        "id": run.id, "flow": run.flow, "name": run.name, "solution": run.solution, "status": run.status,
        "started_at": iso(run.started_at), "ended_at": iso(run.ended_at), "energy_j": run.energy.total,
        "unsuccessful_j": run.lost_j, "emissions_g": run.grams, "lower_bound": run.lower_bound,
    }  # fmt: skip


def _kpis(ledger: "Ledger", runs: list[Run], since: float) -> list[dict[str, Any]]:
    """The KPIs of the solutions with the most energy; of many runs those of the latest."""
    of_solution: dict[str, list[Run]] = defaultdict(list)
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
