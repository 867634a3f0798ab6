"""What a run achieved and what it took: the two sides of its KPIs, from its records."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from e2s_tasks.core import kpi
from e2s_tasks.core.declared import DECLARED, Declared
from e2s_tasks.core.energy import COMPONENTS, Energy, add
from e2s_tasks.core.kpi import Achieved, Figure, Kpi, Spent
from e2s_tasks.core.records import Kind, OutcomeRecord, ReadRecord, RunRecords, SpanRecord
from e2s_tasks.core.remote import why_missing
from e2s_tasks.reporter import figures
from e2s_tasks.reporter.tree import SpanTree, last_root, succeeded

ACCURACY = "accuracy"
MOST_DATA = 5  # evaluation data that a caveat names
EARLIER_RUNS = "what earlier runs emitted is not added up"


@dataclass(frozen=True, slots=True)
class Assessment:
    """A run's achievements by name, and what it took: E(R), waiting aside."""

    achieved: tuple[Achieved, ...]
    spent: Spent

    def kpis(self) -> list[Kpi]:
        """The KPIs of the run; without an outcome one that says that it is undefined."""
        return _kpis(self.achieved, self.spent)

    def of_product(self, joules: float | None, bounds: Sequence[str], *, earlier_runs: bool) -> list[Kpi]:
        """The KPIs of a product that took so many joules, in this run or, with earlier runs, fully loaded.

        The embodied hardware is the product's by its share of the run's energy; of earlier runs nobody adds up carbon.
        """
        energy = Figure(joules, None if joules is not None else kpi.NO_ENERGY)
        spent = replace(self.spent, energy=energy, bounds=tuple(bounds))
        if earlier_runs:
            unknown = Figure(None, EARLIER_RUNS)
            return _kpis(self.achieved, replace(spent, intensity=unknown, embodied=unknown))
        whole = self.spent.energy.value
        if self.spent.embodied.value is not None:
            known = joules is not None and whole
            embodied = self.spent.embodied.times(joules / whole) if known else Figure(None, kpi.NO_ENERGY)  # type: ignore[operator]
            spent = replace(spent, embodied=embodied)
        return _kpis(self.achieved, spent)


def _kpis(achieved: Iterable[Achieved], spent: Spent) -> list[Kpi]:
    return [one for outcome in achieved for one in kpi.kpis(outcome, spent)] or [kpi.undefined(spent)]


def by_name(kpis: Iterable[Kpi]) -> dict[str, dict[str, Any]]:
    """KPIs as JSON values, by name."""
    return {one.name: one.to_dict() for one in kpis}


def assess(run: RunRecords, spans: SpanTree, outcomes: Iterable[OutcomeRecord]) -> Assessment:
    """Both sides of a run's KPIs. outcomes: those that count for it, with those that cached task runs repeat."""
    energy = figures.run_energy(run.spans)
    joules = figures.without_waiting(energy.total, figures.waiting(spans))
    decision = figures.last_decision(run.decisions)
    intensity = decision.intensity if decision else None
    spent = Spent(
        energy=Figure(joules, None if joules is not None else kpi.NO_ENERGY),
        intensity=Figure(intensity, None if intensity is not None else kpi.NO_INTENSITY),
        intensity_source=decision.source if decision else "",
        embodied=embodied(run),
        declared=declared(run, spans),
        bounds=tuple(_bounds(run)),
        rests_on=tuple(_rests_on(run, energy)),
    )
    return Assessment(tuple(achievements(run, outcomes, spans)), spent)


def _bounds(run: RunRecords) -> Iterator[str]:
    for name, count in figures.gaps(run).items():
        if name != "remote":
            yield f"no figure for {name} in {count} span{'s' if count > 1 else ''}"
    yield from dict.fromkeys(why_missing(run.spans))


def _rests_on(run: RunRecords, energy: Energy) -> Iterator[str]:
    worth = figures.provenance(run, energy)
    for kind in ("measured", "modelled"):
        names = [name for name in COMPONENTS if worth[name] == kind]
        if names:
            yield f"energy {kind}: {', '.join(names)}"


def declared(run: RunRecords, spans: SpanTree) -> Declared:
    """What was declared where the run began, in the last life of its flow run."""
    root = last_root(spans, run.run_id)
    return Declared.read(root.attributes.get(DECLARED)) if root is not None else Declared()


def embodied(run: RunRecords) -> Figure:
    """M in gCO2eq: of each host that the run worked on, for the time of its outermost spans there, waiting aside."""
    hosts = {process.id: process.host for process in run.processes}
    held: dict[str, list[SpanRecord]] = defaultdict(list)
    for span in run.spans:
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
    open_ = _length((span.started_at, span.ended_at or last) for span in telling)
    waits = [span for span in of_host if span.kind == Kind.WAIT]
    return max(open_ - _length((span.started_at, span.ended_at or last) for span in waits), 0.0)


