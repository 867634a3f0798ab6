"""Slots from points in time, as most services write a series: each value holds from its time until the next."""

import math
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from e2s_tasks.core.planning import Slot

YEARS = range(1970, 2200)
MOST = 5000.0  # gCO2eq/kWh: a lignite plant emits a quarter of that; more is an error of the series, or of its unit


def slots(points: Iterable[tuple[Any, Any]], otherwise: timedelta) -> list[Slot]:
    """The slots of (time, gCO2eq/kWh) points, in order, each as long as most are; `otherwise` where one stands alone.

    Times are seconds since the epoch, or ISO 8601. A point without a usable time or value (null, 0, negative, absurd,
    no number) is missing; of two at one time the last counts.
    """
    known = {}
    for time, value in points:
        at, intensity = moment(time), usable(value)
        if at is not None and intensity is not None:
            known[at] = intensity
    times = sorted(known)
    steps = Counter(later - earlier for earlier, later in pairwise(times))
    step = min(steps, key=lambda one: (-steps[one], one)) if steps else otherwise
    ends = [min(later, at + step) for at, later in pairwise(times)] + [at + step for at in times[-1:]]
    return [Slot(at, end, known[at]) for at, end in zip(times, ends, strict=True)]


def usable(value: Any) -> float | None:
    """The intensity that a service's value says; None where it says none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) and 0 < value <= MOST else None


def moment(value: Any) -> datetime | None:
    """The time in UTC that a service's value says; None where it says none, or one of another age."""
    try:
        at = _moment(value)
    except (ValueError, OverflowError, OSError):
        return None
    return at if at is not None and at.year in YEARS else None


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str):
        at = datetime.fromisoformat(value)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return datetime.fromtimestamp(value, UTC) if is_number else None
