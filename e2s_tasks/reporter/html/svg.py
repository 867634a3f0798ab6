"""Drawings of matplotlib as SVG inside a page: colours are the page's CSS variables, so that they follow its theme.

Whatever is drawn takes its colours from here: hexadecimal codes that stand for variables until the page has them.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
SVG = "http://www.w3.org/2000/svg"
HREF = "{http://www.w3.org/1999/xlink}href"
_COLOUR = re.compile("|".join(VARIABLES))
_FONT = re.compile(r"font: (?:[\w ]+ )?([\d.]+)px [^;]*")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_LONG = re.compile(r"-?\d+\.\d{3,}")


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing for wide pages and one for narrow ones, what they show in words, and the series in them by colour."""

    wide: str
    narrow: str
    title: str
    description: str
    legend: tuple[tuple[str, str], ...] = ()

    @property
    def drawings(self) -> tuple[tuple[str, str], ...]:
        """Both, each with the class of what it is for."""
        return ("wide", self.wide), ("narrow", self.narrow)


Draw = Callable[[int], "Figure"]


def chart(name: str, draw: Draw, title: str, description: str, legend: tuple[tuple[str, str], ...] = ()) -> Chart:
    """A chart drawn in both widths. name: no other one of the page has it. description: what a reader would see."""
    drawn = {width: _inline(draw(width), f"{name}-{width}", title, description) for width in (WIDE, NARROW)}
    return Chart(drawn[WIDE], drawn[NARROW], title, description, legend)


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


def _inline(fig: "Figure", name: str, title: str, description: str) -> str:
    """The figure as an SVG element for a page: with a name in words, its own ids, and nothing that is not drawn."""
    import warnings

    import matplotlib as mpl

    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    buffer = io.StringIO()
    with warnings.catch_warnings(), mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        warnings.simplefilter("ignore")  # of characters that its own fonts lack: the page's have them
        fig.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ET.fromstring(buffer.getvalue())  # noqa: S314 - what matplotlib has just written
    _strip(root)
    for element in root.iter():
        _own(element, name)
    labels = [_element("title", f"{name}-title", title), _element("desc", f"{name}-desc", description)]
    for number, label in enumerate(labels):
        root.insert(number, label)
    width, height = fig.get_size_inches() * 72
    root.attrib = {
        "viewBox": f"0 0 {width:g} {height:g}", "role": "img", "style": f"max-width: {width:g}px",
        "aria-labelledby": f"{name}-title", "aria-describedby": f"{name}-desc",
    }  # fmt: skip
    return ET.tostring(root, encoding="unicode")


def _element(tag: str, name: str, text: str) -> ET.Element:
    found = ET.Element(f"{{{SVG}}}{tag}", {"id": name})
    found.text = text
    return found


def _strip(root: ET.Element) -> None:
    """Take away metadata and styles that would hold for the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{{{SVG}}}metadata", f"{{{SVG}}}style"}:
                parent.remove(child)
            elif child.tag == f"{{{SVG}}}defs":
                _strip(child)
        if parent.tag != f"{{{SVG}}}text":
            parent.text = None
        parent.tail = None


def _own(element: ET.Element, name: str) -> None:
    """Give an element's ids and references the chart's name, and its colours the page's variables."""
    if "id" in element.attrib:
        referred = element.tag.rpartition("}")[2] in {"clipPath", "path", "g"} and not element.attrib["id"].endswith(
            "_"
        )
        element.attrib["id"] = f"{name}-{element.attrib['id']}" if referred else ""
    if HREF in element.attrib:
        element.attrib[HREF] = f"#{name}-{element.attrib[HREF].removeprefix('#')}"
    for key in ("style", "clip-path", "fill", "stroke"):
        if key in element.attrib:
            text = _COLOUR.sub(lambda found: f"var({VARIABLES[found[0]]})", element.attrib[key])
            text = _FONT.sub(r"font-size: \1px", text)
            element.attrib[key] = _REFERENCE.sub(rf"url(#{name}-\1)", text)
    for key in ("d", "x", "y", "transform"):
        if key in element.attrib:
            element.attrib[key] = _LONG.sub(lambda found: f"{float(found[0]):.2f}", element.attrib[key]).replace(
                "\n", ""
            )
