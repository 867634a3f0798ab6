"""Lengths and points of time as options give them, in one grammar. A bare number has no unit, so it is refused."""

import re
import sys
import time
from datetime import timedelta

from e2s_tasks.core.policy import duration
from e2s_tasks.errors import SettingError
from e2s_tasks.ledger.times import length_s, moment

UNITS = {"--since": "d", "--until": "d", "--keep": "d", "--duration": "h", "--slack": "h"}  # likely ones; else minutes
HOUR_S = 3600.0
LAST_YEAR = 9999  # a larger number where a moment is asked for is a date or time that was not written so
_NOT_AGO = re.compile(r"-\s*\d.*|0+(\.0*)?\s*[a-z]*")  # a length of time, but a negative one, or none


def length(text: str, name: str, *, above_zero: bool = False) -> timedelta:
    """The length of time that the option gives, such as 1h30m.

    Raises:
        SettingError: it has no unit, cannot be read, is negative or, for `above_zero`, zero.
    """
    _check_unit(text, name)
    return duration(text, name, above_zero=above_zero)


def kept_s(text: str, name: str) -> float:
    """The seconds for which the option has records kept.

    Raises:
        SettingError: it has no unit, cannot be read, or is so short that months may have been meant.
    """
    _check_unit(text, name)
    found = length_s(text, name)
    if 0 < found < HOUR_S:
        raise SettingError(f"{name}={text}: m are minutes. Keep an hour at least (1h); months are weeks here, as 26w.")
    return found


def past(text: str, name: str) -> float:
    """The time (seconds since the epoch) that lies so far back, or on the day that is so called.

    Raises:
        SettingError: it is neither a length of time above zero, nor a day, or lies in the future.
    """
    check_moment(text, name)
    at = moment(text, name)
    if at > time.time():
        raise SettingError(f"{name}={text} lies in the future: give a time that is past, for example 30d.")
    return at


def check_moment(text: str, name: str) -> None:
    """See that the option names a point in time.

    Raises:
        SettingError: it is neither a length of time above zero, nor a day.
    """
    if _NOT_AGO.fullmatch(text.strip()):
        duration(text, name, above_zero=True)  # which says what is wrong with it
    try:
        moment(text, name)
    except SettingError:
        _check_unit(text, name, most=LAST_YEAR)
        raise


def _check_unit(text: str, name: str, most: float = sys.float_info.max) -> None:
    """See that it is no bare number above 0 (which is the same in any unit)."""
    try:
        number = float(text)
    except ValueError:
        return
    if 0 < number <= most:
        raise SettingError(f"{name}={text}: {text} of what? Write for example {number:g}{UNITS.get(name, 'm')}.")
