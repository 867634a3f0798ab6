"""The summary as markdown for the Prefect page. Raw SVG would be stripped there, so the chart is an image."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from e2s_tasks.core.energy import add
from e2s_tasks.reporter import chart, phrases, units, waiting
from e2s_tasks.reporter.phrases import Summary
from e2s_tasks.reporter.steps import share

MOST_ROWS = 30
_COMMAND = re.compile(r"\\`(e2s [a-z]+)\\`")
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&$#])")


def render(summary: Summary) -> str:
    """The summary as markdown."""
    parts = [
        _headline(summary), _chart(summary), _steps(summary), _artifacts(summary), _grid(summary), _facts(summary),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def text(words: object) -> str:
    """The words as markdown that shows them as they are, on one line and inside a table's cell."""
    return _SPECIAL.sub(r"\\\1", units.printable(str(words)))


def said(sentence: str) -> str:
    """A sentence of `phrases` as markdown: the same, but the commands in it are code."""
    return _COMMAND.sub(r"`\1`", text(sentence))


def _headline(summary: Summary) -> str:
    lines = [f"### {text(phrases.title(summary))}", "", f"**{said(phrases.energy(summary))}**"]
    kpis = phrases.kpi_lines(summary)
    more = (phrases.biggest(summary), phrases.lost(summary), waiting.waited(summary), phrases.cached(summary))
    lines += [
        "",
        *(f"- {said(line)}" for line in [phrases.facility(summary), phrases.emissions(summary), *kpis, *more] if line),
    ]
    return "\n".join(lines)


def _chart(summary: Summary) -> str:
    svg = chart.bars(summary["consumers"])
    return f"![Energy by step]({chart.data_url(svg)})" if svg else ""


def _grid(summary: Summary) -> str:
    """The grid that the decision looked at, with the run in it, or the plan where it has not begun."""
    plan = summary["carbon"]
    slots = (
        []
        if plan is None
        else [(*map(_epoch, (one["start"], one["end"])), one["gco2eq_per_kwh"]) for one in plan["curve"]]
    )
    if plan is None or not slots:
        return ""
    run, waited = summary["flow_run"], summary["waited"]
    if waited is not None and waited["began_at"] is None:
        what, marked = "the planned run", (plan["start"], plan["end"])
    else:
        what, marked = (
            "the run",
            (waited["began_at"] if waited else run["started_at"], run["ended_at"] or run["started_at"]),
        )
    today = plan["curve"][0]["start"]
    labels = units.clock(today), units.clock(plan["curve"][-1]["end"], today=today)
    svg = chart.curve(slots, (_epoch(marked[0]), _epoch(marked[1])), labels)
    return f"#### The grid, with {what} in orange\n\n![Carbon intensity]({chart.data_url(svg)})" if svg else ""


def _epoch(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def table(title: str, head: list[str], figures: int, rows: Iterable[list[str]]) -> str:
    """A table whose last columns hold figures."""
    alignment = [":--"] * (len(head) - figures) + ["--:"] * figures
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, alignment, *rows)).join((f"#### {title}\n\n", ""))


def _steps(summary: Summary) -> str:
    shown, folded = phrases.top_rows(summary, MOST_ROWS)
    rows = [_step(row) for row in shown]
    if folded:
        joules = add(row["inclusive_j"] for row in folded)
        total = summary["energy_j"]["total"]
        cpu = units.seconds(sum(row["cpu_s"] for row in folded))
        part = units.percent(share(joules, total))
        rows.append([f"*{len(folded)} smaller steps*", text(phrases.together(folded)), part, "", "", "", cpu, "", ""])
    total = summary["energy_j"]["total"]
    whole = units.percent(1.0 if total else None)
    total_row = ["**total**", f"**{text(phrases.whole(summary))}**", f"**{whole}**", *[""] * 6]
    head = ["step", "energy", "share", "status", "try", "time", "CPU", "read", "written"]
    return table("Steps", head, 8, [*rows, total_row])


def _step(row: dict[str, Any]) -> list[str]:
    name = "&emsp;" * min(row["depth"], 6) + text(phrases.step_name(row))
    word = text(phrases.mark(row))
    return [
        name,
        text(phrases.row_joules(row)),
        units.percent(row["share"]),
        f"**{word}**" if row["status"] in phrases.BROKEN else word,
        "" if row["attempt"] is None else str(row["attempt"]),
        units.seconds(row["duration_s"]),
        units.seconds(row["cpu_s"]),
        units.size(row["bytes_read"]),
        units.size(row["bytes_written"]),
    ]


def _artifacts(summary: Summary) -> str:
    if not summary["artifacts"]:
        return ""
    rows = [_artifact(one) for one in summary["artifacts"]]
    if summary["unclaimed_j"]:
        rows.append(["*no final product*", "", "", "", "", "", units.joules(summary["unclaimed_j"]), ""])
    head = ["artifact", "version", "produced by", "size", "in-run", "fully loaded", "attributed", "CO2eq"]
    whole = table("Energy-to-Solution of artifacts", head, 4, rows)
    by = phrases.attributed(summary)
    reasons = [f"- {text(by)}"] if by else []
    reasons += [f"- \\>= a lower bound: {text(reason)}" for reason in phrases.reasons(summary)]
    return "\n\n".join([whole, "\n".join(reasons)] if reasons else [whole])


def _artifact(one: dict[str, Any]) -> list[str]:
    def bound(figure: str) -> str:
        return text(phrases.bounds(one)) + figure if figure != units.UNKNOWN else figure

    return [
        text(phrases.artifact_name(one["uri"])),
        "" if one["version"] is None else str(one["version"]),
        text(one["produced_by"] or units.UNKNOWN),
        units.size(one["bytes"]),
        bound(units.joules(one["in_run_j"])),
        text(phrases.fully_loaded(one)),
        bound(units.joules(one["attributed_j"])),
        bound(units.grams(one["emissions_g"])),
    ]


def _facts(summary: Summary) -> str:
    gaps, stages, grid = phrases.gaps(summary), phrases.stages(summary), phrases.grid(summary)
    unrecorded, not_made = phrases.unrecorded(summary), phrases.not_made(summary)
    facts = [
        *phrases.provenance(summary),
        *([("gaps", gaps)] if gaps else []),
        *([("products", not_made)] if not_made else []),
        *([("stages", stages)] if stages else []),
        ("not attributed", f"{phrases.not_attributed(summary)}; {phrases.idle_policy(summary)}"),
        *([("unrecorded I/O", unrecorded)] if unrecorded else []),
        *([("grid", grid)] if grid else []),
        ("carbon", waiting.carbon(summary)),
    ]
    lines = [f"- **{word}**: {said(what)}" for word, what in facts]
    more = f"More: `e2s show {summary['flow_run']['id']}`"
    return "\n".join(["#### What the figures rest on", "", *lines, "", more])
