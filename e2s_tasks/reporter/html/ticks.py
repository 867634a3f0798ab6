"""Moments to name on an axis of time: round ones, as many as there is room for, each with a label of its own."""

from datetime import UTC, datetime
from math import ceil, floor

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000  # milliseconds
STEPS = (
    *(factor * 10**power for power in range(3) for factor in (1, 2, 5)),
    *(count * SECOND for count in (1, 2, 5, 10, 15, 30)),
    *(count * MINUTE for count in (1, 2, 5, 10, 15, 30)),
    *(count * HOUR for count in (1, 2, 3, 6, 12)),
    *(count * DAY for count in (1, 2, 7, 14, 28, 56, 112, 364, 728, 1820)),
)
YEAR_S = 365 * 86_400
LETTER, SPACE = 7, 20  # units of a drawing: a letter's width, and what lies between two labels at least


def ticks(start: float, end: float, width: float) -> list[tuple[float, str]]:
    """Moments between both (seconds since the epoch) with what each is called, in UTC, for an axis so wide.

    A label is centred below its moment, and ends before the axis does.
    """
    span = end - start
    step = next((one for one in STEPS if _fits(one, start, end, width)), STEPS[-1])
    found = [(at, _label(at, step, span)) for at in (number * step / 1000 for number in _multiples(step, start, end))]
    shown = [(at, label) for at, label in found if (end - at) / (span or 1.0) * width >= LETTER * len(label) / 2]
    return shown or [(start, _label(start, step, span))]


def _fits(step: int, start: float, end: float, width: float) -> bool:
    room = LETTER * len(_label(start, step, end - start)) + SPACE
    return len(_multiples(step, start, end)) * room <= width


def _multiples(step: int, start: float, end: float) -> range:
    return range(ceil(round(start * 1000, 3) / step), floor(round(end * 1000, 3) / step) + 1)


def _label(at: float, step: int, span: float) -> str:
    """What a moment is called where the next one is a step (milliseconds) away, on an axis so long (seconds)."""
    moment = datetime.fromtimestamp(at, UTC)
    if step >= DAY:
        return f"{moment:%d %b %Y}" if span > YEAR_S / 2 else f"{moment:%d %b}"
    if step >= MINUTE:
        return f"{moment:%H:%M}" if span < DAY / 1000 else f"{moment:%d %b %H:%M}"
    digits = next((digits for digits, whole in enumerate((SECOND, 100, 10)) if step >= whole), 3)
    return f"{moment:%H:%M:%S}" + (f"{moment:.%f}"[: digits + 1] if digits else "")
