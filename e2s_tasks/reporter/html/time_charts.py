"""The charts of a report that show time: the power of steps, the carbon intensity of the grid, days or longer."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from e2s_tasks.reporter import units
from e2s_tasks.reporter.folding import fold
from e2s_tasks.reporter.html import svg
from e2s_tasks.reporter.html.charts import MOST
from e2s_tasks.reporter.html.svg import GRID, LINE, LOST, MUTED, NARROW, REST, SERIES, Chart
from e2s_tasks.reporter.html.ticks import ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from e2s_tasks.reporter.timeline import Timeline


def power(name: str, found: "Timeline", title: str) -> Chart:
    """Stacked power of the steps over time, above the carbon intensity that they met."""
    import numpy as np

    layers = list(found.watts.items())
    shown, rest = fold(layers, MOST)
    stack = [(of_row, watts, colour) for (of_row, watts), colour in zip(shown, (*SERIES, REST), strict=False)]
    if rest:
        stack.append((("", f"{len(rest)} others"), np.sum([watts for _, watts in rest], axis=0), REST))
    peak = float(np.sum([watts for _, watts, _ in stack], axis=0).max())
    said = (
        f"Over {units.seconds(float(found.edges[-1] - found.edges[0]))}, at most {peak:.3g} W in the mean of a stretch"
    )
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
        axes.stairs(
            high[starts], [*edges[starts], edges[end]], baseline=low[starts], fill=True, color=colour, linewidth=0
        )


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
    """Times in UTC below the axes, in a figure so wide."""
    start, end = float(edges[0]), float(edges[-1])
    marks = ticks(start, end, width * axes.get_position().width)
    axes.set_xlim(start, end)
    axes.set_xticks([at for at, _ in marks], [label for _, label in marks])


def outlook(name: str, slots: Sequence[Any], shown: dict[str, tuple[float, float]], title: str) -> Chart:
    """The carbon intensity in slots, with stretches of time marked: what each is called, from and to.

    What lies outside the slots is not marked.
    """
    first, last = slots[0][0] - _least(slots), slots[-1][1]
    shown = {word: (begin, end) for word, (begin, end) in shown.items() if end >= first and begin < last}
    values = [intensity for *_, intensity in slots]
    said = f"Between {min(values):.0f} and {max(values):.0f} gCO2eq/kWh."
    marks = "; ".join(
        f"{word} from {units.clock(units.iso(begin))} to {units.clock(units.iso(end))}"
        for word, (begin, end) in shown.items()
    )
    legend = tuple((svg.variable(SERIES[number]), word) for number, word in enumerate(shown))
    return svg.chart(
        name, lambda width: _outlook(slots, shown, width), title, f"{said} {marks}." if marks else said, legend
    )


def _outlook(slots: Sequence[Any], shown: dict[str, tuple[float, float]], width: int) -> "Figure":
    fig = svg.figure(width, 210)
    left = 52 / width
    axes = fig.add_axes((left, 0.16, 1 - left - 0.015, 0.68))
    edges = [slots[0][0], *(end for _, end, _ in slots)]
    values = [intensity for *_, intensity in slots]
    _line(axes, edges, values)
    for number, (begin, end) in enumerate(shown.values()):
        left_edge = max(begin, edges[0])
        axes.axvspan(left_edge, max(end, left_edge + _least(slots)), color=SERIES[number], alpha=0.55, linewidth=0)
    _style(axes, "gCO2eq/kWh")
    axes.set_ylim(0, max(values) * 1.15)
    _moments(axes, edges, width)
    return fig


def _least(slots: Sequence[Any]) -> float:
    """The seconds that are marked at least, so that they are seen."""
    return float(slots[-1][1] - slots[0][0]) / 150


class Time(NamedTuple):
    """A day or longer: its first day, joules, those that failed, grams; and what is said of its joules and grams."""

    first: str
    joules: float
    lost: float
    grams: float | None
    said: str
    said_of_grams: str


def times(name: str, found: Sequence[Time], title: str) -> Chart:
    """Energy by day or longer, the part that failed apart, above grams."""
    top = max(found, key=lambda one: one.joules)
    known = [one for one in found if one.grams is not None]
    said = f"{len(found)} bars; the most from {top.first}: {top.said}"
    if known:
        worst = max(known, key=lambda one: one.grams or 0.0)
        said += f"; the most emissions from {worst.first}: {worst.said_of_grams} CO2eq"
    legend = [(svg.variable(SERIES[0]), "energy")]
    legend += [(svg.variable(LOST), "attempts that did not succeed")] if any(one.lost for one in found) else []
    legend += [(svg.variable(GRID), "emissions")] if known else []
    return svg.chart(name, lambda width: _times(found, width), title, f"{said}.", tuple(legend))


def _shown(shown: Callable[[float], str], value: float, _place: int | None) -> str:
    return shown(value) if value else "0"


def _times(found: Sequence[Time], width: int) -> "Figure":
    from matplotlib.ticker import FuncFormatter

    fig = svg.figure(width, 340)
    left, right = 64 / width, 24 / width
    top = fig.add_axes((left, 0.46, 1 - left - right, 0.46))
    under = fig.add_axes((left, 0.1, 1 - left - right, 0.24), sharex=top)
    joules, lost = [one.joules for one in found], [one.lost for one in found]
    grams = [one.grams or 0.0 for one in found]
    for axes, values, colour in ((top, joules, SERIES[0]), (top, lost, LOST), (under, grams, GRID)):
        drawn = [(place, value) for place, value in enumerate(values) if value]  # what nobody knows is no bar
        svg.boxes(axes, [(place - 0.375, 0.0, 0.75, value) for place, value in drawn], colour)
    for axes, values, shown, unit in ((top, joules, units.joules, "energy"), (under, grams, units.grams, "CO2eq")):
        axes.set_ylim(0, max(values) * 1.08 or 1.0)
        _style(axes, unit)
        axes.yaxis.set_major_formatter(FuncFormatter(partial(_shown, shown)))
    top.tick_params(labelbottom=False)
    top.set_xlim(-0.6, len(found) - 0.4)
    every = max(1, round(len(found) / (3 if width == NARROW else 10)))
    style = "%d %b" if found[0].first[:4] == found[-1].first[:4] else "%b %Y"
    labels = [datetime.fromisoformat(one.first).strftime(style) for one in found]
    under.set_xticks(list(range(0, len(found), every)), labels[::every])
    return fig
