"""KPIs of a run with those of its products, and of a solution over a period: what `e2s kpi` shows."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.energy import add
from e2s_tasks.core.kpi import Achieved, Figure, Kpi, kpis, over_runs
from e2s_tasks.core.ratios import Method
from e2s_tasks.core.records import RunRecords, Status
from e2s_tasks.errors import SettingError
from e2s_tasks.reporter import figures
from e2s_tasks.reporter.kpis import Assessment, assess, by_name
from e2s_tasks.reporter.reuse import all_outcomes
from e2s_tasks.reporter.run import Producers, summarise_run
from e2s_tasks.reporter.stages import joules_by_stage, lower_bounds, rows
from e2s_tasks.reporter.tree import SpanTree, last_root, tree
from e2s_tasks.reporter.units import iso

if TYPE_CHECKING:
    from e2s_tasks.ledger import Ledger

NOTHING = Figure(0.0)
RUN_FACTS = (
    "energy_j", "energy_j_range", "provenance", "gaps", "cut_short", "begun", "facility_j", "cost", "embodied_g",
    "emissions_g", "declared",
)  # fmt: skip


def run_kpis(ledger: "Ledger", run_id: str) -> dict[str, Any]:
    """All KPIs of a root run, and of its final products, in-run and fully loaded, as plain JSON values.

    Raises:
        NotFoundError: the ledger holds no such run.
        LedgerError: the ledger cannot be read.
    """
    summary = summarise_run(ledger, run_id)
    found, _ = _assessed(ledger.run(run_id), Producers(ledger))
    return {
        "run": summary["flow_run"],
        **{key: summary[key] for key in RUN_FACTS},
        "kpis": by_name(found.kpis()),
        "products": [_product(found, one) for one in summary["artifacts"] if one["final"]],
        "stages": summary["stages"],
    }


def kpis_of_run(ledger: "Ledger", run_id: str) -> list[Kpi]:
    """The KPIs of a root run alone.

    Raises:
        NotFoundError: the ledger holds no such run.
        LedgerError: the ledger cannot be read.
    """
    found, _ = _assessed(ledger.run(run_id), Producers(ledger))
    return found.kpis()


def _product(found: Assessment, artifact: dict[str, Any]) -> dict[str, Any]:
    """A final product's KPIs by what it took."""
    return {
        "uri": artifact["uri"],
        "version": artifact["version"],
        "in_run": by_name(found.of_product(artifact)),
        "fully_loaded": by_name(found.of_product(artifact, fully_loaded=True)),
    }


def solution_kpis(
    ledger: "Ledger",
    solution: str,
    since: float | None = None,
    *,
    interval_level: float = 0.95,
    method: Method = "fieller",
) -> dict[str, Any]:
    """The KPIs of all runs of a solution since then (epoch seconds), with intervals, and its energy by stage.

    A failed run has spent its energy and achieved what it recorded, else nothing; one that still runs, or that ended
    well without an outcome, is left out of the KPIs, which say so. The stages have all runs. Plain JSON values.

    Raises:
        NotFoundError: the ledger holds no run of that solution; `suggestions` holds near matches.
        SettingError: the level is not between 0 and 1.
        LedgerError: the ledger cannot be read.
    """
    if not 0 < interval_level < 1:
        raise SettingError(f"interval_level={interval_level!r}: give a number between 0 and 1, for example 0.95.")
    producers = Producers(ledger)
    assessed: list[_Assessed] = []
    stages: list[dict[str, float | None]] = []
    lower: set[str] = set()
    for run in ledger.runs_of(solution, since):
        found, spans = _assessed(run, producers)
        root = last_root(spans, run.run_id)
        flow, status = (root.name, str(root.status)) if root is not None else ("", "")
        assessed.append(_Assessed(flow, status, found))
        stages.append(joules_by_stage(spans))
        lower |= lower_bounds(spans, figures.lacking(run))
    by_stage = rows(stages, lower)
    statuses = [one.status for one in assessed]
    return {
        "solution": solution,
        "since": iso(since),
        "runs": {status: statuses.count(status) for status in sorted(set(statuses))},
        "energy_j": add(row["energy_j"] for row in by_stage),
        "lower_bound": bool(lower),
        "interval_level": interval_level,
        "kpis": by_name(over_runs(list(_per_run(assessed)), interval_level, method)),
        "stages": by_stage,
    }


