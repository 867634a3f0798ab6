"""The answers of `e2s` as tables for people."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from e2s_tasks.core.energy import add
from e2s_tasks.core.records import Status
from e2s_tasks.reporter import origins, phrases, units
from e2s_tasks.reporter.fitting import LEAST, FittingTable
from e2s_tasks.reporter.terminal import WIDE, console

STARTED, WRITTEN = "started (UTC)", "written (UTC)"
MOST_ROWS = 40
LONGEST = 1_000  # letters of a name that a terminal may show
NARROW, LEAST_WITH_TIMES = 72, 50  # columns, below which runs have no room for names and times, or for when they began
LEAST_OF_ANCESTOR = 16  # columns of a name, below which figures are left out
MOST_OTHERS = 5
NOTHING_YET = "No runs yet: run `make run`, or decorate a flow with @e2s_flow and run it."


def print_runs(rows: list[dict[str, Any]]) -> None:
    """Runs, one a line: names that are too long for it lose their middle, the longest first."""
    if not rows:
        console().print(NOTHING_YET)
        return
    out = console()
    more, figures = (("name",), ("time", "energy")) if out.width >= NARROW else ((), ("energy",))
    began, year = (STARTED, 0) if out.width >= WIDE else ("began (UTC)", len("2026-"))
    when = (began,) if out.width >= LEAST_WITH_TIMES else ()
    table = FittingTable(
        "run", "flow", *more, "status", *when, *figures, texts=("flow", "name"), left=("run", "status", *when),
        spared=("status",), gap=1,
    )  # fmt: skip
    for row in rows:
        told: dict[str, str | _OnOneLine] = {
            "name": _OnOneLine(row["name"] or ""),
            began: units.clock(row["started_at"])[year:16],
            "time": _took(row),
            "energy": units.at_least(units.joules(row["energy_j"]), row["lower_bound"]),
        }
        table.add_row(
            row["id"][:8],
            _OnOneLine(row["flow"]),
            *(told[column] for column in more),
            phrases.WAITS if row["waits"] else phrases.STATUS.get(row["status"], row["status"]),
            *(told[column] for column in (*when, *figures)),
            style="red" if row["status"] in phrases.BROKEN else "",
        )
    out.print(table)


def _took(row: dict[str, Any]) -> str:
    if row["duration_s"] is not None or row["status"] != Status.RUNNING:
        return units.seconds(row["duration_s"])
    began = datetime.fromisoformat(row["started_at"])
    return f"{units.seconds(max(0.0, (datetime.now(UTC) - began).total_seconds()))} so far"


class _OnOneLine:
    """A name without its middle where its column is too narrow: many begin alike, and differ in a time at their end."""

    def __init__(self, name: str) -> None:
        self._text = Text(units.printable(name[:LONGEST]), no_wrap=True)

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(LEAST, self._text.cell_len), self._text.cell_len).with_maximum(options.max_width)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[Text]:
        name, width = self._text.plain, options.max_width
        if cell_len(name) > width:
            end = next(name[start:] for start in range(len(name) + 1) if cell_len(name[start:]) <= width // 2)
            name = f"{set_cell_size(name, (width - 1) // 2)}…{end}"
        yield Text(name, no_wrap=True, overflow="crop")


def print_artifact(found: dict[str, Any]) -> None:
    """A version of an artifact, and the tree of what its energy went into."""
    out = console()
    (one,) = found["versions"]
    name = units.printable(found["uri"])
    out.print(Text.assemble((name, "bold"), f"  version {one['version']}, {units.clock(one['created_at'])}"))
    for line in origins.artifact(one):
        out.print(Text(line))
    rows, folded = ancestors(one["tree"], MOST_ROWS) if one["tree"] else ([], [])
    table = FittingTable(
        "came from", "energy", "share", "rests on", texts=("came from",), left=("rests on",), spared=("rests on",),
        least=LEAST_OF_ANCESTOR,
    )  # fmt: skip
    for row in rows:
        above = None if row["parent"] is None else one["tree"][row["parent"]]
        style = "" if row["own_j"] is not None else "dim" if row["repeated"] else "bold"
        for number, cells in enumerate(origins.ancestor(row, above)):
            table.add_row(*cells, style="dim" if number else style)
    if folded:
        own = units.joules(add(row["own_j"] for row in folded))
        lower = any(row["lower_bound"] for row in folded)
        table.add_row(f"... {len(folded)} smaller ones", units.at_least(own, lower), "", "", style="dim")
    out.print(table)
    for line in [*origins.loaded_reasons(one), *_others(found)]:
        out.print(Text(line, style="dim"))


def _others(found: dict[str, Any]) -> list[str]:
    """That other artifacts are called so, too."""
    return [f"another artifact that is called so: {units.printable(uri)}" for uri in found["others"][:MOST_OTHERS]]


def ancestors(rows: list[dict[str, Any]], most: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows to show, the biggest with what they are part of, and those to fold."""
    order = sorted(range(len(rows)), key=lambda i: (-(rows[i]["joules"] or 0.0), i))
    kept = {0}
    for index in order:
        if len(kept) >= most:
            break
        above: int | None = index
        while above is not None and above not in kept:
            kept.add(above)
            above = rows[above]["parent"]
    folded = [i for i in range(len(rows)) if i not in kept]
    if len(folded) == 1:  # it takes no more room itself
        kept, folded = kept | {*folded}, []
    return [rows[i] for i in sorted(kept)], [rows[i] for i in folded]


