"""The energy, emissions and savings of a run: one small function per figure, in joules and grams."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from operator import attrgetter
from typing import Any

from e2s_tasks.core import remote
from e2s_tasks.core.emissions import RUNG, TIMELESS
from e2s_tasks.core.energy import COMPONENTS, HOST, JOULES_PER_KWH, Energy, Provenance, add
from e2s_tasks.core.lineage import Lineage
from e2s_tasks.core.records import DecisionRecord, Kind, ProcessRecord, RunRecords, SourceRecord, SpanRecord, Status
from e2s_tasks.reporter.tree import SpanTree
from e2s_tasks.reporter.units import iso

ESTIMATE_RANGE = (0.5, 2.0)  # of energy for which a late source had no samples: power went on as before, or did not
CUT_SHORT = "up to a second of work before it was killed is not in it"
COUNTED = COMPONENTS[:-1]  # of what sources of processes tell; remote is what the work itself tells
UNSUCCESSFUL = {Status.FAILED, Status.CRASHED, Status.CANCELLED, Status.TIMED_OUT}
ENDS = ("low", "high")  # of a range

_JOULES = attrgetter(*(f"{name}_j" for name in COMPONENTS))
_UNTOLD = {str(Provenance.MODELLED)}  # a figure of which no source is known

Range = list[float | None] | None
Kinds = dict[tuple[str, str], set[str]]  # by process and component
Avoided = Callable[[SpanRecord], float | None]


def run_energy(spans: Iterable[SpanRecord]) -> Energy:
    """The joules of the run by component. The zeros of cached task runs stand for nothing that a source counted."""
    known = list(spans)
    counted = [s for s in known if s.status != Status.CACHED] or known
    return Energy(*(add(column) for column in zip(*map(_JOULES, counted), strict=True)))


def energy_figures(energy: Energy) -> dict[str, float | None]:
    """The vector with its sums: total = host (cpu + dram + gpu + static) + storage + network + remote."""
    return {"total": energy.total, "host": energy.host} | {name: getattr(energy, name) for name in COMPONENTS}


def _sources(run: RunRecords) -> dict[str, list[SourceRecord]]:
    """The sources that can give a figure, by process."""
    return {
        process: [source for source in found if source.provenance != Provenance.MISSING]
        for process, found in _all_sources(run).items()
    }


def _all_sources(run: RunRecords) -> dict[str, list[SourceRecord]]:
    """The sources by process, each as what it was in this run: one that mostly estimated was a model."""
    parts: dict[tuple[str, str], float] = {}
    for span in run.spans:
        for name, part in span.attributes["estimated"].items() if "estimated" in span.attributes else ():
            parts[span.process_id, name] = max(part, parts.get((span.process_id, name), 0.0))
    if not parts:
        return {process.id: process.sources for process in run.processes}
    return {
        process.id: [_estimating(source, parts.get((process.id, source.component), 0.0)) for source in process.sources]
        for process in run.processes
    }


def _estimating(source: SourceRecord, part: float) -> SourceRecord:
    """The source, of whose figure a part from 0 to 1 rests on estimates that were never put right."""
    if not part or source.provenance == Provenance.MISSING:
        return source
    low, high = (1 - part + part * bound for bound in ESTIMATE_RANGE)
    why = "a card shared with other processes" if source.name.startswith("NVML") else "its samples came too late"
    detail = f"{source.detail}; {part:.0%} of it estimated: {why}"
    return replace(source, provenance=Provenance.MODELLED, low=source.low * low, high=source.high * high, detail=detail)


def by_process(run: RunRecords, energy: Energy) -> dict[str, Energy]:
    """The joules of the run (`energy` in all) by the process that counted them; nobody counts a cached task run's."""
    worked: dict[str, list[SpanRecord]] = defaultdict(list)
    for span in run.spans:
        if span.status != Status.CACHED:
            worked[span.process_id].append(span)
    if len(worked) == 1:
        return dict.fromkeys(worked, energy)
    return {id_: run_energy(spans) for id_, spans in worked.items()}


