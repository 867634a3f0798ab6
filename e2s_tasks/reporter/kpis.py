"""What a run achieved and what it took: the two sides of its KPIs, from its records."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from e2s_tasks.core import kpi
from e2s_tasks.core.declared import DECLARED, Declared
from e2s_tasks.core.energy import COMPONENTS, JOULES_PER_KWH, Energy, add
from e2s_tasks.core.kpi import Achieved, Figure, Kpi, Spent
from e2s_tasks.core.plurals import plural
from e2s_tasks.core.records import Kind, OutcomeRecord, RunRecords, SpanRecord, Status
from e2s_tasks.core.remote import why_missing
from e2s_tasks.core.waits import length
from e2s_tasks.reporter import figures, grid
from e2s_tasks.reporter.evaluated import Evaluations
from e2s_tasks.reporter.tree import SpanTree, last_root, outermost, succeeded

ACCURACY = "accuracy"
_ENDED = {  # of a run that has no outcome because it did not get that far
    str(Status.FAILED): "the run failed",
    str(Status.CRASHED): "the run crashed",
    str(Status.CANCELLED): "the run was cancelled",
    str(Status.TIMED_OUT): "the run timed out",
    str(Status.RUNNING): "the run goes on, and no outcome is recorded yet",
    str(Status.SUSPENDED): "the run waits, and its work has not begun",
}
EARLIER_HARDWARE = "the embodied hardware of earlier runs is not added up"


@dataclass(frozen=True, slots=True)
class Assessment:
    """A run's achievements by name, and what it took: E(R), waiting aside. why_none: why it has no outcome, if so."""

    achieved: tuple[Achieved, ...]
    spent: Spent
    why_none: str = kpi.NO_OUTCOME

    def kpis(self) -> list[Kpi]:
        """The KPIs of the run; without an outcome one that says that it is undefined."""
        return self._kpis(self.spent)

    def undefined(self) -> Kpi:
        """The one KPI of a run without an outcome."""
        return kpi.undefined(self.spent, self.why_none)

    def of_product(self, artifact: dict[str, Any], *, fully_loaded: bool = False) -> list[Kpi]:
        """The KPIs of a product (as in a summary) by what it took in this run or, fully loaded, with earlier runs.

        The run's embodied hardware is the product's by its share of the energy; that of earlier runs is not known.
        """
        before = "fully_loaded_" if fully_loaded else ""
        joules = artifact["fully_loaded_j" if fully_loaded else "in_run_j"]
        spent = replace(
            self.spent,
            energy=Figure(joules, None if joules is not None else kpi.NO_ENERGY),
            bounds=tuple(artifact[f"{before}reasons"]),
        )
        whole = self.spent.energy.value
        if fully_loaded:
            unknown = EARLIER_HARDWARE if self.spent.embodied.value is not None else self.spent.embodied.missing
            spent = replace(_by_emissions(spent, artifact["fully_loaded_g"]), embodied=Figure(None, unknown))
        elif self.spent.embodied.value is not None and joules is not None and whole:
            spent = replace(spent, embodied=self.spent.embodied.times(joules / whole))
        return self._kpis(spent)

    def _kpis(self, spent: Spent) -> list[Kpi]:
        return [one for outcome in self.achieved for one in kpi.kpis(outcome, spent)] or [
            kpi.undefined(spent, self.why_none)
        ]


def _by_emissions(spent: Spent, grams: float | None) -> Spent:
    """The same with the intensity that makes these gCO2eq of its energy: each run had one of its own."""
    kwh = (spent.facility.value or 0.0) / JOULES_PER_KWH
    if grams is None or not kwh:
        return replace(spent, intensity=Figure(None, kpi.NO_INTENSITY))
    return replace(spent, intensity=Figure(grams / kwh), intensity_source="each run's own")


def by_name(kpis: Iterable[Kpi]) -> dict[str, dict[str, Any]]:
    """KPIs as JSON values, by name."""
    return {one.name: one.to_dict() for one in kpis}


