"""The charts of a report: bars, the flow of energy into artifacts, power over time, days."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.energy import add
from e2s_tasks.reporter import units
from e2s_tasks.reporter.html import svg
from e2s_tasks.reporter.html.svg import GRID, LINE, LOST, MUTED, NARROW, REST, SERIES, Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from e2s_tasks.reporter.timeline import Timeline

MOST = 8
LONGEST = 30


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: its name, its energy in joules, the part of it that failed, and what is written beside it."""

    name: str
    joules: float
    said: str
    lost: float = 0.0


def short(name: str, most: int = LONGEST) -> str:
    """The name, as much of it as there is room for."""
    name = units.printable(name)
    return name if len(name) <= most else name[: most - 3] + "..."


def folded(bars: Sequence[Bar], most: int = MOST) -> list[Bar]:
    """The first bars, and all others as one."""
    rest = bars[most:]
    if not rest:
        return list(bars)
    joules = add(one.joules for one in rest) or 0.0
    more = Bar(f"{len(rest)} others", joules, units.joules(joules), sum(one.lost for one in rest))
    return [*bars[:most], more]


def bars(name: str, found: Sequence[Bar], title: str) -> Chart | None:
    """Horizontal bars, each with its name and figure; the part that failed hatched. None where there is none."""
    shown = folded([one for one in found if one.joules > 0])
    if not shown:
        return None
    said = "; ".join(f"{units.printable(one.name)}: {one.said}" for one in shown)
    legend = ((svg.variable(LOST), "attempts that did not succeed"),) if any(one.lost for one in shown) else ()
    return svg.chart(name, lambda width: _bars(shown, width), title, f"A bar for each. {said}.", legend)


def _bars(shown: Sequence[Bar], width: int) -> "Figure":
    narrow = width == NARROW
    left, right, row = (0, 0, 44) if narrow else (220, 150, 30)
    fig = svg.figure(width, row * len(shown) + 2)
    axes, room = svg.canvas(fig), width - left - right
    top = max(one.joules for one in shown)
    for number, one in enumerate(shown):
        y = row * number + (28 if narrow else row / 2)
        length = max(room * one.joules / top, 1.5)
        axes.barh(y, room, height=14, left=left, color=LINE, alpha=0.45)
        axes.barh(y, length, height=14, left=left, color=REST if one.name.endswith(" others") else SERIES[0])
        if one.lost:
            axes.barh(y, room * one.lost / top, height=14, left=left, color=LOST)
        if narrow:
            svg.write(axes, 0, y - 16, short(one.name, 24))
            svg.write(axes, width, y - 16, one.said, ha="right", color=MUTED)
        else:
            svg.write(axes, left - 12, y, short(one.name), ha="right")
            svg.write(axes, left + room + 12, y, one.said, color=MUTED)
    return fig


def flow(name: str, rows: Sequence[dict[str, Any]], title: str) -> Chart | None:
    """The energy of steps on the left, flowing into products on the right; rows: step, product, joules. None if empty."""
    if not rows:
        return None
    said = "; ".join(f"{row['step']} into {row['product']}: {units.joules(row['joules'])}" for row in rows[:12])
    return svg.chart(name, lambda width: _flow(rows, width), title, f"{said}.")


def _flow(rows: Sequence[dict[str, Any]], width: int) -> "Figure":
    sides = [_sums(rows, side) for side in ("step", "product")]
    whole, scale = sum(sides[0].values()), 240.0
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
        axes.add_patch(_ribbon(begin, ends[0], end, ends[1], thick, colours[row["step"]]))
    for side, x, place, align in ((0, begin, -1, "right"), (1, end, 1, "left")):
        for key, (y, high, slot) in slots[side][0].items():
            node = x - 14 if side == 0 else x
            axes.barh(y + high / 2, 14, height=max(high, 1), left=node, color=colours.get(key, REST) if side == 0 else REST)
            _label(axes, key, sides[side][key], y + min(high, slot) / 2, x + place * 22, align, narrow=width == NARROW)
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


def _ribbon(x: float, y: float, to_x: float, to_y: float, thick: float, colour: str) -> Any:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    middle = (x + to_x) / 2
    points = [
        (x, y), (middle, y), (middle, to_y), (to_x, to_y), (to_x, to_y + thick), (middle, to_y + thick),
        (middle, y + thick), (x, y + thick), (x, y),
    ]  # fmt: skip
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    return PathPatch(Path(points, codes), facecolor=colour, edgecolor="none", alpha=0.32)