def energy_by_stage(ledger: "Ledger", solution: str, since: float | None = None) -> list[dict[str, Any]]:
    """Joules and share by life-cycle stage of all runs of a solution since then (epoch seconds).

    Energy without a stage, orchestration and waiting are rows of their own, so that the rows add up to the total.

    Raises:
        NotFoundError: the ledger holds no run of that solution; `suggestions` holds near matches.
        LedgerError: the ledger cannot be read.
    """
    stages, lower = [], set()
    for run in ledger.runs_of(solution, since):
        spans = tree(run.spans, run.run_id)
        stages.append(joules_by_stage(spans))
        lower |= lower_bounds(spans, figures.lacking(run))
    return rows(stages, lower)


def _assessed(run: RunRecords, producers: Producers) -> tuple[Assessment, SpanTree]:
    spans = tree(run.spans, run.run_id)
    return assess(run, spans, all_outcomes(run, spans, producers.replayed(run))), spans


@dataclass(frozen=True, slots=True)
class _Assessed:
    """A run of a solution: its flow, its status, and both sides of its KPIs."""

    flow: str
    status: str
    found: Assessment


def _per_run(runs: list[_Assessed]) -> Iterable[list[Kpi]]:
    """The KPIs of each run, of all names that any run has."""
    known: dict[str, Achieved] = {}
    for run in runs:
        for one in run.found.achieved:
            known[one.name] = _with_more(known.get(one.name), one)
    aims = _aims(runs)
    for run in runs:
        here = {one.name: one for one in run.found.achieved}
        said = [_said(here.get(name), like, run, aims) for name, like in known.items()]
        yield [one for achieved in said for one in kpis(achieved, run.found.spent)] or [run.found.undefined()]


def _aims(runs: list[_Assessed]) -> dict[str, set[str]]:
    """The outcomes that each flow works for: those that its runs recorded.

    Of a flow none of whose runs ended well nobody knows, but where the solution has one outcome alone.
    """
    recorded: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        recorded[run.flow] |= {one.name for one in run.found.achieved}
    names = {name for of_flow in recorded.values() for name in of_flow}
    well = {run.flow for run in runs if run.status == Status.COMPLETED}
    return {
        flow: names if not of_flow and flow not in well and len(names) == 1 else of_flow
        for flow, of_flow in recorded.items()
    }


def _with_more(known: Achieved | None, other: Achieved) -> Achieved:
    """One that has every count that either has."""
    if known is None:
        return other
    return replace(
        known,
        valid=known.valid or other.valid,
        accurate=known.accurate or other.accurate,
        accuracy=known.accuracy or other.accuracy,
    )


def _said(here: Achieved | None, like: Achieved, run: _Assessed, aims: dict[str, set[str]]) -> Achieved:
    """What a run achieved; without this outcome nothing if it failed on the way to it, else nobody knows what."""
    if run.status == Status.RUNNING:
        return _all(like, Figure(None, "it still runs"))
    fruitless = run.status in figures.UNSUCCESSFUL
    if here is not None and (here.units.value is not None or not fruitless):
        return here
    if fruitless and like.name in aims[run.flow]:
        return _all(like, NOTHING)
    if fruitless:
        return _all(like, Figure(None, f"it failed, and its flow recorded no {like.name} in any run"))
    return _all(like, Figure(None, f"it recorded no {like.name}"))


def _all(like: Achieved, figure: Figure) -> Achieved:
    """The same figure for every count that there is of this outcome."""
    return replace(
        like,
        units=figure,
        valid=like.valid and figure,
        accurate=like.accurate and figure,
        accuracy=like.accuracy and figure,
        evaluated_on=(),
    )
