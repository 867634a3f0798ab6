"""Charts as SVG images that read well on a light and on a dark page, and on a phone: they are no wider than one."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from e2s_tasks.reporter import units
from e2s_tasks.reporter.folding import fold

WIDTH, MARGIN = 336, 12  # what is wider than both margins with it would be shrunk on a phone, and its text with it
ROW, BAR = 24, 8
LINE = 20  # from one line of text to the next
# An image does not know the page's theme, and no grey reads well on white and on near-black: it has its own paper.
PAPER, EDGE = "#ffffff", "#d0d7de"
TEXT, FILL = "#24292f", "#2f74b5"
MARKED = "#c2541b"
HIGH, WIDEST = 120, 48
MOST = 8
LONGEST = 30


def bars(consumers: list[dict[str, Any]]) -> str:
    """The SVG of the biggest consumers, the rest in one bar, with the part of failed attempts; empty where none is."""
    known = [one for one in consumers if one["share"]]
    if not known:
        return ""
    shown, rest = fold(known, MOST)
    if rest:
        shown = [*shown, {"name": f"{len(rest)} others", "inclusive_j": sum(one["inclusive_j"] for one in rest),
                          "unsuccessful_j": sum(one["unsuccessful_j"] for one in rest),
                          "share": sum(one["share"] for one in rest),
                          "lower_bound": any(one["lower_bound"] for one in rest)}]  # fmt: skip
    top = max(one["share"] for one in shown)
    shapes = "".join(_bar(index, one, top) for index, one in enumerate(shown))
    high = (LINE + ROW - BAR) * len(shown)
    if any(one["unsuccessful_j"] for one in shown):
        return _svg(high + LINE, shapes + _text(0, high + LINE - 6, "orange: attempts that did not succeed"))
    return _svg(high, shapes)


def _svg(height: float, shapes: str) -> str:
    wide, high = WIDTH + 2 * MARGIN, height + 2 * MARGIN
    paper = f'x="{0.5 - MARGIN}" y="{0.5 - MARGIN}" width="{wide - 1}" height="{high - 1}" rx="6"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" '
        f'viewBox="{-MARGIN} {-MARGIN} {wide} {high}" role="img" font-family="system-ui, sans-serif" font-size="14">'
        f'<rect {paper} fill="{PAPER}" stroke="{EDGE}"/>{shapes}</svg>'
    )


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{TEXT}">{escape(words)}</text>'


def _bar(index: int, one: dict[str, Any], top: float) -> str:
    """A bar below its name and its figure."""
    y = index * (LINE + ROW - BAR)
    name = units.printable(one["name"])
    figure = units.at_least(units.joules(one["inclusive_j"]), one["lower_bound"])
    middle, bar_y = y + LINE - 6, y + LINE
    width = max(WIDTH * one["share"] / top, 1)
    lost = width * one["unsuccessful_j"] / one["inclusive_j"] if one["unsuccessful_j"] else 0.0
    failed = f'<rect x="0" y="{bar_y}" width="{max(lost, 1):.1f}" height="{BAR}" rx="3" fill="{MARKED}"/>'
    return (
        _text(0, middle, name if len(name) <= LONGEST else name[: LONGEST - 3] + "...")
        + _text(WIDTH, middle, f"{figure}, {units.percent(one['share'])}", "end")
        + f'<rect x="0" y="{bar_y}" width="{width:.1f}" height="{BAR}" rx="3" fill="{FILL}"/>'
        + (failed if lost else "")
    )


class Column(NamedTuple):
    """A figure as a column: nothing where it is not known. marked: in another colour; failed: with an x below it."""

    value: float | None
    marked: bool = False
    failed: bool = False


def columns(figures: Sequence[Column], what: str, *, lower_bound: bool = False) -> str:
    """The SVG of figures as columns; empty where there are fewer than two.

    what: they are. lower_bound: whether the highest is one.
    """
    known = [one.value for one in figures if one.value]
    if len(figures) < 2 or not known:
        return ""
    top, each = max(known), min(WIDTH / len(figures), WIDEST)
    left = WIDTH - each * len(figures)
    marks = "".join(
        f'<rect x="{left + (number + 0.15) * each:.1f}" y="{HIGH - HIGH * one.value / top:.1f}" '
        f'width="{each * 0.7:.1f}" height="{HIGH * one.value / top:.1f}" rx="2" '
        f'fill="{MARKED if one.marked else FILL}"/>'
        for number, one in enumerate(figures)
        if one.value
    )
    failed = [left + (number + 0.5) * each for number, one in enumerate(figures) if one.failed]
    crosses = "".join(_text(x, HIGH + LINE - 6, "x", "middle") for x in failed)
    lines = ([""] if failed else []) + [what, f"the highest {units.at_least(units.joules(top), lower_bound)}"]
    lines += ["x did not succeed"] if failed else []
    below = [HIGH + LINE * number - 4 for number in range(1, len(lines) + 1)]
    scale = f'<line x1="{left:.0f}" y1="{HIGH}" x2="{WIDTH}" y2="{HIGH}" stroke="{TEXT}"/>' + "".join(
        _text(0, y, line) for y, line in zip(below, lines, strict=True) if line
    )
    last = _text(WIDTH, below[2 if failed else 1], "the last run", "end")
    return _svg(HIGH + LINE * len(lines), marks + crosses + scale + last)


def curve(
    slots: Sequence[tuple[float, float, float]], marked: tuple[float, float] | None, labels: tuple[str, str]
) -> str:
    """The SVG of carbon intensities over time: (from, to, gCO2eq/kWh) in order; empty for fewer than two.

    marked: from and to of the run, in another colour. labels: what stands below the beginning and the end.
    """
    if len(slots) < 2:
        return ""
    begin, end, top = slots[0][0], slots[-1][1], max(value for *_, value in slots)
    scale = WIDTH / (end - begin)

    def area(start: float, until: float, value: float, fill: str) -> str:
        x, high = (start - begin) * scale, HIGH * value / top
        return (
            f'<rect x="{x:.1f}" y="{HIGH - high:.1f}" width="{max((until - start) * scale, 0.5):.1f}" '
            f'height="{high:.1f}" fill="{fill}"/>'
        )

    shapes = "".join(area(*slot, FILL) for slot in slots)
    if marked is not None:
        first, last = marked[0], max(marked[1], marked[0] + (end - begin) / WIDTH * 3)  # to be seen at all
        inside = ((max(start, first), min(until, last), value) for start, until, value in slots)
        shapes += "".join(area(*slot, MARKED) for slot in inside if slot[1] > slot[0])
    low = min(value for *_, value in slots)
    between = f"{units.number(low)} to {units.number(top)} gCO2eq/kWh"
    below = (
        _text(0, HIGH + LINE - 4, labels[0]) + _text(WIDTH, HIGH + LINE - 4, labels[1], "end")
        + _text(0, HIGH + 2 * LINE - 4, between)
    )  # fmt: skip
    return _svg(HIGH + 2 * LINE, shapes + below)


def data_url(svg: str) -> str:
    """The SVG as the address of an image."""
    return "data:image/svg+xml;base64," + b64encode(svg.encode()).decode("ascii")