def _label(axes: "Axes", key: str, joules: float, y: float, x: float, align: str, *, narrow: bool) -> None:
    """A node's name and figure: outside the flow, or over it where the page is narrow."""
    if narrow:
        x, align = (24, "left") if align == "right" else (NARROW - 24, "right")
        svg.write(axes, x, y, f"{short(key, 13)} {units.joules(joules)}", ha=align, fontsize=12)
        return
    svg.write(axes, x, y, f"{short(key, 21)}  {units.joules(joules)}", ha=align)


def power(name: str, found: "Timeline", title: str) -> Chart:
    """Stacked power of the steps over time, above the carbon intensity that they met."""
    layers = list(found.watts.items())
    shown, rest = layers[:MOST], layers[MOST:]
    stack = [(of_row, watts, SERIES[number]) for number, (of_row, watts) in enumerate(shown)]
    if rest:
        stack.append((("", f"{len(rest)} others"), sum(watts for _, watts in rest), REST))
    total = sum(watts for _, watts, _ in stack)
    peak = float(total.max())
    said = f"Over {units.seconds(float(found.edges[-1] - found.edges[0]))}, at most {peak:.3g} W in the mean of a stretch"
    if found.intensity is not None:
        low, high = float(found.intensity.min()), float(found.intensity.max())
        between = f"{low:.0f}" if high - low < 0.5 else f"between {low:.0f} and {high:.0f}"
        said += f"; the carbon intensity was {between} gCO2eq/kWh"
    legend = tuple((svg.variable(colour), units.printable(of_row[1])) for of_row, _, colour in stack)
    return svg.chart(name, lambda width: _power(found, stack, width), title, f"{said}.", legend)


def _power(found: "Timeline", stack: list[Any], width: int) -> "Figure":
    import numpy as np

    fig = svg.figure(width, 340)
    left = 52 / width
    top = fig.add_axes((left, 0.42, 1 - left - 0.015, 0.5))
    base = np.zeros(len(found.edges) - 1)
    for _, watts, colour in stack:
        _layer(top, found.edges, base, base + watts, colour)
        base = base + watts
    _style(top, "W")
    top.set_ylim(0, None)
    if found.intensity is None:
        _moments(top, found.edges, width)
        return fig
    top.tick_params(labelbottom=False)
    under = fig.add_axes((left, 0.1, 1 - left - 0.015, 0.2), sharex=top)
    _line(under, found.edges, found.intensity)
    _style(under, "gCO2eq/kWh")
    under.set_ylim(0, float(found.intensity.max()) * 1.25)
    _moments(under, found.edges, width)
    return fig


def _layer(axes: "Axes", edges: Any, base: Any, upper: Any, colour: str) -> None:
    """What lies between two stairs, where there is something, in as few steps as show it."""
    import numpy as np

    least = float(upper.max()) * 1e-3 or 1.0
    low, high = (np.round(one / least) * least for one in (base, upper))
    parts = np.flatnonzero(np.diff(high > low, prepend=False, append=False)).reshape(-1, 2)
    for begin, end in parts:
        turns = (np.diff(low[begin:end]) != 0) | (np.diff(high[begin:end]) != 0)
        starts = np.concatenate(([begin], begin + 1 + np.flatnonzero(turns)))
        axes.stairs(high[starts], [*edges[starts], edges[end]], baseline=low[starts], fill=True, color=colour, linewidth=0)


def _line(axes: "Axes", edges: Any, values: Any) -> None:
    """Intensities as a line of steps, with what lies below it shaded, in as few steps as show it."""
    import numpy as np

    found = np.asarray(values, dtype=float)
    starts = np.concatenate(([0], 1 + np.flatnonzero(np.diff(found) != 0)))
    at = [*np.asarray(edges)[starts], edges[-1]]
    axes.stairs(found[starts], at, baseline=None, color=GRID, linewidth=2)
    axes.stairs(found[starts], at, fill=True, color=GRID, alpha=0.18)


def _style(axes: "Axes", unit: str) -> None:
    """Axes with light lines and the unit above them."""
    from matplotlib.ticker import MaxNLocator

    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set(visible=side == "bottom", color=LINE)
    axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
    axes.grid(visible=True, axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=12, length=0, pad=5)
    axes.text(0, 1.08, unit, transform=axes.transAxes, color=MUTED, fontsize=12, ha="left", parse_math=False)