def provenance(run: RunRecords, energy: Energy, kinds: Kinds | None = None) -> dict[str, str]:
    """What each component's figure rests on: measured only where no process that counted it used a model.

    kinds: `kinds_of` the run, where they are known already.
    """
    kinds = kinds_of(run) if kinds is None else kinds
    worth: dict[str, set[str]] = defaultdict(set)
    for process_id, used in by_process(run, energy).items():
        for name, joules in zip(COUNTED, used.by_component(), strict=False):
            if joules is not None:
                worth[name] |= kinds.get((process_id, name), _UNTOLD)
    if energy.remote is not None:
        declaring = (span for span in run.spans if span.status != Status.CACHED and span.remote_j is not None)
        worth["remote"] |= {remote.provenance_of(span) for span in declaring}
    return {name: _worth(worth[name], getattr(energy, name)) for name in COMPONENTS}


def measured(kinds: Kinds) -> set[tuple[str, str]]:
    """The processes and components whose figures sensors told."""
    return {key for key, worth in kinds.items() if worth == {Provenance.MEASURED}}


def kinds_of(run: RunRecords) -> Kinds:
    """What the sources of each process and component are worth."""
    worth: dict[tuple[str, str], set[str]] = defaultdict(set)
    for process, found in _sources(run).items():
        for source in found:
            worth[process, source.component].add(source.provenance)
    return worth


def _worth(kinds: set[str], figure: float | None) -> str:
    if figure is None:
        return str(Provenance.MISSING)
    return str(Provenance.MEASURED if kinds == {Provenance.MEASURED} else Provenance.MODELLED)


def energy_range(run: RunRecords, energy: Energy, missing: Collection[str] = ()) -> dict[str, Range]:
    """[low, high] in joules of each figure: the ranges of its models, all at their low or all at their high ends.

    missing: components of which parts are (`gaps`). Nobody knows how much these are, so that high is None there.
    """
    low, high = _ends(run, energy)
    figures, lows, highs = energy_figures(energy), energy_figures(low), energy_figures(high)
    unknown = {*missing, *(["total"] if missing else []), *(["host"] if {*missing} & {*HOST} else [])}
    return {
        name: None
        if figures[name] is None or lows[name] is None
        else [lows[name], None if name in unknown else highs[name]]
        for name in figures
    }


def total_range(run: RunRecords, energy: Energy, missing: Collection[str] = ()) -> Range:
    """The same of all joules alone."""
    low, high = _ends(run, energy)
    return None if energy.total is None or low.total is None else [low.total, None if missing else high.total]


def _ends(run: RunRecords, energy: Energy) -> tuple[Energy, Energy]:
    """The joules with every model at its low, and with every model at its high end."""
    found = _sources(run)
    used = [(_factors(found.get(process_id, [])), one) for process_id, one in by_process(run, energy).items()]
    low, high = (_at(end, used, _remote(run, energy, end)) for end in ENDS)
    return low, high


Factors = dict[str, list[float]]


def _factors(sources: list[SourceRecord]) -> Factors:
    """What a process's figures are to be multiplied with for their low and for their high ends, by component."""
    found: dict[str, tuple[float, float]] = {}
    for one in sources:
        low, high = found.get(one.component, (one.low, one.high))
        found[one.component] = min(low, one.low), max(high, one.high)
    return {end: [found.get(name, (1.0, 1.0))[index] for name in COUNTED] for index, end in enumerate(ENDS)}


def _at(end: str, used: list[tuple[Factors, Energy]], elsewhere: float | None) -> Energy:
    """The sum of what processes used, at one end of their ranges. elsewhere: the joules of remote work at that end."""
    columns = [
        [
            None if joules is None else joules * factor
            for joules, factor in zip(one.by_component(), of[end], strict=False)
        ]
        for of, one in used
    ]
    sums = [add(column) for column in zip(*columns, strict=True)]
    return replace(Energy(*sums), remote=elsewhere) if elsewhere is not None else Energy(*sums)


def _remote(run: RunRecords, energy: Energy, end: str) -> float | None:
    """An end of what was declared of work elsewhere."""
    if energy.remote is None:
        return None
    return add(remote.bound_of(span, end) for span in run.spans if span.status != Status.CACHED)


