"""How long a flow may wait for a cleaner grid, what makes a start good, and when it must have finished."""

import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from e2s_tasks.errors import PolicyError, SettingError

SECONDS_PER_UNIT = {"y": 365 * 86400, "w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "min": 60, "s": 1}
_PART = r"(\d+(?:\.\d+)?)\s*(y|w|d|h|min|m|s)"
_DURATION = re.compile(rf"(?:{_PART}\s*)+")

Duration = timedelta | str | float


LONGEST = timedelta(days=366)


def duration(value: Duration, name: str = "duration", *, above_zero: bool = False) -> timedelta:
    """The duration that `value` says: a timedelta, seconds, or text such as "2h", "90m", "1h30m", "1.5h", "30s", "2w".

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
    with_units = seconds_of(text)
    return float(text) if with_units is None else with_units


def seconds_of(text: str) -> float | None:
    """The seconds of a length with units, such as "1h30m", "12w" or "2y" (of 365 days); None for any other text."""
    text = text.strip().lower()
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * SECONDS_PER_UNIT[unit] for number, unit in re.findall(_PART, text))


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


STRATEGIES = ("window", "now", "threshold", "percentile")
DEFAULT_PERCENTILE = 25.0
TIMES_P95 = 2
_GAIN = re.compile(r"(\d+(?:\.\d+)?)\s*(%|g/h)")


@dataclass(frozen=True, slots=True)
class MinimumGain:
    """The least that waiting must be predicted to save: percent ("%"), or gCO2eq per hour of delay ("g/h")."""

    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.value:g} {self.unit}"


def minimum_gain_of(value: MinimumGain | str | None) -> MinimumGain | None:
    """What "5%" or "20 g/h" says.

    Raises:
        SettingError: it cannot be read, or no saving could ever be more than it.
    """
    if value is None or isinstance(value, MinimumGain):
        return value
    found = _GAIN.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if found is None or (found[2] == "%" and float(found[1]) >= 100):
        raise SettingError(
            f"minimum_gain={value!r} is no saving: write for example '5%' (below 100), or '20 g/h' for gCO2eq per hour"
            " of delay."
        )
    return MinimumGain(float(found[1]), found[2])


@dataclass(frozen=True, slots=True, init=False)
class CarbonPolicy:
    """A flow in `zone` may start up to `max_delay` later than it would have, and must have finished by `deadline`.

    expected_duration: how long the flow usually runs; left out where it is to be learned and given by `lasting`.
    Durations are given as "2h", "90m", a timedelta or seconds.
    strategy: "window", the cleanest start; "now"; "threshold", the first start at no more than `threshold` gCO2eq/kWh;
    or "percentile", the first at no more than that percentile (25 by default) of the next 24 hours.
    minimum_gain: wait only for a predicted saving of so much: "5%", or "20 g/h" (gCO2eq per hour of delay, which counts
    where the energy of the run is known).
    p95_duration: what 95 of 100 runs take at most. Where it is known, a run starts twice that before `deadline` at the
    latest.

    Raises:
        SettingError: a duration that cannot be read, is negative or, for that of a run, zero; a deadline without a time
            zone; an empty zone; an unknown strategy, or a number that it cannot use.
    """

    zone: str
    max_delay: timedelta
    expected_duration: timedelta  # None until it is learned: `lasting` gives it before anything is planned
    deadline: datetime | None
    strategy: str
    threshold: float | None
    percentile: float | None
    minimum_gain: MinimumGain | None
    p95_duration: timedelta | None

    def __init__(
        self,
        zone: str,
        max_delay: Duration,
        expected_duration: Duration | None = None,
        deadline: datetime | None = None,
        *,
        strategy: str = "window",
        threshold: float | None = None,
        percentile: float | None = None,
        minimum_gain: MinimumGain | str | None = None,
        p95_duration: Duration | None = None,
    ) -> None:
        if not isinstance(zone, str) or not zone.strip():
            raise SettingError(f"zone={zone!r} names no grid: give a country code such as 'GB', 'DE' or 'FR'.")
        length = _length(expected_duration, "expected_duration")
        if strategy == "percentile" and percentile is None:
            percentile = DEFAULT_PERCENTILE
        _check_strategy(strategy, threshold, percentile)
        for name, value in (
            ("zone", zone.strip()),
            ("max_delay", duration(max_delay, "max_delay")),
            ("expected_duration", length),
            ("deadline", None if deadline is None else _moment(deadline)),
            ("strategy", strategy),
            ("threshold", threshold),
            ("percentile", percentile),
            ("minimum_gain", minimum_gain_of(minimum_gain)),
            ("p95_duration", _length(p95_duration, "p95_duration")),
        ):
            object.__setattr__(self, name, value)

    def lasting(self, expected: Duration | None, p95: Duration | None = None) -> "CarbonPolicy":
        """The policy with durations that were learned; those that it states itself stay.

        Raises:
            SettingError: a duration that cannot be used.
        """
        own, own_p95 = self.expected_duration, self.p95_duration
        learned = own or (duration(expected, "expected", above_zero=True) if expected is not None else own)
        return replace(self, expected_duration=learned, p95_duration=own_p95 or _length(p95, "p95"))

    def latest_end(self, now: datetime) -> datetime:
        """When a run that could start at `now` and takes as long as expected must have finished at the latest.

        Raises:
            PolicyError: the deadline has passed, or no duration is known.
        """
        delayed = aware(now, "now").astimezone(UTC) + self._known_duration() + self.max_delay
        if self.deadline is None:
            return delayed
        if self.deadline <= now:
            raise PolicyError(
                f"The deadline {_minute(self.deadline)} has passed by {_minute(now)}, when the run could start: "
                "give a later one, or leave it out and keep max_delay."
            )
        return min(delayed, self.deadline)

    def latest_start(self, now: datetime) -> datetime:
        """When a run that could start at `now` must start at the latest; `now`, where it is late already.

        A run that starts at most `max_delay` later ends at most so much later, however long it takes. Only a deadline
        needs a reserve: twice the P95 of the duration.

        Raises:
            PolicyError: as for `latest_end`.
        """
        start = self.latest_end(now) - self._known_duration()
        if self.deadline is not None and self.p95_duration is not None:
            start = min(start, self.deadline - TIMES_P95 * self.p95_duration)
        return max(start, now.astimezone(UTC))

    def _known_duration(self) -> timedelta:
        if not self.expected_duration:
            raise PolicyError(
                "Nobody knows how long the run takes: give expected_duration, for example '2h', until it is learned."
            )
        return self.expected_duration


def _moment(deadline: object) -> datetime:
    if not isinstance(deadline, datetime):
        raise SettingError(
            f"deadline={deadline!r} is no moment: give a datetime with a time zone, for example"
            " datetime(2026, 12, 1, 6, tzinfo=timezone.utc)."
        )
    return aware(deadline, "deadline").astimezone(UTC)


def _length(value: Duration | None, name: str) -> timedelta | None:
    return None if value is None else duration(value, name, above_zero=True)


def _check_strategy(strategy: str, threshold: float | None, percentile: float | None) -> None:
    """Nothing for a strategy with just the numbers that it uses."""
    if strategy not in STRATEGIES:
        raise SettingError(f"strategy={strategy!r} is unknown: give one of {', '.join(STRATEGIES)}.")
    for name, value in (("threshold", threshold), ("percentile", percentile)):
        if value is None:
            if name == strategy:
                raise SettingError("strategy='threshold' needs a threshold in gCO2eq/kWh, for example threshold=150.")
        elif name != strategy:
            raise SettingError(f"{name}={value!r} has no use with strategy={strategy!r}: give strategy={name!r} too.")
        elif not _usable(value, 100 if name == "percentile" else math.inf):
            what = "from 0 to 100" if name == "percentile" else "above 0, in gCO2eq/kWh"
            raise SettingError(f"{name}={value!r} cannot be used: give a number {what}.")


def _usable(value: object, most: float) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return is_number and (0 <= value <= most if most == 100 else value > 0)  # type: ignore[operator]


def _minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