def _length(intervals: Iterable[tuple[float, float]]) -> float:
    """The length of a union of intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def achievements(run: RunRecords, outcomes: Iterable[OutcomeRecord], spans: SpanTree) -> Iterator[Achieved]:
    """What the run achieved, by the name of the outcome."""
    named: dict[str, list[OutcomeRecord]] = defaultdict(list)
    for outcome in outcomes:
        named[outcome.name].append(outcome)
    for name, recorded in named.items():
        counted = _counted(recorded, spans)
        valid, accurate = (_count(f"{word} {name}", recorded, counted, word) for word in ("valid", "accurate"))
        units = _count(name, recorded, counted, "units")
        yield Achieved(
            name=name,
            units=units or Figure(None, kpi.NO_OUTCOME),
            valid=valid,
            accurate=accurate,
            accuracy=_accuracy(name, recorded, counted, accurate),
            evaluated_on=tuple(_evaluation_data(run, counted, spans)),
        )


def _count(per: str, recorded: list[OutcomeRecord], counted: list[OutcomeRecord], field: str) -> Figure | None:
    """The sum of a count; None: nobody ever spoke of it."""
    if all(getattr(outcome, field) is None for outcome in recorded):
        return None
    if not counted:
        return Figure(None, f"no successful attempt recorded a number of {per}s")
    counts = [getattr(outcome, field) for outcome in counted]
    return Figure(None, f"not every outcome says how many {per}s there were") if None in counts else Figure(sum(counts))


def _accuracy(
    name: str, recorded: list[OutcomeRecord], counted: list[OutcomeRecord], accurate: Figure | None
) -> Figure | None:
    """The accuracy that was recorded as a quality, weighed by units; else accurate units / units."""
    units = sum(outcome.units for outcome in counted)
    if any(ACCURACY in outcome.quality for outcome in recorded):
        known = [outcome.quality.get(ACCURACY) for outcome in counted]
        if not known or None in known:
            return Figure(None, f"not every outcome says how accurate the {name}s were")
        weighed = sum(outcome.units * outcome.quality[ACCURACY] for outcome in counted)
        return Figure(weighed / units) if units else Figure(None, f"there was no {name}")
    if accurate is None or accurate.value is None:
        return accurate
    return Figure(accurate.value / units) if units else Figure(None, f"there was no {name}")


def _evaluation_data(run: RunRecords, counted: list[OutcomeRecord], spans: SpanTree) -> Iterator[str]:
    """What the steps read that recorded the outcomes: its version, and its digest where one is known."""
    inside: set[str] = set()
    for outcome in counted:
        span = spans.by_id[outcome.span_id]
        inside |= {one.id for one in spans.within(_outermost(span, spans))}
    digests = {version.id: version.content_digest for version in run.versions}
    names = list(dict.fromkeys(_data(read, run, digests) for read in run.reads if read.span_id in inside))
    yield from names[:MOST_DATA]
    if len(names) > MOST_DATA:
        yield f"{len(names) - MOST_DATA} more"


def _data(read: ReadRecord, run: RunRecords, digests: dict[str, str | None]) -> str:
    name = read.uri.rstrip("/").rpartition("/")[2]
    number, digest = run.version_numbers.get(read.version_id or ""), digests.get(read.version_id or "")
    version = "of no known version" if number is None else f"v{number}"
    return f"{name} {version}" + (f" ({digest})" if digest else "")


def _outermost(span: SpanRecord, spans: SpanTree) -> SpanRecord:
    """The outermost attempt that a span lies in, else the span."""
    around = [span, *spans.ancestors(span)]
    return next((one for one in reversed(around) if one.kind == Kind.ATTEMPT), span)


def _counted(recorded: Iterable[OutcomeRecord], spans: SpanTree) -> list[OutcomeRecord]:
    """The outcomes that count: of successful attempts, of the flow run's last life that did the same work."""
    kept: dict[tuple[str | None, str | None], list[tuple[int, OutcomeRecord]]] = defaultdict(list)
    for outcome in recorded:
        span = spans.by_id.get(outcome.span_id)
        if span is None or not succeeded(span, spans):
            continue
        work = _outermost(span, spans)
        flow = next((one for one in [work, *spans.ancestors(work)] if one.kind == Kind.FLOW), None)
        kept[work.flow_run_id, work.task_key].append(((flow.attempt if flow else None) or 1, outcome))
    last = {work: max(life for life, _ in of_work) for work, of_work in kept.items()}
    return [outcome for work, of_work in kept.items() for life, outcome in of_work if life == last[work]]
