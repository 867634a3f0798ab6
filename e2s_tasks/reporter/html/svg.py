"""Drawings of matplotlib as SVG inside a page: colours are the page's CSS variables, so that they follow its theme.

Whatever is drawn takes its colours from here: hexadecimal codes that stand for variables until the page has them.
"""

import io
import re
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, NARROW = 960, 340  # units of a drawing, which are pixels at most
TEXT, MUTED, LINE, PAPER = "#010101", "#010102", "#010103", "#010104"
SERIES = tuple(f"#0102{number:02x}" for number in range(1, 9))
REST, LOST, GRID = "#010301", "#010302", "#010303"
VARIABLES = {
    TEXT: "--text", MUTED: "--muted", LINE: "--line", PAPER: "--paper", REST: "--rest", LOST: "--lost", GRID: "--grid",
    **{code: f"--s{number}" for number, code in enumerate(SERIES, start=1)},
}  # fmt: skip
HREF = "{http://www.w3.org/1999/xlink}href"
_DRAWING = threading.Lock()  # the settings of matplotlib, and filters of warnings, are the whole process's
_COLOUR = re.compile("|".join(VARIABLES))
_FONT = re.compile(r"font: (?:[\w ]+ )?([\d.]+)px [^;]*")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_LONG = re.compile(r"-?\d+\.\d{3,}")


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing for wide pages and one for narrow ones, what they show in words, and the series in them by colour.

    Both are empty where there is nothing to draw with.
    """

    wide: str
    narrow: str
    title: str
    description: str
    legend: tuple[tuple[str, str], ...] = ()

    @property
    def drawings(self) -> tuple[tuple[str, str], ...]:
        """Both, each with the class of what it is for."""
        return (("wide", self.wide), ("narrow", self.narrow)) if self.wide else ()


Draw = Callable[[int], "Figure"]


def chart(name: str, draw: Draw, title: str, description: str, legend: tuple[tuple[str, str], ...] = ()) -> Chart:
    """A chart drawn in both widths. name: no other one of the page has it. description: what a reader would see."""
    if not can_draw():
        return Chart("", "", title, description)
    drawn = {width: _inline(draw, width, f"{name}-{width}", title, description) for width in (WIDE, NARROW)}
    return Chart(drawn[WIDE], drawn[NARROW], title, description, legend)


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def variable(code: str) -> str:
    """The CSS variable that a colour stands for."""
    return VARIABLES[code]


def figure(width: int, height: float) -> "Figure":
    """An empty figure, of which a unit is a pixel."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=72, facecolor="none")


def canvas(fig: "Figure") -> "Axes":
    """Axes over all of the figure, in its units from the upper left corner, with nothing drawn of themselves."""
    width, height = fig.get_size_inches() * 72
    axes = fig.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return axes


def write(axes: "Axes", x: float, y: float, text: str, **options: Any) -> None:
    """Text as it is, of whatever characters; y is its middle."""
    given: dict[str, Any] = {"color": TEXT, "fontsize": 13, "va": "center_baseline", "parse_math": False} | options
    axes.text(x, y, text, None, **given)


def boxes(axes: "Axes", found: Sequence[tuple[float, float, float, float]], colour: str, alpha: float = 1.0) -> None:
    """Filled boxes of one colour, each as x, y, width and height: one path, however many there are."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points = [
        point
        for x, y, width, height in found
        for point in ((x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y))
    ]
    codes = [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY] * len(found)
    if points:
        axes.add_artist(PathPatch(Path(points, codes), facecolor=colour, edgecolor="none", alpha=alpha))


def _inline(draw: Draw, width: int, name: str, title: str, description: str) -> str:
    """The figure as an SVG element for a page: with a name in words, its own ids, and nothing that is not drawn."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with _DRAWING, warnings.catch_warnings(), mpl.rc_context():
        warnings.simplefilter("ignore")  # of characters that its own fonts lack: the page's have them
        mpl.rcdefaults()  # whatever the user's own drawings look like
        mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": name})
        fig = draw(width)
        fig.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ET.fromstring(buffer.getvalue())  # noqa: S314 - what matplotlib has just written
    _strip(root)
    for element in root.iter():
        _own(element, name)
    across, height = fig.get_size_inches() * 72
    root.attrib = {
        "viewBox": f"0 0 {across:g} {height:g}", "role": "img", "style": f"max-width: {across:g}px",
        "aria-labelledby": f"{name}-title", "aria-describedby": f"{name}-desc",
    }  # fmt: skip
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        said = ET.Element(tag, {"id": f"{name}-{tag}"})
        said.text = text
        root.insert(place, said)
    return ET.tostring(root, encoding="unicode")


def _strip(root: ET.Element) -> None:
    """Take away metadata, styles that would hold for the whole page, and blanks between elements."""
    for parent in list(root.iter()):
        for child in list(parent):
            if _tag(child) in {"metadata", "style"}:
                parent.remove(child)
        if _tag(parent) != "text":
            parent.text = None
        parent.tail = None


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _own(element: ET.Element, name: str) -> None:
    """Make an element one of a page: without namespaces, with the chart's own ids, with the page's variables."""
    element.tag, found = _tag(element), element.attrib
    if "id" in found:
        found["id"] = f"{name}-{found['id']}"
    if HREF in found:
        found["href"] = f"#{name}-{found.pop(HREF).removeprefix('#')}"
    for key in ("style", "clip-path", "fill", "stroke"):
        if key in found:
            text = _COLOUR.sub(lambda code: f"var({VARIABLES[code[0]]})", found[key])
            found[key] = _REFERENCE.sub(rf"url(#{name}-\1)", _FONT.sub(r"font-size: \1px", text))
    for key in ("d", "x", "y", "transform"):
        if key in found:
            found[key] = _LONG.sub(lambda number: f"{float(number[0]):.2f}", found[key]).replace("\n", "")
