"""A table that leaves out whole columns where a terminal has no room for them: no figure is ever cut, nor folded."""

from collections.abc import Collection, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

LEAST = 8  # columns of a text that folds


class FittingTable:
    """Columns of which those in `texts` fold, and the others stay whole.

    spared: the columns that are left out where there is no room, the first one first. least: the columns of a text
    below which others are left out. left: whole columns that hold words. gap: columns between two, one where they are
    needed.
    """

    def __init__(
        self,
        *heads: str,
        texts: Collection[str],
        spared: Sequence[str] = (),
        left: Collection[str] = (),
        least: int = LEAST,
        gap: int = 2,
        title: str | None = None,
    ) -> None:
        self._heads, self._texts, self._spared, self._left = heads, texts, spared, left
        self._least, self._gap, self._title = least, gap, title
        self._rows: list[tuple[list[RenderableType], str]] = []

    def add_row(self, *cells: RenderableType, style: str = "") -> None:
        """Add a row. A text that begins with spaces is indented by them in each line that it folds onto."""
        self._rows.append(([_indented(cell) for cell in cells], style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """The table with the columns for which there is room."""
        widths = [self._width(index, console, options) for index in range(len(self._heads))]
        shown = list(range(len(self._heads)))
        for head in (None, *self._spared):
            shown = [index for index in shown if self._heads[index] != head]
            for gap in (self._gap, 1):
                if sum(widths[index] for index in shown) + gap * (len(shown) - 1) <= options.max_width:
                    yield self._table(shown, gap)
                    return
        yield self._table(shown, 1)

    def _width(self, index: int, console: Console, options: ConsoleOptions) -> int:
        """The columns without which others are left out."""
        head, cells = self._heads[index], [cells[index] for cells, _ in self._rows]
        wide = options.update(width=10 * options.max_width)
        natural = max([cell_len(head), *(Measurement.get(console, wide, one).maximum for one in cells)])
        if head not in self._texts:
            return natural
        return min(natural, self._least + max((one.indent for one in cells if isinstance(one, _Indented)), default=0))

    def _table(self, shown: Sequence[int], gap: int) -> Table:
        table = Table(title=self._title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        table.padding = (0, gap, 0, 0)
        for index in shown:
            head = self._heads[index]
            text = head in self._texts
            table.add_column(
                head, overflow="fold", no_wrap=not text, justify="left" if text or head in self._left else "right"
            )
        for cells, style in self._rows:
            table.add_row(*(cells[index] for index in shown), style=style)
        return table


def _indented(cell: RenderableType) -> RenderableType:
    if isinstance(cell, str) and cell.startswith(" "):
        return _Indented(cell.lstrip(" "), len(cell) - len(cell.lstrip(" ")))
    return cell


class _Indented:
    """A text whose lines are all indented alike, by less where that would leave it no room."""

    def __init__(self, text: str, indent: int) -> None:
        self._text, self.indent = Text(text), indent

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        whole = self.indent + self._text.cell_len
        return Measurement(min(LEAST, whole), whole).with_maximum(options.max_width)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[Padding]:
        yield Padding(self._text, (0, 0, 0, max(0, min(self.indent, options.max_width - LEAST))))