def sources(run: RunRecords) -> list[dict[str, Any]]:
    """Each source of the run once, with its provenance, detail, and whether the host has no such device."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for of_process in _all_sources(run).values():
        for one in of_process:
            row = {
                "component": one.component, "name": one.name, "provenance": str(one.provenance),
                "detail": one.detail, "absent": one.absent, "low": one.low, "high": one.high,
            }  # fmt: skip
            found.setdefault(tuple(row.values()), row)
    for row in _elsewhere(run):
        found.setdefault(tuple(row.values()), row)
    return sorted(found.values(), key=lambda row: COMPONENTS.index(row["component"]))


def _elsewhere(run: RunRecords) -> Iterator[dict[str, Any]]:
    """Who did work elsewhere, as declared, each with all its calls; those without a figure are missing."""
    entries: list[dict[str, Any]] = []
    for span in run.spans:
        for entry in remote.entries_of(span):
            entries = remote.with_entry(entries, entry)
    told = {entry["source"] for entry in entries if entry["joules"] is None}
    for source in dict.fromkeys(source for _, source in remote.without_figure(run.spans)):
        if source not in told:
            entries.append({"source": source, "where": "", "joules": None, "calls": 0})
    for entry in entries:
        joules, calls = entry["joules"], f"{entry['calls']} call{'' if entry['calls'] == 1 else 's'}"
        place = "" if entry["where"] in {"", "remote"} else f" ({entry['where']})"
        figure = "nobody gave a figure" if joules is None else f"{calls}, as declared"
        yield {
            "component": "remote", "name": entry["source"],
            "provenance": str(Provenance.MISSING) if joules is None else entry["provenance"],
            "detail": f"{entry['source']}{place}: {figure}", "absent": False,
            "low": entry["low"] / joules if joules else 1.0, "high": entry["high"] / joules if joules else 1.0,
        }  # fmt: skip


def gaps(run: RunRecords) -> dict[str, int]:
    """Components of which spans lack a part, and how many do: the sums are then lower bounds.

    One that no source can tell is a gap of every span, unless the host has no such device. Remote work is one of the
    spans that set it off, where nobody gave a figure.
    """
    return dict(Counter(name for names in lacking(run).values() for name in names))


def cut_short(run: RunRecords) -> dict[str, int]:
    """Of the `gaps`, how many are of spans that lack no more than what they used since the last tick when killed.

    One that was killed before its first tick lacks all of it.
    """
    told = {(process, one.component) for process, found in _sources(run).items() for one in found}
    names: list[str] = []
    for span in run.spans:
        if span.is_cut_short:
            names += span.incomplete - {*span.attributes.get("gaps", ())}
        elif span.is_unmeasured:
            names += [name for name in HOST if (span.process_id, name) in told]
    return dict(Counter(names))


def begun(run: RunRecords) -> bool:
    """Whether a process has worked for the run; one of which no attempt has begun is in Airflow's database alone."""
    return any(not span.is_of_no_process for span in run.spans)


def why_lower(gaps: dict[str, int], cut_short: dict[str, int]) -> Iterator[str]:
    """What the components lack, apart from what was lost as a process was killed: "cpu in 2 spans"."""
    for name, count in gaps.items():
        others = count - cut_short.get(name, 0)
        if others:
            yield f"{name} in {others} span{'s' if others > 1 else ''}"


def lacking(run: RunRecords) -> dict[str, list[str]]:
    """The components that spans lack a part of, by the id of the span."""
    expected = {process.id: _told_by(process) for process in run.processes}
    missing: dict[str, list[str]] = {}
    for span in run.spans:
        lacks = span.incomplete
        unknown = [name for name, field in expected.get(span.process_id, ()) if getattr(span, field) is None]
        names = [name for name in HOST if name in lacks or name in unknown] if lacks or unknown else []
        if names and span.status != Status.CACHED:
            missing[span.id] = names
    for id_ in dict.fromkeys(span.id for span, _ in remote.without_figure(run.spans)):
        missing.setdefault(id_, []).append("remote")
    return missing


def _told_by(process: ProcessRecord) -> list[tuple[str, str]]:
    """The host's components that a process was to tell of, each with the field of a span that holds it."""
    told = {one.component for one in process.sources if not one.absent}
    return [(name, f"{name}_j") for name in HOST if name in told]


def not_attributed(spans: SpanTree) -> dict[str, float | None]:
    """What the host used beside the run while it went on, in joules: figures of the host, not additive."""
    return {
        "other": add(root.other_j for root in spans.roots),
        "idle": add(root.idle_j for root in spans.roots),
    }


def waiting(spans: SpanTree) -> float:
    """What waiting for a cleaner grid used, in joules."""
    return add(spans.used[span.id].joules for span in spans.spans if span.is_waiting) or 0.0


