"""The tables of a run's report: the summary's figures, in the same words as `e2s show` has them."""

from collections.abc import Callable
from typing import Any

from e2s_tasks.core.energy import HOST, MOVEMENT, add
from e2s_tasks.reporter import kpi_phrases, phrases, provenance, units
from e2s_tasks.reporter.html.page import Row, Table, printable
from e2s_tasks.reporter.phrases import Summary
from e2s_tasks.reporter.steps import share

MOST_ROWS = 100
NAMES = {
    "cpu": "CPU", "dram": "memory (DRAM)", "gpu": "GPU", "static": "idle power", "storage": "storage",
    "network": "network", "remote": "work elsewhere",
}  # fmt: skip


Link = Callable[[dict[str, Any]], str]  # where a row of the summary's steps leads; "" for nowhere


def nowhere(row: dict[str, Any]) -> str:  # noqa: ARG001
    """No row leads anywhere."""
    return ""


def steps(summary: Summary, link: Link = nowhere) -> Table:
    """Each step with its attempts, the failed ones marked; with their memory, where that is known."""
    memory = any(row["peak_memory_bytes"] is not None for row in summary["steps"])
    more = ["peak memory"] if memory else []
    head = ["step", "status", "try", "energy", "share", "time", "CPU time", *more, "read", "written"]
    shown, folded = phrases.top_rows(summary, MOST_ROWS)
    rows = [_step(row, link, memory=memory) for row in shown]
    if folded:
        joules = add(row["inclusive_j"] for row in folded)
        part = units.percent(share(joules, summary["energy_j"]["total"]))
        cpu = units.seconds(sum(row["cpu_s"] for row in folded))
        cells = [phrases.others(folded), "", "", phrases.together(folded), part, "", cpu, *_none(more), "", ""]
        rows.append(Row(cells, "more"))
    whole = summary["energy_j"]["total"]
    total = [phrases.whole(summary), units.percent(1.0 if whole else None)]
    cpu = units.seconds(sum(row["cpu_s"] for row in summary["steps"] if row["depth"] == 0))
    rows.append(Row(["total", "", "", *total, "", cpu, *_none(more), "", ""], "total"))
    return Table(phrases.steps_title(folded), head, rows, texts=(0, 1))


def _none(columns: list[str]) -> list[str]:
    """Empty cells for these columns."""
    return [""] * len(columns)


def _step(row: dict[str, Any], link: Link, *, memory: bool) -> Row:
    cells = [
        phrases.step_name(row),
        phrases.mark(row),
        "" if row["attempt"] is None else str(row["attempt"]),
        phrases.row_joules(row),
        units.percent(row["share"]),
        units.seconds(row["duration_s"]),
        units.seconds(row["cpu_s"]),
        *([units.size(row["peak_memory_bytes"])] if memory else []),
        units.size(row["bytes_read"]),
        units.size(row["bytes_written"]),
    ]
    return Row(cells, "lost" if row["status"] in phrases.BROKEN else "", min(row["depth"], 6), link(row))


def artifacts(summary: Summary) -> Table | None:
    """Each artifact version that the run wrote, with its Energy-to-Solution; None where it wrote none."""
    if not summary["artifacts"]:
        return None
    amortised = any(one["amortised_j"] is not None for one in summary["artifacts"])
    more = ["amortised"] if amortised else []
    head = ["artifact", "in-run", "fully loaded", *more, "attributed", "CO2eq", "size", "rows", "produced by"]
    rows = [_artifact(one, amortised=amortised) for one in summary["artifacts"]]
    if summary["unclaimed_j"]:
        cells = ["no final product", "", "", *_none(more), phrases.unclaimed(summary), "", "", "", ""]
        rows.append(Row(cells, "more"))
    return Table("Energy-to-Solution of the artifacts that the run wrote", head, rows, texts=(0, len(head) - 1))


def _artifact(one: dict[str, Any], *, amortised: bool) -> Row:
    def bound(figure: str) -> str:
        return units.at_least(figure, one["lower_bound"])

    version = "" if one["version"] is None else f" v{one['version']}"
    return Row([
        phrases.artifact_name(one["uri"]) + version,
        phrases.in_run(one),
        phrases.fully_loaded(one),
        *([phrases.amortised(one)] if amortised else []),
        bound(units.joules(one["attributed_j"])),
        bound(units.grams(one["emissions_g"])),
        units.size(one["bytes"]),
        units.count(one["rows"]),
        units.printable(one["produced_by"] or units.UNKNOWN),
    ])  # fmt: skip


def kpis(found: dict[str, Any], level: float | None = None, of: str = "") -> Table | None:
    """The KPIs that are defined; with a level also their intervals over runs. None where none is."""
    shown = [kpi for kpi in found.values() if kpi["value"] is not None and not kpi_phrases.twice(kpi)]
    if not shown:
        return None
    more = [] if level is None else [f"{level * 100:g} % interval", "runs"]
    rows = []
    for kpi in shown:
        of_runs = [] if level is None else [kpi_phrases.interval(kpi), units.count(kpi["runs"])]
        rows.append(Row([units.printable(kpi["label"]), kpi_phrases.value(kpi), *of_runs, kpi_phrases.sides(kpi)]))
    return Table(f"KPIs of {of}" if of else "KPIs", ["KPI", "value", *more, "made of"], rows)


def kpi_notes(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Why KPIs are undefined, and what they rest on."""
    undefined = [("undefined", kpi_phrases.undefined(kpi)) for kpi in found.values() if kpi["value"] is None]
    return [*undefined, *kpi_phrases.notes(list(found.values()))]


def components(summary: Summary) -> Table:
    """Each component of the energy, with its range and what it rests on."""
    rows = [_component(summary, name) for name in HOST] + [_sum(summary, "host", "the host: the above")]
    rows += [*(_component(summary, name) for name in MOVEMENT), _sum(summary, "total", "total")]
    head = ["component", "energy", "range", "it is", "rests on"]
    return Table("What is measured, what is modelled, what is missing", head, rows, texts=(0, 3, 4))


def _sum(summary: Summary, name: str, said: str) -> Row:
    lacking = summary["gaps"] and (name == "total" or {*summary["gaps"]} & {*HOST})
    figure = units.at_least(units.joules(summary["energy_j"][name]), lacking)
    return Row([said, figure, between(summary["energy_j_range"][name]), "", ""], "total")


def _component(summary: Summary, name: str) -> Row:
    kind, bounds = summary["provenance"][name], summary["energy_j_range"][name]
    word, why = kind, "; ".join(_sources(summary, name))
    if kind == "missing":
        word, why = provenance.missing(summary, name)
        why = "" if why == name else why
    said = between(bounds) if kind == "modelled" else ""
    return Row([NAMES[name], provenance.component_joules(summary, name), said, word, *printable([why])])


def between(bounds: list[float | None] | None) -> str:
    """A range that is one, in words."""
    return "" if not bounds or bounds[0] == bounds[1] else units.between(bounds)


def _sources(summary: Summary, name: str) -> list[str]:
    known = [one for one in summary["sources"] if one["component"] == name and one["provenance"] != "missing"]
    return [f"{one['name']}: {one['detail']}" if one["detail"] else one["name"] for one in known]


def flow(rows: list[dict[str, Any]]) -> Table:
    """The energy of each step that went into each product."""
    cells = [Row([row["step"], row["product"], phrases.flow_joules(row)]) for row in rows]
    return Table("Energy of steps in final products", ["step", "final product", "energy"], cells, texts=(0, 1))
