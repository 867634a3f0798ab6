"""The charts of a report that show parts of a whole: bars, and the flow of energy into artifacts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.energy import add
from e2s_tasks.reporter import phrases, units
from e2s_tasks.reporter.folding import fold
from e2s_tasks.reporter.html import svg
from e2s_tasks.reporter.html.svg import LOST, MUTED, NARROW, REST, SERIES, Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 8
LONGEST = 30


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: its name, its energy in joules, what is written beside it, and the part of it that failed.

    rest: whether it stands for all that had no bar of its own. lower_bound, lost_lower_bound: whether a part of its
    energy, or of what failed of it, is missing.
    """

    name: str
    joules: float
    said: str
    lost: float = 0.0
    rest: bool = False
    lower_bound: bool = False
    lost_lower_bound: bool = False


def short(name: str, most: int = LONGEST) -> str:
    """The name, as much of it as there is room for."""
    name = units.printable(name)
    return name if len(name) <= most else name[: most - 3] + "..."


def folded(bars: Sequence[Bar], most: int = MOST) -> list[Bar]:
    """The first bars, and all others as one."""
    shown, rest = fold(bars, most)
    if not rest:
        return shown
    joules = add(one.joules for one in rest) or 0.0
    said = units.at_least(units.joules(joules), any(one.lower_bound for one in rest))
    lost, lower = sum(one.lost for one in rest), any(one.lost_lower_bound for one in rest)
    return [*shown, Bar(f"{len(rest)} others", joules, said, lost, rest=True, lost_lower_bound=lower)]


def bars(name: str, found: Sequence[Bar], title: str) -> Chart | None:
    """Horizontal bars, each with its name and figure; the part that failed hatched. None where there is none."""
    shown = folded([one for one in found if one.joules > 0])
    if not shown:
        return None
    said = "; ".join(f"{units.printable(one.name)}: {one.said}{_lost(one)}" for one in shown)
    legend = ((svg.variable(LOST), "attempts that did not succeed"),) if any(one.lost for one in shown) else ()
    return svg.chart(name, lambda width: _bars(shown, width), title, f"A bar for each. {said}.", legend)


def _lost(one: Bar) -> str:
    joules = units.at_least(units.joules(one.lost), one.lost_lower_bound)
    return f", {joules} of it in attempts that did not succeed" if one.lost else ""


def _bars(shown: Sequence[Bar], width: int) -> "Figure":
    narrow = width == NARROW
    left, right, row = (0, 0, 44) if narrow else (220, 150, 30)
    fig = svg.figure(width, row * len(shown) + 2)
    axes, room = svg.canvas(fig), width - left - right
    top = max(one.joules for one in shown)
    places = [row * number + (28.0 if narrow else row / 2) for number in range(len(shown))]
    for number, one in enumerate(shown):
        y = places[number]
        svg.boxes(axes, [(left, y - 7, max(room * one.joules / top, 1.5), 14)], REST if one.rest else SERIES[0])
        if one.lost:
            svg.boxes(axes, [(left, y - 7, room * one.lost / top, 14)], LOST)
        if narrow:
            svg.write(axes, 0, y - 17, short(one.name, 28))
            svg.write(axes, width, y - 17, one.said, ha="right", color=MUTED)
        else:
            svg.write(axes, left - 12, y, short(one.name), ha="right")
            svg.write(axes, left + room + 12, y, one.said, color=MUTED)
    return fig


def flow(name: str, rows: Sequence[dict[str, Any]], title: str) -> Chart | None:
    """The energy of steps on the left, flowing into products on the right; None where there is none.

    rows: step, product, joules, and whether a part of these (`lower_bound`) or of the product's is missing.
    """
    if not rows:
        return None
    said = [f"{row['step']} into {row['product']}: {phrases.flow_joules(row)}" for row in rows[:12]]
    lower = _lower(rows)[1]
    said += [f"{key} in all: {_figure(joules, key, lower)}" for key, joules in _sums(rows, "product").items()]
    return svg.chart(name, lambda width: _flow(rows, width), title, f"{'; '.join(said)}.")