def assess(run: RunRecords, spans: SpanTree, outcomes: Iterable[OutcomeRecord]) -> Assessment:
    """Both sides of a run's KPIs. outcomes: those that count for it, with those that cached task runs repeat."""
    energy = figures.run_energy(run.spans)
    joules = figures.without_waiting(energy.total, figures.waiting(spans))
    decision = grid.met(run)
    intensity = grid.met_by_work(run)
    spent = Spent(
        energy=Figure(joules, None if joules is not None else kpi.NO_ENERGY),
        intensity=Figure(intensity, None if intensity is not None else kpi.NO_INTENSITY),
        intensity_source=decision.source if decision else "",
        embodied=embodied(run),
        declared=declared(run),
        bounds=tuple(_bounds(run)),
        rests_on=tuple(_rests_on(run, energy)),
    )
    return Assessment(tuple(achievements(run, outcomes, spans)), spent, _why_none(run, spans))


def _why_none(run: RunRecords, spans: SpanTree) -> str:
    """Why a run has no outcome: nobody recorded one, or it did not get that far, and where it broke."""
    root = last_root(spans, run.run_id)
    ended = _ENDED.get(root.status) if root is not None else None
    if root is None or ended is None:
        return kpi.NO_OUTCOME
    if root.status not in figures.UNSUCCESSFUL:
        return ended
    done = {one.task_run_id for one in spans.spans if one.kind == Kind.ATTEMPT and succeeded(one, spans)}
    broken = [
        one
        for one in spans.spans
        if one.kind == Kind.ATTEMPT and one.status in figures.UNSUCCESSFUL and one.task_run_id not in done - {None}
    ]
    last = max(broken, key=lambda one: one.started_at, default=None)
    where = "" if last is None else f" in {outermost(last, spans).name}"
    return f"{ended}{where} before an outcome was recorded"


def _bounds(run: RunRecords) -> Iterator[str]:
    killed = figures.cut_short(run)
    gaps = {name: count for name, count in figures.gaps(run).items() if name != "remote"}
    yield from (f"no figure for {part}" for part in figures.why_lower(gaps, killed))
    yield from [figures.CUT_SHORT] if killed else []
    yield from dict.fromkeys(why_missing(run.spans))


def _rests_on(run: RunRecords, energy: Energy) -> Iterator[str]:
    worth = figures.provenance(run, energy)
    for kind in ("measured", "modelled"):
        names = [name for name in COMPONENTS if worth[name] == kind]
        if names:
            yield f"energy {kind}: {', '.join(names)}"


def declared(run: RunRecords) -> Declared:
    """What was declared where and when the run began: by its first root span."""
    for span in run.spans:
        if span.parent_id is None and (span.flow_run_id is None or _is_root_flow(span, run)):
            return Declared.read(span.attributes.get(DECLARED))
    return Declared()


def _is_root_flow(span: SpanRecord, run: RunRecords) -> bool:
    return span.kind == Kind.FLOW and span.flow_run_id == run.run_id


def embodied(run: RunRecords) -> Figure:
    """M in gCO2eq: of each host that the run worked on, for the time of its outermost spans there, waiting aside."""
    hosts = {process.id: process.host for process in run.processes}
    held: dict[str, list[SpanRecord]] = defaultdict(list)
    for span in run.spans:
        if not span.is_of_no_process:
            held[hosts.get(span.process_id, "")].append(span)
    grams = []
    for host, of_host in held.items():
        telling = [span for span in of_host if DECLARED in span.attributes]
        known = Declared.read(telling[-1].attributes[DECLARED]) if telling else Declared()
        found = known.embodied_g(_reserved_s(telling or of_host, of_host))
        if found is None:
            return Figure(None, kpi.NO_HARDWARE if len(held) == 1 else f"{kpi.NO_HARDWARE} on the host {host}")
        grams.append(found)
    return Figure(add(grams), None if grams else kpi.NO_HARDWARE)