def _moments(axes: "Axes", edges: Any, width: int) -> None:
    """Times in UTC below the axes."""
    start, end = float(edges[0]), float(edges[-1])
    count, span = (3 if width == NARROW else 7), end - start
    marks = [start + span * number / (count - 1) for number in range(count)]
    style = "%H:%M:%S" if span < 1800 else "%H:%M" if span < 86_400 else "%d %b %H:%M" if width != NARROW else "%d %b"
    axes.set_xlim(start, end)
    axes.set_xticks(marks, [datetime.fromtimestamp(mark, UTC).strftime(style) for mark in marks])
    labels = axes.get_xticklabels()
    labels[0].set_ha("left")
    labels[-1].set_ha("right")


def outlook(name: str, slots: Sequence[Any], shown: dict[str, tuple[float, float]], title: str) -> Chart:
    """The carbon intensity in slots, with stretches of time marked: what each is called, from and to."""
    values = [intensity for *_, intensity in slots]
    said = f"Between {min(values):.0f} and {max(values):.0f} gCO2eq/kWh"
    marks = "; ".join(
        f"{word} from {units.clock(units.iso(begin))} to {units.clock(units.iso(end))}"
        for word, (begin, end) in shown.items()
    )
    legend = tuple((svg.variable(SERIES[number]), word) for number, word in enumerate(shown))
    return svg.chart(name, lambda width: _outlook(slots, shown, width), title, f"{said}. {marks}.", legend)


def _outlook(slots: Sequence[Any], shown: dict[str, tuple[float, float]], width: int) -> "Figure":
    fig = svg.figure(width, 210)
    left = 52 / width
    axes = fig.add_axes((left, 0.16, 1 - left - 0.015, 0.68))
    edges = [slots[0][0], *(end for _, end, _ in slots)]
    values = [intensity for *_, intensity in slots]
    _line(axes, edges, values)
    least = (edges[-1] - edges[0]) / 150
    for number, (begin, end) in enumerate(shown.values()):
        axes.axvspan(begin, max(end, begin + least), color=SERIES[number], alpha=0.55, linewidth=0)
    _style(axes, "gCO2eq/kWh")
    axes.set_ylim(0, max(values) * 1.15)
    _moments(axes, edges, width)
    return fig


def days(name: str, found: Sequence[tuple[str, float, float, float | None]], title: str) -> Chart:
    """Energy by day, the part that failed apart, above grams by day. found: day, joules, failed joules, grams."""
    top = max(found, key=lambda one: one[1])
    known = [one for one in found if one[3] is not None]
    said = f"{len(found)} days; the most on {top[0]}: {units.joules(top[1])}"
    if known:
        worst = max(known, key=lambda one: one[3] or 0.0)
        said += f"; the most emissions on {worst[0]}: {units.grams(worst[3])} CO2eq"
    legend = [(svg.variable(SERIES[0]), "energy")]
    legend += [(svg.variable(LOST), "attempts that did not succeed")] if any(one[2] for one in found) else []
    legend += [(svg.variable(GRID), "emissions")] if known else []
    return svg.chart(name, lambda width: _days(found, width), title, f"{said}.", tuple(legend))


def _days(found: Sequence[tuple[str, float, float, float | None]], width: int) -> "Figure":
    fig = svg.figure(width, 340)
    left, places = 64 / width, range(len(found))
    top = fig.add_axes((left, 0.46, 1 - left - 0.01, 0.46))
    under = fig.add_axes((left, 0.1, 1 - left - 0.01, 0.24), sharex=top)
    top.bar(places, [one[1] for one in found], width=0.75, color=SERIES[0])
    top.bar(places, [one[2] for one in found], width=0.75, color=LOST)
    known = [(place, one[3]) for place, one in zip(places, found, strict=True) if one[3] is not None]
    under.bar([place for place, _ in known], [grams for _, grams in known], width=0.75, color=GRID)
    for axes, shown, unit in ((top, units.joules, "energy"), (under, units.grams, "CO2eq")):
        _style(axes, unit)
        axes.yaxis.set_major_formatter(lambda value, _, shown=shown: shown(value) if value else "0")
    top.tick_params(labelbottom=False)
    every = max(1, round(len(found) / (3 if width == NARROW else 10)))
    under.set_xticks(list(places)[::every], [datetime.fromisoformat(one[0]).strftime("%d %b") for one in found][::every])
    return fig