def waiting_lacks(spans: SpanTree, lacking: Collection[str]) -> bool:
    """Whether what waiting used is a lower bound. lacking: the spans that lack a part of their energy."""
    return any(span.is_waiting and span.id in lacking for span in spans.spans)


def unsuccessful(spans: SpanTree, ids: Collection[str]) -> float | None:
    """What attempts that failed, crashed, timed out or were cancelled used (`lost`), in joules, each joule once."""
    return add(spans.own_j[id_] for id_ in ids) if ids else 0.0


def lost(spans: SpanTree) -> set[str]:
    """The ids of the attempts that did not succeed, and of all that is inside them.

    What they used is a lower bound where one of these lacks a part.
    """
    found: set[str] = set()
    for span in spans.spans:  # parents first
        if spans.parents[span.id] in found or (span.kind == Kind.ATTEMPT and span.status in UNSUCCESSFUL):
            found.add(span.id)
    return found


def unclaimed(lineage: Lineage) -> set[str]:
    """The ids of the spans that led to no final product; of the flow runs' own, too, where a share of theirs did not.

    What is unclaimed is a lower bound where one of these lacks a part.
    """
    claimed = {step for of_product in lineage.parts.values() for step in of_product}
    own = {span.id for span in lineage.graph.found.orchestration}
    rest = {id_ for id_, step in lineage.step_of.items() if step not in claimed} - own
    return rest | own if lineage.unclaimed_j else rest


def without_waiting(total_j: float | None, waiting_j: float) -> float | None:
    """E(R): what the run used, waiting aside, in joules."""
    return None if total_j is None else total_j - waiting_j


def grams(joules: float | None, intensity: float | None, pue: float | None = None) -> float | None:
    """gCO2eq of energy in joules at an intensity in gCO2eq/kWh, in a facility of that PUE."""
    return None if joules is None or intensity is None else joules * (pue or 1.0) * intensity / JOULES_PER_KWH


def emissions(joules: float | None, decision: DecisionRecord | None) -> dict[str, Any]:
    """gCO2eq of the run, with the zone, signal and source of the intensity (gCO2eq/kWh) used."""
    if decision is None:
        return dict.fromkeys(("total", "zone", "signal", "source", "intensity_gco2eq_per_kwh"))
    return {
        "total": grams(joules, decision.intensity),
        "zone": decision.zone,
        "signal": decision.signal,
        "source": decision.source,
        "intensity_gco2eq_per_kwh": decision.intensity,
    }


def carbon(
    joules: float | None, decision: DecisionRecord | None, curve: list[dict[str, Any]], step: str | None = None
) -> dict[str, Any] | None:
    """The decision, and what waiting as planned would have saved: null where the hours to come were not known.

    joules: of what it was about. curve: the intensities that it looked at. step: the name of the only step that it was
    about; None: the whole run.
    """
    if decision is None:
        return None
    saving = _saving_per_kwh(decision)
    return {
        "step": step,
        "start": iso(decision.start),
        "end": iso(decision.end),
        "decided_at": iso(decision.at),
        "expected_gco2eq_per_kwh": decision.expected,
        "run_now_gco2eq_per_kwh": decision.run_now,
        "zone": decision.zone,
        "signal": decision.signal,
        "source": decision.source,
        "reason": decision.reason,
        "potential_saving_percent": 100 * saving / decision.run_now
        if saving is not None and decision.run_now
        else None,
        "potential_saving_g": grams(joules, saving),
        "curve": curve,
    }


def _saving_per_kwh(decision: DecisionRecord) -> float | None:
    if decision.expected is None or decision.run_now is None or decision.start is None:
        return None
    return None if decision.plan.get(RUNG) in TIMELESS else decision.run_now - decision.expected


def avoided(spans: SpanTree, made: dict[str, SpanRecord], lookup: Avoided) -> dict[str, float | None]:
    """By cached span, the joules that producing its result had cost in another run; None where that is not known.

    made: the producers within this run, whose joules are part of it: they are not credited.
    """
    return {span.id: 0.0 if span.id in made else lookup(span) for span in spans.spans if span.status == Status.CACHED}


def total_avoided(by_span: dict[str, float | None]) -> float | None:
    """The joules that caching avoided: 0.0 without a cached task run, None where one's producer is not known."""
    known = [joules for joules in by_span.values() if joules is not None]
    return sum(known) if len(known) == len(by_span) else None
