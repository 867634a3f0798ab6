"""Points in time, and how long records are kept, as people write them."""

from datetime import UTC, date, datetime, timedelta

from e2s_tasks.core.policy import seconds_of
from e2s_tasks.errors import SettingError

Moment = datetime | date | str | float
DAY_S = 86400.0


def moment(value: Moment, name: str) -> float:
    """Seconds since the epoch (UTC) of a datetime, a date, such seconds, or text: "2026-11-24T12:00", or "36h" ago.

    What has no time zone is UTC.

    Raises:
        SettingError: it cannot be read; the message calls it `name`.
    """
    try:
        if isinstance(value, str):
            ago = seconds_of(value)
            if ago is not None:
                return (datetime.now(UTC) - timedelta(seconds=ago)).timestamp()
            value = datetime.fromisoformat(value.strip())
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - UTC, as the next line says
        if isinstance(value, datetime):
            return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()
        return float(value)
    except (ValueError, TypeError, OverflowError):
        raise SettingError(
            f"{name}={value!r} is no point in time: write for example '2026-11-24', '2026-11-24T12:00' or '30d' (ago)."
        ) from None


def period(since: Moment | None, until: Moment | None) -> tuple[float | None, float | None]:
    """Both as `moment` gives them; None: open on that side.

    Raises:
        SettingError: one cannot be read, or `until` lies before `since`.
    """
    first = None if since is None else moment(since, "since")
    last = None if until is None else moment(until, "until")
    if first is not None and last is not None and last < first:
        raise SettingError(f"until={until!r} lies before since={since!r}: exchange them.")
    return first, last


def day(value: Moment, name: str) -> int:
    """The day (since the epoch, UTC) in which the moment lies.

    Raises:
        SettingError: it cannot be read; the message calls it `name`.
    """
    return int(moment(value, name) // DAY_S)


def length_s(text: str, name: str) -> float:
    """The seconds of a length of time, such as "36h", "90d", "12w" or "2y".

    Raises:
        SettingError: it cannot be read; the message calls it `name`.
    """
    found = seconds_of(text)
    if found is None:
        raise SettingError(f"{name}={text!r} is no length of time: write for example '90d', '12w' or '2y'.")
    return found
