"""The summary as markdown for the Prefect page. Raw SVG would be stripped there, so the chart is an image."""

import re
from collections.abc import Iterable
from datetime import datetime
from textwrap import wrap
from typing import Any

from e2s_tasks.core.energy import add
from e2s_tasks.core.records import Status
from e2s_tasks.reporter import chart, phrases, provenance, units, waiting
from e2s_tasks.reporter.phrases import Summary
from e2s_tasks.reporter.steps import share

MOST_ROWS = 30
WIDEST = 22  # characters of a line in a table's first column, so that all columns fit on a phone
INSIDE = "\u00b7 "  # for each level that a row lies inside others: blanks at the start of a cell are not shown
WELL = {"", "ok"}
_COMMAND = re.compile(r"\\`(e2s [a-z]+)\\`")
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&$#])")


def render(summary: Summary, now: datetime | None = None) -> str:
    """The summary as markdown. now: as of when a run that goes on is told."""
    parts = [
        _headline(summary), _as_of(summary, now), _chart(summary), _steps(summary), _artifacts(summary), _grid(summary),
        _facts(summary),
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
    more = (phrases.biggest(summary), phrases.lost(summary), waiting.avoided(summary), phrases.cached(summary))
    lines += [
        "",
        *(f"- {said(line)}" for line in [phrases.facility(summary), phrases.emissions(summary), *kpis, *more] if line),
    ]
    return "\n".join(lines)


def _as_of(summary: Summary, now: datetime | None) -> str:
    """When the figures of a run that goes on were taken: of one that was killed the next command alone tells that."""
    if now is None or summary["flow_run"]["status"] != Status.RUNNING:
        return ""
    return text(f"As of {now:%Y-%m-%d %H:%M:%S} UTC. Reload to see more.")


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
    """A table whose last columns hold figures. Prefect cuts what is wider than a phone, so it has few of them."""
    alignment = [":--"] * (len(head) - figures) + ["--:"] * figures
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, alignment, *rows)).join((f"#### {title}\n\n", ""))


def cell(*lines: str) -> str:
    """A table's cell of the lines that say something."""
    return "<br>".join(line for line in lines if line)


def name_lines(name: str, widest: int = WIDEST) -> list[str]:
    """A name as markdown in lines that a phone is wide enough for: a cell does not wrap by itself."""
    return [text(line) for line in wrap(units.printable(name), widest)] or [""]


def _steps(summary: Summary) -> str:
    shown, folded = phrases.top_rows(summary, MOST_ROWS)
    rows = [_step(row) for row in shown]
    if folded:
        part = units.percent(share(add(row["inclusive_j"] for row in folded), summary["energy_j"]["total"]))
        cpu = f"CPU {units.seconds(sum(row['cpu_s'] for row in folded))}"
        rows.append([cell(f"*{phrases.others(folded)}*", cpu), text(phrases.together(folded)), part])
    whole = units.percent(1.0 if summary["energy_j"]["total"] else None)
    total_row = ["**total**", f"**{text(phrases.whole(summary))}**", f"**{whole}**"]
    return table(phrases.steps_title(folded), ["step", "energy", "share"], 2, [*rows, total_row])


def _step(row: dict[str, Any]) -> list[str]:
    """The row: below the step's name how it ended if not well, its times, and the bytes that it moved."""
    first, *more = name_lines(phrases.step_name(row))
    name = [INSIDE * min(row["depth"], 6) + first, *more]
    word, attempt = phrases.mark(row), row["attempt"]
    ended = [] if word in WELL else [f"**{text(word)}**" if row["status"] in phrases.BROKEN else text(word)]
    tries = [f"try {attempt}"] if attempt is not None and (attempt > 1 or row["status"] in phrases.BROKEN) else []
    times = [units.seconds(row["duration_s"])] if row["duration_s"] is not None else []
    moved = [
        f"{units.size(row[name])} {word}"
        for name, word in (("bytes_read", "in"), ("bytes_written", "out"))
        if row[name]
    ]
    below = [*ended, *tries], [*times, f"CPU {units.seconds(row['cpu_s'])}"], moved
    return [
        cell(*name, *(", ".join(parts) for parts in below)),
        text(phrases.row_joules(row)),
        units.percent(row["share"]),
    ]


def _artifacts(summary: Summary) -> str:
    if not summary["artifacts"]:
        return ""
    rows = [_artifact(one) for one in summary["artifacts"]]
    if summary["unclaimed_j"]:
        rows.append(["*no final product*", f"{text(phrases.unclaimed(summary))} attributed"])
    whole = table("Energy-to-Solution of artifacts", ["artifact", "energy, CO2eq"], 1, rows)
    by = phrases.attributed(summary)
    reasons = [f"- {text(by)}"] if by else []
    reasons += [f"- \\>= a lower bound: {text(reason)}" for reason in phrases.reasons(summary)]
    return "\n\n".join([whole, "\n".join(reasons)] if reasons else [whole])


def _artifact(one: dict[str, Any]) -> list[str]:
    """The row: below the artifact's name who made it and its size; its energy and emissions, one a line."""

    def bound(figure: str, what: str) -> str:
        return f"{text(units.at_least(figure, one['lower_bound']))} {what}" if figure != units.UNKNOWN else ""

    first, *more = name_lines(phrases.artifact_name(one["uri"]))
    version = "" if one["version"] is None else f" v{one['version']}"
    name = [first, *more]
    name[-1] += version
    made = [f"by {line}" if not number else line for number, line in enumerate(name_lines(one["produced_by"] or ""))]
    loaded = text(phrases.fully_loaded(one)) if one["upstream_runs"] else units.UNKNOWN  # else the in-run figure again
    return [
        cell(*name, *(made if one["produced_by"] else []), units.size(one["bytes"]) if one["bytes"] else ""),
        cell(
            bound(units.joules(one["in_run_j"]), "in-run") or f"{units.UNKNOWN} in-run",
            f"{loaded} fully loaded" if loaded != units.UNKNOWN else "",
            bound(units.joules(one["attributed_j"]), "attributed"),
            bound(units.grams(one["emissions_g"]), "CO2eq"),
        ),
    ]


def _facts(summary: Summary) -> str:
    gaps, stages, grid = provenance.gaps(summary), phrases.stages(summary), phrases.grid(summary)
    unrecorded, not_made = provenance.unrecorded(summary), phrases.not_made(summary)
    divided = provenance.divided(summary)
    facts = [
        *provenance.provenance(summary),
        *([("gaps", gaps)] if gaps else []),
        *([("products", not_made)] if not_made else []),
        *([("stages", stages)] if stages else []),
        *([("divided", divided)] if divided else []),
        ("not attributed", f"{provenance.not_attributed(summary)}; {provenance.idle_policy(summary)}"),
        *([("unrecorded I/O", unrecorded)] if unrecorded else []),
        *([("grid", grid)] if grid else []),
        ("carbon", waiting.carbon(summary)),
    ]
    lines = [f"- **{word}**: {said(what)}" for word, what in facts]
    more = f"More: `e2s show {summary['flow_run']['id']}`"
    return "\n".join(["#### What the figures rest on", "", *lines, "", more])
