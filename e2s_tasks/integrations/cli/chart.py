"""A small chart of carbon intensity over time, for a terminal: columns of blocks, and the planned window beneath."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from rich.text import Text

from e2s_tasks.core.planning import Slot, figure

BLOCKS = " ▁▂▃▄▅▆▇█"
HEIGHT, AXIS = 5, 7  # rows of the columns; characters to their left
WIDEST = 72  # columns
NAME = "the run"
TICK = 12  # columns from one time to the next


def chart(slots: Sequence[Slot], begin: datetime, end: datetime, window: tuple[datetime, datetime], width: int) -> Text:
    """The intensities from `begin` to `end`, counted from 0, in at most `width` characters; `window` is marked."""
    shortest = min(slot.end - slot.start for slot in slots)
    many = max(1, min(WIDEST, width - AXIS - 1, round(4 * (end - begin) / shortest)))
    step = (end - begin) / many
    moments = [begin + (index + 0.5) * step for index in range(many)]
    values = [_at(slots, moment) for moment in moments]
    top = max((value for value in values if value is not None), default=1.0)
    marked = [window[0] <= moment < window[1] for moment in moments]
    if not any(marked):  # it is shorter than a column
        marked[min(many - 1, max(0, int((window[0] - begin) / step)))] = True
    drawn = Text()
    for row in range(HEIGHT):
        label = figure(top) if row == 0 else ("0" if row == HEIGHT - 1 else "")
        drawn.append(f"{label:>{AXIS - 2}} ┤")
        for value, mine in zip(values, marked, strict=True):
            drawn.append(_block(value, top, HEIGHT - 1 - row), style="green" if mine else "dim")
        drawn.append("\n")
    drawn.append(" " * AXIS + _under(marked), style="green")
    drawn.append("\n" + " " * AXIS + _times(begin, step, many))
    return drawn


def _at(slots: Sequence[Slot], moment: datetime) -> float | None:
    return next((slot.intensity for slot in slots if slot.start <= moment < slot.end), None)


def _block(value: float | None, top: float, row: int) -> str:
    """The part of a column that is in a row, counted from below; of one that nobody knows, a dot at the bottom."""
    if value is None:
        return "·" if row == 0 else " "
    eighths = max(1, round(8 * HEIGHT * value / top)) - 8 * row
    return BLOCKS[max(0, min(8, eighths))]


def _under(marked: Sequence[bool]) -> str:
    """A line under the run's columns, with its name where there is room."""
    line = "".join("▔" if mine else " " for mine in marked).rstrip()
    if len(line) + len(NAME) + 1 <= len(marked):
        return f"{line} {NAME}"
    first = line.index("▔")
    return line if first <= len(NAME) else f"{NAME:>{first - 1}} {line[first:]}"


def _times(begin: datetime, step: timedelta, many: int) -> str:
    """Times of day in UTC below their columns."""
    line = ""
    for column in range(0, many, TICK):
        if column + len("00:00 UTC") <= many or column == 0:
            line = line.ljust(column) + f"{begin + column * step:%H:%M}"
    return line + " UTC"
