"""The last runs of a deployment as markdown for the Prefect page: energy, KPI and emissions, regressions marked."""

from collections.abc import Sequence
from typing import Any

from e2s_tasks.reporter import chart, phrases, units
from e2s_tasks.reporter.headline import Headline, compared
from e2s_tasks.reporter.markdown import cell, name_lines, table, text

MOST = 30  # runs that are shown
NAME = 16  # characters of a line of a run's name, so that all columns fit on a phone


def render(name: str, rows: Sequence[Headline], threshold: float, page: str | None) -> str:
    """The history of what is called `name`. rows: of its runs, the newest first. page: the address of a run, whose id
    follows; None where there is no lasting server.
    """
    shown = rows[:MOST]
    per = next((one["kpi_per"] for one in shown if one["kpi_per"]), None)
    marks = [_mark(one, rows, threshold) for one in shown]
    kpi = next((one["kpi"] for one in shown if one["kpi"]), None)
    figures = [one["energy_j"] if kpi is None else one["kpi_value"] if one["kpi"] == kpi else None for one in shown]
    parts = [
        f"### {text(name)}: its last {len(shown)} runs" if len(shown) > 1 else f"### {text(name)}: its first run",
        _said(shown, marks),
        _chart(shown, figures, marks, f"joules per {per}" if per else "energy of the run"),
        table(
            "Runs",
            ["run", cell("energy", "CO2eq"), cell("KPI", "change")],
            2,
            [_row(one, mark, page, kpi) for one, mark in zip(shown, marks, strict=True)],
        ),
        (
            f"{f'KPI: joules per {text(per)}. ' if per else ''}The change is against the median of the completed runs "
            f"among the {MOST} before, without lower bounds, of 30 days at most; "
            f"marked above {units.percent(threshold)}."
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _said(rows: Sequence[Headline], marks: Sequence[tuple[str, bool]]) -> str:
    """The last run in a sentence."""
    (change, regressed), last = marks[0], rows[0]
    ended = f" ({text(phrases.status(last['status']))})" if last["status"] in phrases.BROKEN else ""
    used = f"The last run{ended} used {_bound(last, units.joules(last['energy_j']))}"
    median = "the median"
    if last["kpi"]:
        per = text(last["kpi_per"])
        used += f", {_bound(last, units.joules(last['kpi_value']))} per {per}"
        median += f" of joules per {per}"
    elif any(one["kpi"] for one in rows):
        median += " energy"
    if not change:
        return f"{used}; too few runs before it tell what is usual."
    if change == units.UNKNOWN:
        return f"{used}; whether that is above or below {median} is not known."
    said = change.replace(">=", "at least")
    return f"{used}: {'**a regression**, ' if regressed else ''}{said} against {median}."


def _mark(one: Headline, rows: Sequence[Headline], threshold: float) -> tuple[str, bool]:
    """How a run differs from the runs before it, "-" where nobody knows, and whether it is known to be a regression."""
    found = compared(one, rows)
    if found is None:
        return "", False
    change = units.change(None if found.change is None else 100 * found.change)
    return units.at_least(change, found.at_least), bool(found.regressed(threshold))


def _chart(
    shown: Sequence[Headline], figures: Sequence[float | None], marks: Sequence[tuple[str, bool]], what: str
) -> str:
    """The energy per unit, or of the run, from the oldest to the newest; a run without it leaves its place empty."""
    columns = [
        chart.Column(figure, regressed, one["status"] in phrases.BROKEN)
        for one, figure, (_, regressed) in zip(shown, figures, marks, strict=True)
    ]
    # where one is a lower bound, nobody knows which is the highest
    lower = any(one["lower_bound"] for figure, one in zip(figures, shown, strict=True) if figure)
    svg = chart.columns(columns[::-1], what, lower_bound=lower)
    return f"![Energy by run]({chart.data_url(svg)})" if svg else ""


def _row(one: Headline, mark: tuple[str, bool], page: str | None, kpi: str | None) -> list[str]:
    change, regressed = mark
    if kpi and not one["kpi"] and change not in ("", units.UNKNOWN):
        change += " energy"  # a failed run has no outcome by which it could be compared
    name = name_lines(one["name"] or one["run_id"], NAME)
    lines = [f"[{line}]({page}{one['run_id']})" if page else line for line in name]
    status = text(phrases.STATUS.get(one["status"], phrases.status(one["status"])))
    value: Any = one["kpi_value"]
    known = value is not None
    return [
        cell(*lines, units.clock(one["started_at"])[5:16], f"**{status}**" if one["status"] in phrases.BROKEN else ""),
        cell(
            _bound(one, units.joules(one["energy_j"])),
            _bound(one, units.grams(one["emissions_g"])) if one["emissions_g"] is not None else "",
        ),
        cell(
            _bound(one, units.quantity(value, "J")) if known or not change else "",
            f"**{text(change)}**" if regressed else text(change),
        ),
    ]


def _bound(one: Headline, figure: str) -> str:
    """A figure as markdown, marked where it is a lower bound."""
    return text(units.at_least(figure, one["lower_bound"]))
