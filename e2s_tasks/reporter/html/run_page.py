"""The report of one run: the summary of `e2s show` as a page with charts."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import e2s_tasks.reporter.html.run_tables as tables
from e2s_tasks.core.lineage import lineage_of
from e2s_tasks.core.plurals import plural
from e2s_tasks.core.records import RunRecords, SpanRecord
from e2s_tasks.reporter import phrases, provenance, units, waiting
from e2s_tasks.reporter.energy_flow import energy_flow
from e2s_tasks.reporter.folding import fold
from e2s_tasks.reporter.html import charts, time_charts
from e2s_tasks.reporter.html.page import Card, Row, Table, check, factor_table, lines, printable, render
from e2s_tasks.reporter.html.svg import Chart
from e2s_tasks.reporter.phrases import Summary
from e2s_tasks.reporter.run import summarise_records
from e2s_tasks.reporter.timeline import timeline
from e2s_tasks.reporter.tree import SpanTree, adopted, tree

if TYPE_CHECKING:
    from e2s_tasks.ledger import Ledger

NO_PRODUCT = "no final product"
MOST_FLOWS = 12


@dataclass(frozen=True, slots=True)
class _Found:
    """What a run's report is made from."""

    summary: Summary
    run: RunRecords
    spans: SpanTree


def render_run(
    ledger: "Ledger", run_id: str, now: datetime | None = None, *, inside: Callable[[SpanRecord], str] | None = None
) -> str:
    """The report of a root run as HTML.

    inside: it is shown in a frame of another page, where this says which page tells of an attempt ("" for none); it is
    then made without matplotlib, too, with the charts in words.

    Raises:
        NotFoundError: the ledger holds no such run.
        SettingError: a package that reports need is not installed, or the factor table cannot be used.
        LedgerError: the ledger cannot be read.
    """
    if inside is None:
        check()
    run = ledger.run(run_id)
    found = _Found(summarise_records(ledger, run), run, tree(run.spans, run.run_id))
    summary, at = found.summary, now or datetime.now(UTC)
    flows = _flows(found)
    return render(
        "run.html.jinja",
        inside=inside is not None,
        title=_name(summary),
        subtitle=phrases.title(summary),
        facts=_facts(summary),
        cards=_cards(summary),
        sentences=_sentences(summary),
        where=charts.bars("where", _bars(summary), "Energy by step"),
        begun=summary["begun"],
        flow=charts.flow("flow", flows, "Energy from steps into final products"),
        flow_table=tables.flow(flows),
        attributed_by=summary["attributed_by"],
        power=_power(found, at),
        steps=tables.steps(summary, _links(found, inside)),
        artifacts=tables.artifacts(summary),
        bounds=phrases.reasons(summary),
        not_made=phrases.not_made(summary),
        kpis=tables.kpis(summary["kpis"]),
        kpi_notes=tables.kpi_notes(summary["kpis"]),
        carbon=_sentence(waiting.carbon(summary)),
        grid=phrases.grid(summary),
        outlook=_outlook(summary),
        components=tables.components(summary),
        gaps=provenance.gaps(summary),
        method=_method(found),
        factors=factor_table(),
        made=f"{at:%Y-%m-%d %H:%M} UTC",
    )


def _links(found: _Found, inside: Callable[[SpanRecord], str] | None) -> tables.Link:
    def link(row: dict[str, Any]) -> str:
        span = found.spans.by_id.get(row["span_id"] or "") if row["depth"] == 0 else None
        return "" if span is None or inside is None else inside(span)

    return link


def _name(summary: Summary) -> str:
    run = summary["flow_run"]
    return " ".join(printable(one for one in (run["flow"], run["name"]) if one) or [run["id"]])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _facts(summary: Summary) -> list[tuple[str, str]]:
    run = summary["flow_run"]
    took = units.seconds(phrases.duration(summary))
    facts = [("solution", run["solution"]), ("status", phrases.status(run["status"]))]
    facts += [("started", units.clock(run["started_at"])), ("took", took), ("run", run["id"])]
    return [(word, units.printable(text)) for word, text in facts if text]


