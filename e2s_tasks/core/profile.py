"""A forecast of carbon intensity from its own past, where nobody issues one; how it and the last figure improve one.

Each slot is expected to be as the same slots of the days before, the nearer the day the more, plus how far the last
known slot was from that, fading. The numbers here were chosen on real figures: see `benchmarks/no_api.py` and
`benchmarks/issued_forecasts.py`.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from e2s_tasks.core.planning import Forecast, Slot
from e2s_tasks.errors import GridError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

DAY = timedelta(days=1)
HALF_LIFE_DAYS = 7.0
FADE_H = 24.0
DAYS = 42
STALE_H = 6.0  # a last known value that is older tells nothing of now
FADE_OF_ISSUED_H = 12.0
PART_OF_USUAL = 0.3


def expected(values: "Values", per_day: int, ahead: int) -> "Values":
    """The values of the next `ahead` slots, NaN where nothing is known of that time of day.

    values: of equal slots without a gap in time, `per_day` a day, the last of which ends now; NaN where one is missing.
    None is lower than what was lowest.
    """
    import numpy as np

    days = min(DAYS, -(-len(values) // per_day))
    table = np.full(days * per_day, np.nan)
    known = values[-len(table) :]
    table[len(table) - len(known) :] = known
    table = table.reshape(days, per_day)[::-1]  # the latest day first
    usual = np.tile(_weighted(table), -(-ahead // per_day))[:ahead]
    found: Values = np.maximum(usual + _offset(table, ahead), np.nanmin(table))
    return found


def _weighted(table: "Values") -> "Values":
    """The mean of each column, the earlier rows weighing more."""
    import numpy as np

    weights = 0.5 ** (np.arange(len(table)) / HALF_LIFE_DAYS)[:, None] * ~np.isnan(table)
    with np.errstate(invalid="ignore"):
        mean: Values = np.nansum(np.nan_to_num(table) * weights, axis=0) / weights.sum(axis=0)
    return mean


def _offset(table: "Values", ahead: int) -> "Values":
    """How far the last known value was from what the days before it made expect, fading over the slots ahead."""
    import numpy as np

    per_day = table.shape[1]
    slot_h = 24 / per_day
    for since in range(1, min(per_day, int(STALE_H / slot_h)) + 1):
        off = table[0, -since] - _weighted(table[1:, [-since]])[0] if len(table) > 1 else np.nan
        if not np.isnan(off):
            faded: Values = off * np.exp(-(np.arange(ahead) + since) * slot_h / FADE_H)
            return faded
    return np.zeros(ahead)


def from_history(history: Forecast, now: datetime, until: datetime) -> Forecast:
    """What the past of a zone makes expect from `now` until `until`: a forecast in slots as long as its own.

    history: what was measured, at best six weeks; its signal stays the same. The slot that is going on is a part of the
    forecast as it is.

    Raises:
        GridError: less than a day of it is known, or nothing of the last two days.
    """
    import numpy as np

    past = [slot for slot in history.slots if slot.start <= now]
    step = _step(past)
    if not past or past[-1].end - past[0].start < DAY or now - past[-1].end > 2 * DAY or DAY % step:
        raise GridError(
            f"{history.source}: {_span(past)} of {history.zone} up to {now:%Y-%m-%d %H:%M} UTC is not enough to expect"
            " anything from: it takes a day or more that ends within the last two days."
        )
    begin = past[-1].end + max(0, (now - past[-1].end) // step) * step
    values = np.full(int((begin - max(past[0].start, begin - DAYS * DAY)) / step), np.nan)
    for slot in past:
        index = len(values) - math.ceil((begin - slot.start) / step)
        if index >= 0:
            values[index] = slot.intensity
    ahead = max(1, math.ceil((until - begin) / step))
    found = expected(values, DAY // step, ahead)
    slots = [
        Slot(begin + index * step, begin + (index + 1) * step, float(value))
        for index, value in enumerate(found)
        if value > 0
    ]
    if past[-1].end > now:
        slots.insert(0, past[-1])
    return Forecast(history.zone, tuple(slots), history.signal, f"profile of {history.source}", issued_at=now)


def corrected(forecast: Forecast, actual: float, at: datetime) -> Forecast:
    """The forecast, shifted by how far it is off at `at`, where the intensity is `actual`; for later slots by less.

    Where it says nothing about `at` it stays as it is.
    """
    then = forecast.at(at)
    if then is None:
        return forecast
    slots = []
    for slot in forecast.slots:
        lead_h = max(0.0, (slot.start - at).total_seconds() / 3600)
        shifted = slot.intensity + (actual - then) * math.exp(-lead_h / FADE_OF_ISSUED_H)
        slots.append(Slot(slot.start, slot.end, max(shifted, slot.intensity * 0.01)))
    return Forecast(forecast.zone, tuple(slots), forecast.signal, forecast.source, forecast.issued_at)


def combined(issued: Forecast, usual: Forecast) -> Forecast:
    """An issued forecast, with three tenths of what the past makes expect where that is known: better than either.

    The slot of now, of which most is known, stays.
    """
    slots = list(issued.slots[:1])
    for slot in issued.slots[1:]:
        other = usual.at(slot.start)
        value = slot.intensity if other is None else slot.intensity + PART_OF_USUAL * (other - slot.intensity)
        slots.append(Slot(slot.start, slot.end, value))
    return Forecast(issued.zone, tuple(slots), issued.signal, issued.source, issued.issued_at)


def _step(slots: Sequence[Slot]) -> timedelta:
    """The length that most slots have."""
    lengths = [slot.end - slot.start for slot in slots] or [DAY]
    return max(set(lengths), key=lambda length: (lengths.count(length), length))


def _span(slots: Sequence[Slot]) -> str:
    if not slots:
        return "nothing"
    return f"{slots[0].start:%Y-%m-%d %H:%M} to {slots[-1].end:%Y-%m-%d %H:%M}"
