"""How long a flow may wait for a cleaner grid, and when it must have finished."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from e2s_tasks.errors import PolicyError, SettingError

SECONDS_PER_UNIT = {"d": 86400, "h": 3600, "m": 60, "min": 60, "s": 1}
_PART = r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)"
_DURATION = re.compile(rf"(?:{_PART}\s*)+")

Duration = timedelta | str | float


LONGEST = timedelta(days=366)


def duration(value: Duration, name: str = "duration", *, above_zero: bool = False) -> timedelta:
    """The duration that `value` says: a timedelta, seconds, or text such as "2h", "90m", "1h30m", "1.5h", "30s", "1d".

    Raises:
        SettingError: it cannot be read, is negative or, for `above_zero`, zero; the message calls it `name`.
    """
    try:
        length = value if isinstance(value, timedelta) else timedelta(seconds=_seconds(value))
    except (ValueError, TypeError, OverflowError):
        raise SettingError(f"{name}={value!r} is no duration: write for example '2h', '1h30m' or '30s'.") from None
    if length > LONGEST:
        raise SettingError(f"{name}={value!r} is longer than a year: give less, for example '2h'.")
    if length < timedelta(0) or (above_zero and not length):
        what, enough = ("negative" if length else "zero"), ("more than zero" if above_zero else "zero or more")
        raise SettingError(f"{name}={value!r} is {what}: give {enough}, for example '2h'.")
    return length


def _seconds(value: str | float) -> float:
    if not isinstance(value, str):
        return float(value)
    text = value.strip().lower()
    if text.startswith("-"):
        return -_seconds(text[1:])
    if _DURATION.fullmatch(text):
        return sum(float(number) * SECONDS_PER_UNIT[unit] for number, unit in re.findall(_PART, text))
    return float(text)


def aware(at: datetime, name: str) -> datetime:
    """`at`, once it is sure that it has a time zone.

    Raises:
        SettingError: it has none, so that nobody knows which moment it means.
    """
    if at.tzinfo is None or at.utcoffset() is None:
        raise SettingError(
            f"{name}={at.isoformat()} has no time zone: add one, for example {name}.replace(tzinfo=timezone.utc)."
        )
    return at


@dataclass(frozen=True, slots=True, init=False)
class CarbonPolicy:
    """A flow in `zone` may finish up to `max_delay` later than it would have, and never after `deadline`.

    expected_duration: how long the flow usually runs. Durations are given as "2h", "90m", a timedelta or seconds.

    Raises:
        SettingError: a duration that cannot be read, is negative, or, for expected_duration, zero; a deadline without
            a time zone; an empty zone.
    """

    zone: str
    max_delay: timedelta
    expected_duration: timedelta
    deadline: datetime | None

    def __init__(
        self, zone: str, max_delay: Duration, expected_duration: Duration, deadline: datetime | None = None
    ) -> None:
        if not isinstance(zone, str) or not zone.strip():
            raise SettingError(f"zone={zone!r} names no grid: give a country code such as 'GB', 'DE' or 'FR'.")
        length = duration(expected_duration, "expected_duration", above_zero=True)
        for name, value in (
            ("zone", zone.strip()),
            ("max_delay", duration(max_delay, "max_delay")),
            ("expected_duration", length),
            ("deadline", None if deadline is None else aware(deadline, "deadline").astimezone(UTC)),
        ):
            object.__setattr__(self, name, value)

    def latest_end(self, now: datetime) -> datetime:
        """When a run that could start at `now` must have finished at the latest.

        Raises:
            PolicyError: the deadline has passed.
        """
        delayed = aware(now, "now").astimezone(UTC) + self.expected_duration + self.max_delay
        if self.deadline is None:
            return delayed
        if self.deadline <= now:
            raise PolicyError(
                f"The deadline {_minute(self.deadline)} has passed (it is {_minute(now)}): "
                "give a later one, or leave it out and keep max_delay."
            )
        return min(delayed, self.deadline)


def _minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