def _reserved_s(telling: list[SpanRecord], of_host: list[SpanRecord]) -> float:
    """Seconds in which at least one of the outermost spans was open; of one that never ended, to the last known end."""
    last = max((span.ended_at or span.started_at for span in of_host), default=0.0)
    open_ = length((span.started_at, span.ended_at or last) for span in telling)
    waits = [span for span in of_host if span.is_waiting]
    return max(open_ - length((span.started_at, span.ended_at or last) for span in waits), 0.0)


def achievements(run: RunRecords, outcomes: Iterable[OutcomeRecord], spans: SpanTree) -> Iterator[Achieved]:
    """What the run achieved, by the name of the outcome."""
    named: dict[str, list[OutcomeRecord]] = defaultdict(list)
    for outcome in outcomes:
        named[outcome.name].append(outcome)
    evaluations = Evaluations(run, spans)
    for name, recorded in named.items():
        counted = _counted(recorded, spans)
        valid, accurate = (_count(f"{word} {name}", recorded, counted, word) for word in ("valid", "accurate"))
        units = _count(name, recorded, counted, "units")
        accuracy = _accuracy(name, recorded, counted, accurate)
        yield Achieved(
            name=name,
            units=units or Figure(None, kpi.NO_OUTCOME),
            valid=valid,
            accurate=accurate,
            accuracy=accuracy,
            evaluated_on=() if accuracy is None else evaluations.data_of(counted),
        )


def _count(per: str, recorded: list[OutcomeRecord], counted: list[OutcomeRecord], field: str) -> Figure | None:
    """The sum of a count; None: nobody ever spoke of it."""
    if all(getattr(outcome, field) is None for outcome in recorded):
        return None
    if not counted:
        return Figure(None, f"no successful attempt recorded a number of {plural(per)}")
    counts = [getattr(outcome, field) for outcome in counted]
    if None in counts:
        return Figure(None, f"not every outcome says how many {plural(per)} there were")
    return Figure(sum(counts))


def _accuracy(
    name: str, recorded: list[OutcomeRecord], counted: list[OutcomeRecord], accurate: Figure | None
) -> Figure | None:
    """The accuracy that was recorded as a quality, weighed by units; else accurate units / units."""
    units = sum(outcome.units for outcome in counted)
    if any(ACCURACY in outcome.quality for outcome in recorded):
        known = [outcome.quality.get(ACCURACY) for outcome in counted]
        if not known or None in known:
            return Figure(None, f"not every outcome says how accurate the {plural(name)} were")
        weighed = sum(outcome.units * outcome.quality[ACCURACY] for outcome in counted)
        return Figure(weighed / units) if units else Figure(None, f"there was no {name}")
    if accurate is None or accurate.value is None:
        return accurate
    return Figure(accurate.value / units) if units else Figure(None, f"there was no {name}")


def _counted(recorded: Iterable[OutcomeRecord], spans: SpanTree) -> list[OutcomeRecord]:
    """The outcomes that count: of successful attempts, of the flow run's last life that did the same work.

    Of a task run that succeeded again, as one that was cleared or whose run was made anew, the last success counts.
    """
    successes: dict[str | None, float] = {}
    for one in spans.spans:
        is_work = one.kind == Kind.ATTEMPT and one.task_run_id is not None and outermost(one, spans) is one
        if is_work and one.status == Status.COMPLETED:
            successes[one.task_run_id] = max(successes.get(one.task_run_id, one.started_at), one.started_at)
    kept: dict[tuple[str | None, str | None], list[tuple[int, OutcomeRecord]]] = defaultdict(list)
    for outcome in recorded:
        span = spans.by_id.get(outcome.span_id)
        if span is None or not succeeded(span, spans):
            continue
        work = outermost(span, spans)
        if work.started_at < successes.get(work.task_run_id, work.started_at):
            continue
        flow = next((one for one in [work, *spans.ancestors(work)] if one.kind == Kind.FLOW), None)
        kept[work.flow_run_id, work.task_key].append(((flow.attempt if flow else None) or 1, outcome))
    last = {work: max(life for life, _ in of_work) for work, of_work in kept.items()}
    return [outcome for work, of_work in kept.items() for life, outcome in of_work if life == last[work]]
