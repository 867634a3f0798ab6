"""What a run achieved: the business outcome that energy is counted per."""

import time
from collections.abc import Mapping
from numbers import Real
from typing import Any

from e2s_tasks.core.records import OutcomeRecord
from e2s_tasks.errors import SettingError
from e2s_tasks.recorder.open_span import new_id
from e2s_tasks.recorder.told_of import told_of

MOST = 1e30  # of a count or quality: sums of more might be more than a float can hold


def record_outcome(
    units: float,
    *,
    valid: float | None = None,
    accurate: float | None = None,
    name: str = "unit",
    quality: Mapping[str, float] | None = None,
) -> None:
    """Record what the current measured work achieved; only a successful attempt's outcome counts.

    units: how many units of the outcome (`name`, in the singular: "prediction") were made; valid and accurate: how many
    of them count as such. quality: figures such as accuracy (from 0 to 1), kept beside the KPI.

    Raises:
        SettingError: a count is negative or not a number, or valid or accurate exceed units; a quality is no number,
            or an accuracy no part.
    """
    counts = {"units": units, "valid": valid, "accurate": accurate}
    for field, count in counts.items():
        if (count is not None or field == "units") and not _is_count(count):
            raise SettingError(
                f"record_outcome({field}={count!r}): a count is a number from 0 to {MOST:g}; pass how many there were"
            )
    for field in ("valid", "accurate"):
        count = counts[field]
        if count is not None and count > units:
            raise SettingError(f"record_outcome({field}={count!r}) exceeds units={units!r}; pass a part of the units")
    if not isinstance(name, str) or not name.strip():
        raise SettingError(f"record_outcome(name={name!r}): name one unit of the outcome, for example 'prediction'")
    if not isinstance(quality, Mapping | None):
        raise SettingError(f"record_outcome(quality={quality!r}): pass a mapping, for example {{'accuracy': 0.9}}")
    for key, value in (quality or {}).items():
        if not _is_number(value):
            raise SettingError(
                f"record_outcome(quality={{{key!r}: {value!r}}}): pass a number up to {MOST:g}, or leave it out"
            )
        if key == "accuracy" and not 0 <= value <= 1:
            raise SettingError(f"record_outcome(quality={{{key!r}: {value!r}}}): an accuracy is a part, from 0 to 1")
    span = told_of("record_outcome")
    if span is None:
        return
    span.recorder.write(
        OutcomeRecord(
            id=new_id(), run_id=span.record.run_id, span_id=span.id, at=time.time(), name=name, units=float(units),
            valid=None if valid is None else float(valid), accurate=None if accurate is None else float(accurate),
            solution=span.record.solution, quality={key: float(value) for key, value in (quality or {}).items()},
        ),
        span,
    )  # fmt: skip


def _is_count(count: Any) -> bool:
    try:
        return isinstance(count, Real) and not isinstance(count, bool) and 0 <= float(count) <= MOST
    except OverflowError:  # an integer that no float can hold
        return False


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, Real) and -MOST <= float(value) <= MOST
    except OverflowError:
        return False
