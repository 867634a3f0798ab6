"""The parts that the pages of reports are made of, and the templates that lay them out."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2s_tasks.errors import SettingError
from e2s_tasks.io.factors import OWN_TABLE, factors, table
from e2s_tasks.reporter import units
from e2s_tasks.reporter.html.svg import can_draw
from e2s_tasks.settings import settings

if TYPE_CHECKING:
    from markupsafe import Markup

_CODE = re.compile(r"`(e2s [^`]+)`")
TEMPLATES = Path(__file__).with_name("templates")
NEEDED = {"jinja2": "Jinja2", "matplotlib": "matplotlib"}


@dataclass(frozen=True, slots=True)
class Card:
    """A figure of the headline, with its name and what must be said of it."""

    name: str
    figure: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table. kind: "lost", "total", "more" or nothing; depth: how far it lies inside the rows above.

    href: where its first cell leads.
    """

    cells: Sequence[str]
    kind: str = ""
    depth: int = 0
    href: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, of whose columns those in `texts` hold words and the others figures."""

    caption: str
    head: Sequence[str]
    rows: list[Row] = field(default_factory=list)
    texts: Collection[int] = (0,)


def check() -> None:
    """See that reports can be made here.

    Raises:
        SettingError: a package that they need is not installed; the message says how to get it.
    """
    missing = [name for module, name in NEEDED.items() if find_spec(module) is None]
    if missing:
        raise SettingError(f"A report needs {' and '.join(missing)}: pip install 'e2s-tasks[report]'.")


def render(template: str, *, inside: bool = False, **given: Any) -> str:
    """The page that a template makes of what is given. Whatever it shows is text, but for the charts' SVG.

    inside: it is shown in a frame of another page, which has a heading of its own.
    """
    from importlib.metadata import version

    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["said"] = _said
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    text = environment.get_template(template).render(
        style=style, version=version("e2s-tasks"), inside=inside, drawn=can_draw(), **given
    )
    return text.encode("utf-8", "replace").decode("utf-8")


def _said(text: str) -> "Markup":
    """A sentence as HTML, in which the commands between backticks are code, and a name keeps its own."""
    from markupsafe import Markup, escape

    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - it was escaped before


def factor_table() -> Table:
    """The factors of modelled movement, each with its range, year and source; those in use marked."""
    options = settings()
    found, used = table(options.factors or OWN_TABLE), {one.name for one in factors(options).values()}
    rows = [
        Row([
            one.name + (" (in use)" if one.name in used else ""), one.component,
            f"{one.value:g} {one.unit}", f"{one.low:g} to {one.high:g}", str(one.year), one.source,
        ])
        for one in found.factors
    ]  # fmt: skip
    head = ["factor", "of", "value", "range", "year", "source"]
    return Table(f"Factors of data movement and storage, as of {found.as_of}", head, rows, texts=(0, 1, 5))


def lines(*found: str | None) -> tuple[str, ...]:
    """Those that there are."""
    return tuple(one for one in found if one)


def printable(cells: Iterable[str]) -> list[str]:
    """The cells without characters that a page should not have."""
    return [units.printable(cell) for cell in cells]
