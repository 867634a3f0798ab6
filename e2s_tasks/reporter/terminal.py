"""The summary in a terminal: readable at 80 columns, without colour through a pipe, in any encoding."""

import sys
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from e2s_tasks.core.energy import add
from e2s_tasks.reporter import phrases, provenance, units, waiting
from e2s_tasks.reporter.commands import command
from e2s_tasks.reporter.fitting import FittingTable
from e2s_tasks.reporter.folding import fold
from e2s_tasks.reporter.phrases import Summary
from e2s_tasks.reporter.steps import share

WIDE = 100
MOST_ROWS = 40
INDENT = 2
DEEPEST = 6
MOST_REASONS = 4
FRAME = 6  # columns of a panel's corners and of the spaces around its title
STEP = ("step", "status", "try", "time", "CPU", "energy", "share", "read", "written")
LEAST_OF_STEP, LEAST_OF_ARTIFACT = 16, 16  # columns of a name, below which figures are left out
FACT = 16  # columns of the word before a fact


def print_summary(summary: Summary, *, page: str | None = None, stream: TextIO | None = None) -> None:
    """Write the summary to a stream, by default stdout. page: how to see it in the Prefect UI."""
    out = console(stream)
    out.print(render(summary, out.width))
    for word, whole in (("more", f"{command('e2s')} show {summary['flow_run']['id']}"), ("page", page)):
        for index, line in enumerate((whole or "").splitlines()):  # what is to be copied is not wrapped
            out.print(Text.assemble((f"{word if not index else '':<{FACT}}", "bold"), line), soft_wrap=True)


def console(stream: TextIO | None = None) -> Console:
    """A console on a stream, which replaces what the stream's encoding cannot write. Names are no markup."""
    file: Any = _Encodable(stream or sys.stdout)
    return _Console(file=file, highlight=False, markup=False, emoji=False)


class _Console(Console):
    """A console that leaves it to its caller what becomes of a reader who has seen enough."""

    def on_broken_pipe(self) -> None:
        """The error as it was, where rich would end the process."""
        raise BrokenPipeError


class _Encodable:
    """A text stream that writes "?" for what its encoding lacks."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write the text."""
        return self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def render(summary: Summary, width: int) -> RenderableType:
    """The summary as something that rich prints."""
    parts: list[RenderableType] = [_headline(summary, width), "", _steps(summary, width)]
    if summary["artifacts"]:
        parts += ["", _artifacts(summary, width), *_notes(summary)]
    parts += ["", _facts(summary)]
    return Group(*parts)


def _headline(summary: Summary, width: int) -> RenderableType:
    good = summary["flow_run"]["status"] == "completed"
    lines = [Text(phrases.energy(summary), style="bold"), Text(phrases.emissions(summary))]
    beside = phrases.facility(summary)
    lines += [Text(beside)] if beside else []
    lines += [Text(line, style="bold" if i == 0 else "") for i, line in enumerate(phrases.kpi_lines(summary))]
    found = (phrases.biggest(summary), phrases.lost(summary), waiting.avoided(summary), phrases.cached(summary))
    lines += [Text(line) for line in found if line]
    style = "green" if good else "yellow"
    title = Text(phrases.title(summary))
    if len(title) > width - FRAME:  # it would be cut there
        return Panel(Group(title, "", *lines), border_style=style)
    return Panel(Group(*lines), title=title, title_align="left", border_style=style)


def _steps(summary: Summary, width: int) -> FittingTable:
    rows, folded = phrases.top_rows(summary, MOST_ROWS)
    table = FittingTable(
        *STEP, texts=(STEP[0],), spared=("written", "read", "CPU", "try", "time", "status"), least=LEAST_OF_STEP,
        gap=2 if width >= WIDE else 1, title=phrases.steps_title(folded),
    )  # fmt: skip
    for row in rows:
        table.add_row(*_step(row), style=_style(row))
    if folded:
        table.add_row(*_folded(folded, summary), style="dim")
    total = [phrases.whole(summary), units.percent(1.0 if summary["energy_j"]["total"] else None)]
    table.add_row("total", "", "", "", "", *total, "", "", style="bold")
    return table