def _cards(summary: Summary) -> list[Card]:
    """What a newcomer has to see: energy, emissions, the KPI, and what was avoided."""
    joules, emissions = summary["energy_j"]["total"], summary["emissions_g"]
    worth = phrases.worth(summary) if joules is not None else phrases.energy(summary)
    so_far = phrases.so_far(summary)
    in_wh = None if joules is None else units.watt_hours(joules)
    cards = [Card(f"Energy{so_far}", phrases.whole(summary), lines(in_wh, worth))]
    if emissions["total"] is None:
        cards.append(Card("Emissions", "unknown", (phrases.emissions(summary),)))
    else:
        of_zone = f"CO2eq ({phrases.signal(summary)})"
        cards.append(Card(f"Emissions{so_far}", phrases.whole_grams(summary), (of_zone,)))
    return [*cards, _kpi_card(summary), _avoided_card(summary)]


def _kpi_card(summary: Summary) -> Card:
    found = phrases.main_kpis(summary)
    if not found:
        return Card("Energy per result", "not known", (_sentence(phrases.no_outcome(summary)),))
    said = phrases.kpi_lines(summary)[0]
    figure, _, rest = said.partition(" per ") if found[0]["value"] is not None else ("undefined", "", said)
    per, _, sides = rest.partition(" = ")
    return Card("Energy per result", figure, lines(f"per {per}" if sides else per, sides and f"= {sides}"))


def _avoided_card(summary: Summary) -> Card:
    found, cached = summary["waited"], phrases.cached(summary)
    if _told_on_card(summary):
        said = waiting.waited(summary) or ""
        name = f"Avoided by waiting{phrases.so_far(summary)}"
        return Card(name, units.grams(found["avoided_g"]), lines(f"CO2eq; {said}", cached))
    if cached and summary["avoided_j"]:
        return Card("Avoided by caching", units.joules(summary["avoided_j"]), (_sentence(cached),))
    if found is not None and found["began_at"] is not None:
        return Card("Avoided", "not known", lines("It waited, but nobody knows what that avoided.", cached))
    could = None if found else _could(summary["carbon"])
    why = "It was to wait for a cleaner grid, and has not begun." if found else "It did not wait for a cleaner grid."
    if found and waiting.still_waits(summary):
        return Card("Avoided so far", "nothing", lines("It waits for a cleaner grid, or a part of it does.", cached))
    return Card("Avoided", "nothing", lines(why, could, cached and _sentence(cached)))


def _could(plan: dict[str, Any] | None) -> str | None:
    """What waiting would have saved, if anything."""
    if plan is None or plan["potential_saving_percent"] is None or plan["potential_saving_percent"] < 0.5:
        return None
    of = "" if plan["step"] is None else f" of {waiting.emissions(plan)}"
    return _sentence(f"waiting would have saved {plan['potential_saving_percent']:.0f} %{of}")


def _told_on_card(summary: Summary) -> bool:
    """Whether a card says what waiting avoided."""
    return summary["waited"] is not None and summary["waited"]["avoided_g"] is not None


def _sentences(summary: Summary) -> list[str]:
    biggest, waited = phrases.biggest(summary), None if _told_on_card(summary) else waiting.waited(summary)
    where = f"where it went: {biggest}" if biggest else None
    found = [where, phrases.lost(summary), waited, phrases.facility(summary)]
    return [_sentence(one) for one in found if one]


def _bars(summary: Summary) -> list[charts.Bar]:
    """A bar for each of the run's consumers, with the part of it that attempts used which did not succeed."""
    return [
        charts.Bar(
            one["name"], one["inclusive_j"], f"{phrases.row_joules(one)}, {units.percent(one['share'])}",
            one["unsuccessful_j"], lower_bound=one["lower_bound"], lost_lower_bound=one["unsuccessful_lower_bound"],
        )
        for one in summary["consumers"]
    ]  # fmt: skip


def _flows(found: _Found) -> list[dict[str, Any]]:
    """The flows of energy with products as a person calls them; the smaller steps and products together."""
    rows = energy_flow(found.run, found.spans, lineage_of(adopted(found.run, found.spans)))
    named = [row | {"step": units.printable(row["step"]), "product": _product(row)} for row in rows]
    merged: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    kept = {side: _biggest(named, side) for side in ("step", "product")}
    for row in named:
        step = row["step"] if row["step"] in kept["step"] else "smaller steps"
        product = row["product"] if row["product"] in kept["product"] else "smaller products"
        merged[step, product].append(row)
    flows = [{"step": step, "product": product} | _together(of_both) for (step, product), of_both in merged.items()]
    return sorted(flows, key=lambda one: -one["joules"])


