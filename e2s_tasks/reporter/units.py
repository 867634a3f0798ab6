"""Figures for people: the one place where joules, grams, seconds and bytes become text. Plain ASCII."""

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from math import floor, log10

from e2s_tasks.core.energy import JOULES_PER_KWH, JOULES_PER_WH

UNKNOWN = "-"
PLAIN = (1e-4, 1e7)  # of figures whose unit has no scale: beyond, they have an exponent
_JOULES = ((1e9, "GJ"), (1e6, "MJ"), (1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ"), (1e-9, "nJ"), (1e-12, "pJ"))
_WATT_HOURS = ((1e6, "MWh"), (1e3, "kWh"), (1.0, "Wh"), (1e-3, "mWh"), (1e-6, "uWh"), (1e-9, "nWh"), (1e-12, "pWh"))
_GRAMS = ((1e6, "t"), (1e3, "kg"), (1.0, "g"), (1e-3, "mg"), (1e-6, "ug"), (1e-9, "ng"), (1e-12, "pg"))
_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))


def number(value: float, digits: int = 3) -> str:
    """The value to significant digits, without an exponent."""
    if value == 0:
        return "0"
    rounded = round(value, digits - 1 - floor(log10(abs(value))))
    return f"{rounded:,.{max(digits - 1 - floor(log10(abs(rounded))), 0)}f}"


ROUNDING = 1e-10  # what is left of a difference of floats is nothing


def _scaled(value: float, scale: tuple[tuple[float, str], ...], nothing: float = ROUNDING) -> str:
    """The value in the unit that leaves 1 to 999 before the point, after rounding; 0 where it is less than nothing."""
    if value == 0 or abs(value) < nothing:
        return f"0 {next(unit for factor, unit in scale if factor == 1.0)}"
    sign = "-" if value < 0 else ""
    size = abs(value)
    for factor, unit in scale:
        if size >= factor * 0.9995:
            return f"{sign}{number(size / factor)} {unit}"
    factor, unit = scale[-1]
    return f"{sign}{number(size / factor)} {unit}"


def joules(value: float | None) -> str:
    """Energy given in joules: "212 kJ"; "-" where it is missing."""
    return UNKNOWN if value is None else _scaled(value, _JOULES)


def watt_hours(value: float | None) -> str:
    """Energy given in joules: "58.9 Wh"; "-" where it is missing."""
    return UNKNOWN if value is None else _scaled(value / JOULES_PER_WH, _WATT_HOURS)


def grams(value: float | None) -> str:
    """Mass given in grams: "21 g", "1.2 kg"; "-" where it is missing."""
    return UNKNOWN if value is None else _scaled(value, _GRAMS)


def quantity(value: float | None, unit: str) -> str:
    """A KPI's value in its unit, scaled where the unit has a scale: "5.02 mJ", "1.4 uWh", "0.25 EUR", "3.1 per J".

    It is no difference of others, so that however small it is not 0.
    """
    if value is None:
        return UNKNOWN
    if unit == "J":
        return _scaled(value, _JOULES, 0.0)
    if unit in {"Wh", "kWh"}:
        return _scaled(value * (1 if unit == "Wh" else JOULES_PER_KWH / JOULES_PER_WH), _WATT_HOURS, 0.0)
    if unit == "gCO2eq":
        return f"{_scaled(value, _GRAMS, 0.0)} CO2eq"
    plain = value == 0 or PLAIN[0] <= abs(value) < PLAIN[1]
    return f"{number(value) if plain else f'{value:.3g}'} {unit.replace('1/', 'per ')}".strip()


def size(value: int | None) -> str:
    """A size given in bytes, in powers of 1000: "9.6 MB"; "-" where it is missing."""
    if value is not None and value < 1000:
        return f"{value} B"
    return UNKNOWN if value is None else _scaled(value, _BYTES)


def seconds(value: float | None) -> str:
    """A duration given in seconds: "85 ms", "3.2 s", "2 min 5 s", "3 h 10 min"; "-" where it is missing."""
    if value is None:
        return UNKNOWN
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 59.95:
        return f"{number(value)} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def at_least(figure: str, lower_bound: object = True) -> str:
    """The figure, marked where it is a lower bound: ">= 212 kJ"; "-" stays as it is."""
    return f">= {figure}" if lower_bound and figure != UNKNOWN else figure


def between(bounds: Sequence[float | None] | None) -> str:
    """A range given as [low, high] in joules: "130 J to 353 J"; "at least 130 J" where nobody knows the high end."""
    low, high = bounds or (None, None)
    if low is None:
        return ""
    return f"at least {joules(low)}" if high is None else f"{joules(low)} to {joules(high)}"


def percent(share: float | None) -> str:
    """A fraction of 1: "44 %", "<1 %"; "-" where it is missing."""
    if share is None:
        return UNKNOWN
    if 0 < share < 0.005:
        return "<1 %"
    return f"{share * 100:.0f} %"


def change(in_percent: float | None) -> str:
    """A change in percent: "+18 %", "-3.2 %", "0 %", "<-99 %"; "-" where it is not known."""
    if in_percent is None:
        return UNKNOWN
    if abs(in_percent) < 0.05:
        return "0 %"
    if -100 < in_percent < -99.5:  # something is left
        return "<-99 %"
    return f"{in_percent:+,.{0 if abs(in_percent) >= 9.95 else 1}f} %"


def count(value: float | None) -> str:
    """A count: "49,217"; "-" where it is missing."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def iso(at: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC, to the microsecond; None stays None."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()


def clock(moment: str | None, *, today: str | None = None) -> str:
    """An ISO 8601 time as "2026-03-01 02:30 UTC"; without the date where it is that of `today`."""
    if moment is None:
        return UNKNOWN
    return _clock(moment, today, "%H:%M")


def clocks(moment: str | None, other: str) -> tuple[str, str]:
    """Two times as `clock` gives them, without the day of the second; with seconds where these tell them apart."""
    if moment is None:
        return UNKNOWN, clock(other, today=other)
    precise = "%H:%M" if clock(moment) != clock(other) else "%H:%M:%S"
    return _clock(moment, other, precise), _clock(other, other, precise)


def _clock(moment: str, today: str | None, precise: str) -> str:
    text = datetime.fromisoformat(moment).astimezone(UTC).strftime(f"%Y-%m-%d {precise} UTC")
    return text[11:] if today is not None and _clock(today, None, precise)[:10] == text[:10] else text


def printable(text: str) -> str:
    """The text on one line, without characters that would steer a terminal, or that no XML may hold."""
    return "".join(" " if char.isspace() else char for char in text if char.isspace() or _shown(char))


def _shown(char: str) -> bool:
    return unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} and ord(char) & 0xFFFE != 0xFFFE
