"""What `e2s kpi` answers, as tables for people."""

from typing import Any

from rich.console import Console
from rich.text import Text

from e2s_tasks.reporter import kpi_phrases, phrases, units
from e2s_tasks.reporter.fitting import FittingTable
from e2s_tasks.reporter.terminal import console

Row = dict[str, Any]
LEAST = 14  # columns of a name, or of what a KPI is made from
BASES = (("in_run", "in-run"), ("fully_loaded", "fully loaded"))


def print_kpis(found: Row) -> None:
    """The KPIs of a run or of a solution, what they rest on, and the energy by stage."""
    out = console()
    kpis = list(found["kpis"].values())
    out.print(Text(_title(found), style="bold"))
    defined = [kpi for kpi in kpis if kpi["value"] is not None and not kpi_phrases.twice(kpi)]
    if defined:
        out.print(_table(defined, found.get("interval_level")))
    for kpi in kpis:
        if kpi["value"] is None:
            out.print(Text(kpi_phrases.undefined(kpi), style="dim"))
    _print_products(out, found.get("products", []))
    _print_notes(out, kpis)
    _print_stages(out, found["stages"])


def _title(found: Row) -> str:
    if "solution" in found and "runs" in found:
        said = ", ".join(f"{count} {phrases.status(status or None)}" for status, count in found["runs"].items())
        since = f" since {units.clock(found['since'])[:10]}" if found["since"] else ""
        energy = units.at_least(units.joules(found["energy_j"]), found["lower_bound"])
        what = f"{said}; {energy}" if said else "no runs"
        return f"{units.printable(found['solution'])}{since}: {what}"
    run = found | {"flow_run": found["run"]}
    return f"{phrases.title(run)}; {phrases.energy(run)}"


def _table(kpis: list[Row], level: float | None) -> FittingTable:
    interval = [] if level is None else [f"{level * 100:g} % interval", "runs"]
    table = FittingTable(
        "KPI", "value", *interval, "=", texts=("KPI", "="), spared=("=", *reversed(interval)), least=LEAST
    )
    for kpi in kpis:
        more = [] if level is None else [kpi_phrases.interval(kpi), str(kpi["runs"])]
        table.add_row(units.printable(kpi["label"]), kpi_phrases.value(kpi), *more, kpi_phrases.sides(kpi))
    return table


def _print_products(out: Console, products: list[Row]) -> None:
    """Joules per unit of each final product, by what it took in this run and with earlier runs."""
    for product in products:
        name = f"{phrases.artifact_name(product['uri'])} v{product['version']}"
        for basis, word in BASES:
            said = [_of_product(kpi) for kpi in product[basis].values() if kpi["unit"] == "J"]
            out.print(Text(f"{name}, {word}: {'; '.join(said)}"))


def _of_product(kpi: Row) -> str:
    if kpi["value"] is None:
        return f"{units.printable(kpi['label'])} undefined, {units.printable(kpi['reason'])}"
    return f"{phrases.kpi_bound(kpi)}{units.joules(kpi['value'])} per {units.printable(kpi['per'])}"


def _print_notes(out: Console, kpis: list[Row]) -> None:
    for word, line in kpi_phrases.notes(kpis):
        out.print(Text(f"{word}: {line}", style="dim"))


def _print_stages(out: Console, stages: list[Row]) -> None:
    if not stages:
        return
    table = FittingTable("stage", "energy", "share", texts=("stage",), title="Energy by stage")
    for row in stages:
        stage = row["stage"].replace("_", " ")
        table.add_row(stage, phrases.sum_joules(row), units.percent(row["share"]))
    out.print("")
    out.print(table)
