"""A bar chart of where the energy went, as an SVG image that reads well on a light and on a dark page."""

from base64 import b64encode
from typing import Any
from xml.sax.saxutils import escape

from e2s_tasks.reporter import units

WIDTH, LABEL, FIGURE, ROW, BAR = 640, 210, 120, 24, 14
# A mid grey and a mid blue: a contrast of 4:1 or more with white and with near-black alike.
TEXT, FILL, TRACK = "#737a84", "#3b82c4", "#737a8433"
MOST = 8
LONGEST = 28


def bars(consumers: list[dict[str, Any]]) -> str:
    """The SVG of the biggest consumers, the rest in one bar; empty where there is none."""
    known = [one for one in consumers if one["share"]]
    if not known:
        return ""
    shown = known[:MOST]
    rest = known[MOST:]
    if rest:
        shown = [*shown, {"name": f"{len(rest)} others", "inclusive_j": sum(one["inclusive_j"] for one in rest),
                          "share": sum(one["share"] for one in rest)}]  # fmt: skip
    top = max(one["share"] for one in shown)
    rows = "".join(_bar(index, one, top) for index, one in enumerate(shown))
    height = ROW * len(shown)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="13">{rows}</svg>'
    )


def _bar(index: int, one: dict[str, Any], top: float) -> str:
    y, room = index * ROW, WIDTH - LABEL - FIGURE
    name = units.printable(one["name"])
    name = escape(name if len(name) <= LONGEST else name[: LONGEST - 3] + "...")
    figure = escape(f"{units.joules(one['inclusive_j'])}, {units.percent(one['share'])}")
    middle, bar_y = y + ROW // 2 + 4, y + (ROW - BAR) // 2
    return (
        f'<text x="{LABEL - 8}" y="{middle}" text-anchor="end" fill="{TEXT}">{name}</text>'
        f'<rect x="{LABEL}" y="{bar_y}" width="{room}" height="{BAR}" rx="3" fill="{TRACK}"/>'
        f'<rect x="{LABEL}" y="{bar_y}" width="{max(room * one["share"] / top, 1):.1f}" height="{BAR}" rx="3" '
        f'fill="{FILL}"/>'
        f'<text x="{LABEL + room + 8}" y="{middle}" fill="{TEXT}">{figure}</text>'
    )


def data_url(svg: str) -> str:
    """The SVG as the address of an image."""
    return "data:image/svg+xml;base64," + b64encode(svg.encode()).decode("ascii")