def _lower(rows: Sequence[dict[str, Any]]) -> tuple[set[str], set[str]]:
    """The steps, and the products, whose energy lacks a part."""
    steps = {row["step"] for row in rows if row["lower_bound"]}
    return steps, {row["product"] for row in rows if row["product_lower_bound"]}


def _figure(joules: float, key: str, lower: set[str]) -> str:
    return units.at_least(units.joules(joules), key in lower)


def _flow(rows: Sequence[dict[str, Any]], width: int) -> "Figure":
    sides = [_sums(rows, side) for side in ("step", "product")]
    whole, scale, lower = sum(sides[0].values()), 240.0, _lower(rows)
    slots = [_slots(side, whole, scale) for side in sides]
    fig = svg.figure(width, max(end for _, end in slots) + 4)
    axes = svg.canvas(fig)
    margin = 4 if width == NARROW else 230
    begin, end = margin + 14, width - margin - 14
    colours = {step: SERIES[number % len(SERIES)] for number, step in enumerate(sides[0])}
    used = {(side, key): 0.0 for side in (0, 1) for key in sides[side]}
    for row in sorted(rows, key=lambda row: list(sides[1]).index(row["product"])):
        thick = row["joules"] / whole * scale
        ends = []
        for side, key in ((0, row["step"]), (1, row["product"])):
            ends.append(slots[side][0][key][0] + used[side, key])
            used[side, key] += thick
        axes.add_patch(_ribbon((begin, ends[0]), (end, ends[1]), thick, colours[row["step"]]))
    for side, x, place, align in ((0, begin, -1, "right"), (1, end, 1, "left")):
        for key, (y, high, slot) in slots[side][0].items():
            node = x - 14 if side == 0 else x
            colour = colours[key] if side == 0 else REST
            svg.boxes(axes, [(node, y, 14, max(high, 1))], colour)
            said, at = _figure(sides[side][key], key, lower[side]), (x + place * 22, y + min(high, slot) / 2)
            _label(axes, key, said, at, align, narrow=width == NARROW)
    return fig


def _sums(rows: Sequence[dict[str, Any]], side: str) -> dict[str, float]:
    sums: dict[str, float] = {}
    for row in rows:
        sums[row[side]] = sums.get(row[side], 0.0) + row["joules"]
    return dict(sorted(sums.items(), key=lambda one: -one[1]))


def _slots(side: dict[str, float], whole: float, scale: float) -> tuple[dict[str, tuple[float, float, float]], float]:
    """By node its upper end, its height and the room that its label has; and where all end."""
    found, y = {}, 6.0
    for key, joules in side.items():
        high = joules / whole * scale
        slot = max(high, 20.0)
        found[key] = (y + (slot - high) / 2, high, slot)
        y += slot + 8
    return found, y


def _ribbon(start: tuple[float, float], end: tuple[float, float], thick: float, colour: str) -> Any:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    (x, y), (to_x, to_y) = start, end
    middle = (x + to_x) / 2
    points = [
        (x, y), (middle, y), (middle, to_y), (to_x, to_y), (to_x, to_y + thick), (middle, to_y + thick),
        (middle, y + thick), (x, y + thick), (x, y),
    ]  # fmt: skip
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    return PathPatch(Path(points, codes), facecolor=colour, edgecolor="none", alpha=0.32)


def _label(axes: "Axes", key: str, said: str, at: tuple[float, float], align: str, *, narrow: bool) -> None:
    """A node's name and figure: outside the flow, or over it where the page is narrow."""
    x, y = at
    if narrow:
        x, align = (24, "left") if align == "right" else (NARROW - 24, "right")
        svg.write(axes, x, y, f"{short(key, 13)} {said}", ha=align, fontsize=12)
        return
    svg.write(axes, x, y, f"{short(key, 21)}  {said}", ha=align)
