"""What `e2s compare` answers, as tables for people."""

from collections.abc import Iterable
from typing import Any

from rich.text import Text

from e2s_tasks.core.energy import add
from e2s_tasks.reporter import kpi_phrases, phrases, units
from e2s_tasks.reporter.compare import bounded, change, changed, headline
from e2s_tasks.reporter.fitting import FittingTable
from e2s_tasks.reporter.folding import fold
from e2s_tasks.reporter.terminal import console

Row = dict[str, Any]
MOST_ROWS = 40
LEAST = 0.5  # percent; a smaller change has no colour
ONLY = {"a": "only in A", "b": "only in B"}


def print_comparison(found: Row) -> None:
    """Both runs, and a table each of what they cost, their components, steps, artifacts and KPIs."""
    out = console()
    for word, key in (("A", "a"), ("B", "b")):
        run = found[key]
        started = units.clock(run["started_at"])
        out.print(Text.assemble((f"{word}  ", "bold"), f"{phrases.title({'flow_run': run})}"))
        out.print(Text(f"   {run['id'][:8]}, {started}", style="dim"))
    out.print(Text(headline(found), style="bold"))
    for note in found["notes"]:
        out.print(Text(f"!  {note}", style="yellow"))
    for title, rows in (
        ("Totals", [_figure(row) for row in found["totals"]]),
        ("Components", [_component(row) for row in found["components"] if _known(row)]),
        ("Steps", _steps(found["steps"])),
        ("Artifacts, in their runs", [_artifact(row) for row in found["artifacts"]]),
        ("KPIs", [_kpi(row) for row in found["kpis"] if _known(row) and not _repeated(row)]),
    ):
        if rows:
            out.print("")
            out.print(_table(title, rows))
    for line in (*_undefined(found["kpis"]), *_without_figure(found["without_figure"])):
        out.print(Text(line, style="dim"))


def _table(title: str, rows: Iterable[list[str | Text]]) -> FittingTable:
    table = FittingTable("", "A", "B", "change", texts=("",), spared=("change",), title=title)
    for row in rows:
        table.add_row(*row)
    return table


def _known(row: Row) -> bool:
    return row["a"] is not None or row["b"] is not None


def _figure(row: Row) -> list[str | Text]:
    sides = [_marked(row, side) + _shown(row[side], row["unit"]) for side in ("a", "b")]
    return [row["name"], *sides, _changed(row, worse=_dearer(row))]


def _marked(row: Row, side: str) -> str:
    """The mark of a figure that is a bound, if it is known at all."""
    if row[side] is None:
        return ""
    return ">= " if row.get(f"{side}_lower_bound") else "<= " if row.get(f"{side}_upper_bound") else ""


def _shown(value: float | None, unit: str) -> str:
    if unit == "s":
        return units.seconds(value)
    if unit == "gCO2eq":
        return units.grams(value)
    if unit == "gCO2eq/kWh":
        return units.UNKNOWN if value is None else f"{units.number(value)} g/kWh"
    return units.quantity(value, unit)


def _dearer(row: Row) -> bool:
    return not row["name"].startswith("avoided")


def _component(row: Row) -> list[str | Text]:
    worth = [row[f"{side}_provenance"] for side in ("a", "b")]
    said = worth[0] if worth[0] == worth[1] else " / ".join(worth)
    joules = [units.at_least(units.joules(row[side]), row[f"{side}_lower_bound"]) for side in ("a", "b")]
    return [f"{row['name']} ({said})", *joules, _changed(row)]


def _steps(rows: list[Row]) -> list[list[str | Text]]:
    shown, rest = fold(rows, MOST_ROWS)
    found = [_step(row) for row in shown]
    if rest:
        a, b = (add(row[side] for row in rest) for side in ("a", "b"))
        lower = {name: any(row[name] for row in rest) for name in ("a_lower_bound", "b_lower_bound")}
        more = bounded({"a": a, "b": b, "change_percent": change(a, b)} | lower)
        joules = [units.at_least(units.joules(more[side]), more[f"{side}_lower_bound"]) for side in ("a", "b")]
        found.append([f"... {len(rest)} smaller steps", *joules, _changed(more)])
    return found


def _step(row: Row) -> list[str | Text]:
    counts = row["a_count"], row["b_count"]
    times = f" ({counts[0]} and {counts[1]} times)" if counts[0] != counts[1] and all(counts) else ""
    joules = [units.at_least(units.joules(row[side]), row[f"{side}_lower_bound"]) for side in ("a", "b")]
    last = ONLY[row["only_in"]] if row["only_in"] else _changed(row)
    return [units.printable(row["name"]) + times, *joules, last]


def _artifact(row: Row) -> list[str | Text]:
    figures = row["in_run_j"]
    sides = [units.at_least(units.joules(figures[side]), row[f"{side}_lower_bound"]) for side in ("a", "b")]
    last = ONLY[row["only_in"]] if row["only_in"] else _changed(figures)
    return [row["name"], *sides, last]


def _kpi(row: Row) -> list[str | Text]:
    sides = [_marked(row, side) + _shown(row[side], row["unit"]) for side in ("a", "b")]
    return [
        units.printable(row["name"]),
        *sides,
        _changed(row, worse=bool(row["unit"]) and "1/" not in row["unit"]),
    ]


def _repeated(row: Row) -> bool:
    return kpi_phrases.twice({"label": row["name"], "per": row["per"]})


def _undefined(rows: list[Row]) -> Iterable[str]:
    """Why a KPI that one of the runs has is undefined in the other."""
    for row in rows:
        for word, side in (("A", "a"), ("B", "b")):
            if row[side] is None and _known(row) and not _repeated(row):
                yield f"{units.printable(row['name'])}: undefined in {word}, {units.printable(row[f'{side}_reason'])}"


def _without_figure(found: dict[str, dict[str, str]]) -> Iterable[str]:
    """What no run, or one of them, has a figure for."""
    if found["a"] == found["b"]:
        yield from (f"{word} in both: {said}" for word, said in found["a"].items())
        return
    for name, side in (("A", "a"), ("B", "b")):
        yield from (f"{word} in {name}: {said}" for word, said in found[side].items())


def _changed(row: Row, *, worse: bool = True) -> Text:
    """The change, red where it is for the worse: more of what costs, less of what is gained."""
    percent, text = row["change_percent"], changed(row)
    if percent is None or abs(percent) < LEAST:
        return Text(text)
    return Text(text, style="red" if (percent > 0) == worse else "green")