def _step(row: dict[str, Any]) -> list[str]:
    return [
        " " * INDENT * min(row["depth"], DEEPEST) + phrases.step_name(row),
        phrases.mark(row),
        "" if row["attempt"] is None else str(row["attempt"]),
        units.seconds(row["duration_s"]),
        units.seconds(row["cpu_s"]),
        phrases.row_joules(row),
        units.percent(row["share"]),
        units.size(row["bytes_read"]),
        units.size(row["bytes_written"]),
    ]


def _folded(rows: list[dict[str, Any]], summary: Summary) -> list[str]:
    joules = add(row["inclusive_j"] for row in rows)
    total = summary["energy_j"]["total"]
    cpu = units.seconds(sum(row["cpu_s"] for row in rows))
    part = units.percent(share(joules, total))
    return [f"... {phrases.others(rows)}", "", "", "", cpu, phrases.together(rows), part, "", ""]


def _style(row: dict[str, Any]) -> str:
    if row["status"] in phrases.BROKEN:
        return "red"
    return "dim" if row["depth"] else ""


def _artifacts(summary: Summary, width: int) -> FittingTable:
    loaded = any(one["upstream_runs"] for one in summary["artifacts"])  # else it is the in-run figure again
    names = ("artifact", "produced by")
    heads = [
        *(["size"] if width >= WIDE else []), "in-run", *(["fully loaded"] if loaded else []), "attributed",
        *(["CO2eq"] if width >= WIDE or not loaded else []),
    ]  # fmt: skip
    table = FittingTable(
        *names, *heads, texts=names, spared=("size", "CO2eq", "produced by", "attributed", "fully loaded"),
        least=LEAST_OF_ARTIFACT, title="Energy-to-Solution of artifacts",
    )  # fmt: skip
    for one in summary["artifacts"]:
        lower = one["lower_bound"]
        version = f" v{one['version']}" if one["version"] is not None else ""
        figures = {
            "size": units.size(one["bytes"]),
            "in-run": phrases.in_run(one),
            "fully loaded": phrases.fully_loaded(one),
            "attributed": units.at_least(units.joules(one["attributed_j"]), lower),
            "CO2eq": units.at_least(units.grams(one["emissions_g"]), lower),
        }
        made_by = units.printable(one["produced_by"] or units.UNKNOWN)
        table.add_row(phrases.artifact_name(one["uri"]) + version, made_by, *(figures[head] for head in heads))
    if summary["unclaimed_j"]:
        cells = [phrases.unclaimed(summary) if head == "attributed" else "" for head in heads]
        table.add_row("no final product", "", *cells, style="dim")
    return table


def _notes(summary: Summary) -> list[RenderableType]:
    reasons, more = fold(phrases.reasons(summary), MOST_REASONS)
    shown = [f">= a lower bound: {reason}" for reason in reasons]
    if more:
        shown.append(f"   and {len(more)} more reasons: e2s show --json")
    by = phrases.attributed(summary)
    return [Text(line, style="dim") for line in [*([by] if by else []), *shown]]


def _facts(summary: Summary) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True, min_width=FACT - 2)
    table.add_column(overflow="fold")
    for word, text in provenance.provenance(summary):
        table.add_row(word, Text(text))
    more = (("gaps", provenance.gaps), ("products", phrases.not_made), ("stages", phrases.stages))
    for word, said in ((word, say(summary)) for word, say in more):
        if said:
            table.add_row(word, Text(said))
    divided = provenance.divided(summary)
    if divided:
        table.add_row("divided", Text(divided))
    table.add_row("not attributed", Text(f"{provenance.not_attributed(summary)}; {provenance.idle_policy(summary)}"))
    unrecorded = provenance.unrecorded(summary)
    if unrecorded:
        table.add_row("unrecorded I/O", Text(unrecorded))
    grid = phrases.grid(summary)
    if grid:
        table.add_row("grid", Text(grid))
    table.add_row("carbon", Text(waiting.carbon(summary)))
    return table
