"""KPIs of a run with those of its products, and of a solution over a period: what `e2s kpi` shows."""

from collections.abc import Iterable
from dataclasses import replace
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

FRUITLESS = {Status.FAILED, Status.CRASHED, Status.CANCELLED, Status.TIMED_OUT}
NOTHING = Figure(0.0)
RUN_FACTS = (
    "energy_j", "energy_j_range", "provenance", "gaps", "facility_j", "cost", "embodied_g", "emissions_g", "declared",
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
    assessed: list[tuple[str, Assessment]] = []
    stages: list[dict[str, float | None]] = []
    lower: set[str] = set()
    for run in ledger.runs_of(solution, since):
        found, spans = _assessed(run, producers)
        root = last_root(spans, run.run_id)
        assessed.append((str(root.status) if root is not None else "", found))
        stages.append(joules_by_stage(spans))
        lower |= lower_bounds(spans, figures.lacking(run))
    by_stage = rows(stages, lower)
    statuses = [status for status, _ in assessed]
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


def _per_run(assessed: list[tuple[str, Assessment]]) -> Iterable[list[Kpi]]:
    """The KPIs of each run, of all names that any run has."""
    known: dict[str, Achieved] = {}
    for _, found in assessed:
        for one in found.achieved:
            known[one.name] = _with_more(known.get(one.name), one)
    for status, found in assessed:
        here = {one.name: one for one in found.achieved}
        said = [_said(here.get(name), like, status) for name, like in known.items()]
        yield [one for achieved in said for one in kpis(achieved, found.spent)] or [found.undefined()]


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


def _said(here: Achieved | None, like: Achieved, status: str) -> Achieved:
    """What a run achieved; without this outcome nothing if it failed, else nobody knows what."""
    if status == Status.RUNNING:
        return _all(like, Figure(None, "it still runs"))
    if here is not None and (here.units.value is not None or status not in FRUITLESS):
        return here
    return _all(like, NOTHING if status in FRUITLESS else Figure(None, f"it recorded no {like.name}"))


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
