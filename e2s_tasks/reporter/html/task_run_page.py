"""Pages for the frames of an orchestrator's own: of a task run with its attempts, of latest runs, and of nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import e2s_tasks.reporter.html.run_tables as tables
from e2s_tasks.core.plurals import plural
from e2s_tasks.reporter import phrases, provenance, units
from e2s_tasks.reporter.html import charts
from e2s_tasks.reporter.html.page import Card, Row, Table, lines, render
from e2s_tasks.reporter.phrases import Summary


def render_task_run(found: Summary, title: str, run_href: str, now: datetime | None = None) -> str:
    """The page of one or several task runs of one task, from `summarise_task_runs`. run_href: the page of their run."""
    return render(
        "task_run.html.jinja",
        inside=True,
        title=units.printable(title),
        facts=_facts(found),
        cards=_cards(found),
        sentences=_sentences(found),
        run_href=run_href,
        where=charts.bars("attempts", _bars(found), "Energy by attempt") if len(found["attempts"]) > 1 else None,
        attempts=_attempts(found),
        moved=_moved(found),
        artifacts=tables.artifacts(found),
        bounds=phrases.reasons(found),
        components=tables.components(found),
        gaps=provenance.gaps(found),
        idle=provenance.idle_policy(found),
        made=_made(now),
    )


def render_runs(title: str, rows: Sequence[Row], now: datetime | None = None) -> str:
    """The page of a flow's latest runs; a row has name, status, energy, duration and start."""
    head = ["run", "status", "energy", "took", "started"]
    table = Table("The latest runs and what each used", head, list(rows), texts=(0, 1))
    return render(
        "runs.html.jinja", inside=True, title=units.printable(title), facts=[], cards=[], sentences=[], runs=table,
        made=_made(now),
    )  # fmt: skip


def render_nothing(title: str, said: str, reasons: Sequence[tuple[str, str]], now: datetime | None = None) -> str:
    """The page that says why there is nothing to see. reasons: what may be so, and the remedy."""
    return render(
        "nothing.html.jinja", inside=True, title=units.printable(title), facts=[], cards=[], sentences=[], said=said,
        reasons=reasons, made=_made(now),
    )  # fmt: skip


def _made(now: datetime | None) -> str:
    return f"{now or datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _goes_on(found: Summary) -> bool:
    return any(one["status"] in {"running", "suspended"} for one in found["attempts"])


def _facts(found: Summary) -> list[tuple[str, str]]:
    last = found["attempts"][-1]
    facts = [
        ("status", phrases.status(last["status"])),
        ("started", units.clock(found["attempts"][0]["started_at"])),
        ("worked for", units.seconds(found["duration_s"])),
        ("attempts", units.count(len(found["attempts"]))),
    ]
    return [(word, units.printable(text)) for word, text in facts if text != units.UNKNOWN]


def _cards(found: Summary) -> list[Card]:
    """What a newcomer has to see: energy, its part of the run, CPU time and memory."""
    so_far = " so far" if _goes_on(found) else ""
    joules = found["energy_j"]["total"]
    worth = phrases.worth(found).removeprefix(", ") if joules is not None else phrases.energy(found)
    energy = lines(None if joules is None else units.watt_hours(joules), worth)
    run = units.at_least(units.joules(found["run_j"]), found["run_lower_bound"])
    of = f"of {run} that the run used{phrases.so_far(found)}" if found["run_j"] else "not known"
    memory = found["peak_memory_bytes"]
    peak = "the most that an attempt's process had, with the orchestrator's own code"
    if memory is None:
        peak = "told when an attempt ends" if so_far else "the process of no attempt told it: it was killed"
    return [
        Card(f"Energy{so_far}", phrases.whole(found), energy),
        Card(f"Share of the run{so_far}", units.percent(found["share"]), (of,)),
        Card(f"CPU time{so_far}", units.seconds(found["cpu_s"]), lines(_cores(found))),
        Card("Peak memory", units.size(memory), (peak,)),
    ]


def _cores(found: Summary) -> str | None:
    """How many cores were busy on average."""
    took = found["duration_s"]
    return f"{units.number(found['cpu_s'] / took, 2)} CPUs busy on average" if took else None


def _sentences(found: Summary) -> list[str]:
    said = []
    lost = [one for one in found["attempts"] if one["status"] in phrases.BROKEN and one["inclusive_j"]]
    if lost:
        lower = any(one["lower_bound"] for one in lost)
        joules = units.at_least(units.joules(sum(one["inclusive_j"] for one in lost)), lower)
        attempts = f"{len(lost)} {plural('attempt', len(lost))}"
        said.append(f"{joules} of it in {attempts} that did not succeed.")
    if _goes_on(found):
        said.append("It still goes on: these are the figures so far, at most a few seconds old. Reload to see more.")
    return said


def _bars(found: Summary) -> list[charts.Bar]:
    """A bar for each attempt."""
    return [
        charts.Bar(
            _name(one, found), one["inclusive_j"] or 0.0,
            f"{phrases.row_joules(one)}, {units.percent(one['share'])}",
            (one["inclusive_j"] or 0.0) if one["status"] in phrases.BROKEN else 0.0,
            lower_bound=one["lower_bound"], lost_lower_bound=one["lower_bound"],
        )
        for one in found["attempts"]
    ]  # fmt: skip


def _name(one: dict[str, Any], found: Summary) -> str:
    """An attempt by its try, with the task run's name where there are several."""
    several = len({other["task_run_id"] for other in found["attempts"]}) > 1
    return f"{phrases.step_name(one)} try {one['attempt']}" if several else f"try {one['attempt']}"


def _attempts(found: Summary) -> Table:
    """Each attempt, with its range and what it rests on, and the rows of what went on inside it."""
    moved = _moved(found)
    head = [
        "attempt", "status", "energy", "share", "time", "CPU time", "memory",
        *(["read", "written"] if moved else []), "it is", "range",
    ]  # fmt: skip
    rows = []
    for one in found["attempts"]:
        kind = "lost" if one["status"] in phrases.BROKEN else ""
        known = one["energy_j"]["total"] is not None
        worth = [phrases.rests_on(one) if known else "missing", tables.between(one["energy_j_range"]["total"])]
        rows.append(Row(_cells(one, _name(one, found), worth, moved=moved), kind))
        for row in one["rows"]:
            cells = _cells(row, phrases.step_name(row), ["", ""], moved=moved)
            rows.append(Row(cells, "", min(row["depth"], 6)))
    if len(found["attempts"]) > 1:
        worth = ["", tables.between(found["energy_j_range"]["total"])]
        total = found | {"status": None, "lower_bound": bool(found["gaps"])}
        rows.append(Row(_cells(total, "total", worth, moved=moved), "total"))
    return Table("Attempts and what each used", head, rows, texts=(0, 1, len(head) - 2))


def _moved(found: Summary) -> bool:
    """Whether a read or a write of it was recorded."""
    return found["bytes_read"] is not None or found["bytes_written"] is not None


def _cells(row: dict[str, Any], name: str, worth: list[str], *, moved: bool) -> list[str]:
    return [
        name,
        phrases.mark(row),
        phrases.row_joules(row),
        units.percent(row["share"]),
        units.seconds(row["duration_s"]),
        units.seconds(row["cpu_s"]),
        units.size(row["peak_memory_bytes"]),
        *([units.size(row["bytes_read"]), units.size(row["bytes_written"])] if moved else []),
        *worth,
    ]