def print_history(found: dict[str, Any]) -> None:
    """An artifact's versions, the last one first, and what changed."""
    out = console()
    out.print(Text(units.printable(found["uri"]), style="bold"))
    heads = ("v", WRITTEN, "run", "by", "size", "rows", "in-run", "fully loaded", "in-run change")
    table = FittingTable(
        *heads, texts=("by",), left=("v", WRITTEN, "run"), gap=1,
        spared=("rows", "size", "run", "by", "fully loaded", "in-run change"),
    )  # fmt: skip
    for one in reversed(found["versions"]):
        table.add_row(
            str(one["version"]),
            units.clock(one["created_at"])[:16],
            one["run_id"][:8],
            units.printable(one["produced_by"] or units.UNKNOWN),
            units.size(one["bytes"]),
            units.count(one["rows"]),
            phrases.in_run(one),
            phrases.fully_loaded(one),
            origins.ratio(one["change"]),
        )
    out.print(table)
    change = origins.change(found["versions"][-1]) if found["versions"] else None
    if change:
        out.print(Text(change))
    reasons = phrases.reasons({"artifacts": found["versions"]})
    for line in [*(f">= a lower bound: {reason}" for reason in reasons), *_others(found)]:
        out.print(Text(line, style="dim"))


def print_doctor(found: dict[str, Any]) -> None:
    """What was found, and how to mend it."""
    out = console()
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", overflow="fold", max_width=32)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    styles = {"ok": "green", "missing": "dim", "failed": "red"}
    for one in found["findings"]:
        state = Text(one["provenance"] if one["provenance"] and one["state"] == "ok" else one["state"])
        state.stylize(styles.get(one["state"], ""))
        table.add_row(one["name"], state, Text(one["detail"]))
        if one["fix"]:
            table.add_row("", "", Text(f"{'hint' if one['state'] == 'ok' else 'fix'}: {one['fix']}", style="dim"))
    out.print(table)
    out.print(Text(f"Data directory: {found['data_dir']}"))


def facts() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def print_export(found: dict[str, Any]) -> None:
    """What was exported, one record type a line."""
    table = FittingTable("records", "days", "rows", texts=(), left=("records",))
    for one in found["records"]:
        table.add_row(one["records"], units.count(one["days"]), units.count(one["rows"]))
    console().print(table)
    console().print(Text(f"in {units.printable(found['folder'])}"))


def print_prune(found: dict[str, Any]) -> None:
    """What was folded, in one line."""
    what = f"{units.count(found['spans'])} inner spans of {units.count(found['runs'])} runs"
    if found["dry_run"]:
        console().print(Text(f"{what} would be folded into those around them; nothing was changed."))
        return
    size = ""
    if found["size_after"] is not None:
        size = f"; the ledger had {units.size(found['size_before'])} and has {units.size(found['size_after'])}"
    elif found["spans"]:
        size = "; the space is used again, and was not given back: others are using the ledger"
    console().print(Text(f"{what} were folded into those around them{size}."))