def _together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Flows as one: their joules, and whether a part of these, or of what went into their product, is missing."""
    bounds = {key: any(row[key] for row in rows) for key in ("lower_bound", "product_lower_bound")}
    return {"joules": sum(row["joules"] for row in rows), **bounds}


def _product(row: dict[str, Any]) -> str:
    if row["uri"] is None:
        return NO_PRODUCT
    return phrases.artifact_name(row["uri"]) + (f" v{row['version']}" if row["version"] is not None else "")


def _biggest(rows: list[dict[str, Any]], side: str) -> set[str]:
    sums: dict[str, float] = {}
    for row in rows:
        sums[row[side]] = sums.get(row[side], 0.0) + row["joules"]
    return set(fold(sorted(sums, key=lambda key: -sums[key]), MOST_FLOWS)[0])


def _power(found: _Found, now: datetime) -> tuple[Chart, Table] | None:
    """Power over time as a chart, and as a table of each step's energy and power."""
    line = timeline(found.run, found.spans, now=now.timestamp())
    if line is None:
        return None
    rows, lower = [], {(one["kind"], one["name"]) for one in found.summary["consumers"] if one["lower_bound"]}
    for step, watts in line.watts.items():
        powers = [f"{units.number(float(power))} W" for power in (watts.mean(), watts.max())]
        said = [units.joules(float(watts.sum()) * line.seconds), *powers]
        rows.append(Row([units.printable(step[1]), *(units.at_least(figure, step in lower) for figure in said)]))
    head = ["step", "energy", "mean power over the run", "highest power"]
    return time_charts.power("power", line, "Power of each step over time"), Table("Power of the steps", head, rows)


def _outlook(summary: Summary) -> Chart | None:
    """The carbon intensity that the run's decisions looked at, with the run and the planned window in it."""
    run, plan, waited = summary["flow_run"], summary["carbon"], summary["waited"]
    curve = plan["curve"] if plan else []
    if not curve:
        return None
    slots = [(*_epochs(one["start"], one["end"]), one["gco2eq_per_kwh"]) for one in curve]
    shown: dict[str, tuple[float, float]] = {}
    timed = plan is not None and plan["potential_saving_percent"] is not None
    if timed and (waited is None or waited["began_at"] is None) and plan["start"] and plan["end"]:
        shown["the cleanest window within the policy"] = _epochs(plan["start"], plan["end"])
    if waited is not None:
        shown["when it would have begun at once"] = _epochs(waited["arrived_at"], waited["arrived_at"])
    begin, end = waited["began_at"] if waited else run["started_at"], run["ended_at"]
    if begin and end:
        shown = {"the run": _epochs(begin, end)} | shown
    return time_charts.outlook("outlook", slots, shown, "Carbon intensity of the grid around the run")


def _epochs(*moments: str) -> tuple[float, float]:
    first, last = (datetime.fromisoformat(moment).timestamp() for moment in moments)
    return first, last


def _method(found: _Found) -> list[tuple[str, str]]:
    """How the figures came about, and what they leave out."""
    summary, run = found.summary, found.run
    hosts = sorted({process.host for process in run.processes})
    spans, processes = len(run.spans), len(run.processes)
    recorded = f"{units.count(spans)} {plural('span', spans)}"
    recorded += f" of {units.count(processes)} {plural('process', processes)}"
    facts = [
        ("recorded", f"{recorded} on {', '.join(hosts)}" if hosts else recorded),
        ("idle power", provenance.idle_policy(summary).removeprefix("idle power: ")),
        ("divided", provenance.divided(summary)),
        ("not attributed", provenance.not_attributed(summary)),
        ("unrecorded I/O", provenance.unrecorded(summary)),
        ("stages", phrases.stages(summary)),
        ("grid", phrases.grid(summary)),
    ]
    return [(word, units.printable(text)) for word, text in facts if text]
