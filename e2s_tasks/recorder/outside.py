"""Work that measured work sets off elsewhere, where no meter of ours looks: its energy is what somebody declares."""

from numbers import Real
from typing import Any, Literal

from e2s_tasks.core.energy import Provenance
from e2s_tasks.errors import SettingError
from e2s_tasks.recorder.told_of import told_of

KINDS = (Provenance.MEASURED, Provenance.MODELLED)
MOST_J = 1e21  # more than the world uses in a year (6e20 J): such a figure is a mistake
ROUNDING = 1e-6  # relative: what a single-precision number may be off


def record_energy(
    joules: float | None,
    *,
    source: str,
    range: tuple[float, float] | None = None,  # noqa: A002 - the field's own word
    provenance: Literal["measured", "modelled"] = "modelled",
    where: str = "remote",
) -> None:
    """Add the energy of work that the current measured work set off elsewhere: a warehouse query, a hosted model.

    joules: of the computers that did it, in joules; None: there was such work and nobody knows its energy, so that the
    figures of everything that comes from it are lower bounds. source: who did it, or says so ("BigQuery", "bill of
    May"). range: (low, high) in joules of a modelled figure. where: where it was done, a label. It is kept apart from
    the host's energy (`remote`), and is called measured only where every call says so.

    Raises:
        SettingError: joules are negative or no number, the range does not hold them, or the provenance is unknown.
    """
    _check(joules, source, range, provenance)
    span = told_of("record_energy")
    if span is None:
        return
    low, high = (joules, joules) if range is None or joules is None else (min(range[0], joules), max(range[1], joules))
    span.used_elsewhere(
        {
            "source": source.strip(), "where": str(where), "provenance": str(Provenance(provenance)), "calls": 1,
            "joules": _number(joules), "low": _number(low), "high": _number(high),
        }
    )  # fmt: skip


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _check(joules: Any, source: Any, bounds: Any, provenance: Any) -> None:
    if not isinstance(source, str) or not source.strip():
        raise SettingError(f"record_energy(source={source!r}): name who did the work, for example 'BigQuery'")
    if provenance not in KINDS:
        raise SettingError(f"record_energy(provenance={provenance!r}): give 'measured' or 'modelled'")
    if joules is not None and not _is_energy(joules):
        raise SettingError(
            f"record_energy(joules={joules!r}): give a number from 0 to {MOST_J:g} (the world uses less in a year), or"
            " None where it is not known"
        )
    if bounds is None:
        return
    if joules is None:
        raise SettingError(f"record_energy(joules=None, range={bounds!r}): a range needs a figure; give joules too")
    if not isinstance(bounds, tuple | list) or len(bounds) != 2 or not all(map(_is_energy, bounds)):
        raise SettingError(f"record_energy(range={bounds!r}): give (low, high), two numbers from 0 to {MOST_J:g}")
    low, high, joules = float(bounds[0]), float(bounds[1]), float(joules)  # numpy would compare in single precision
    if not low * (1 - ROUNDING) <= joules <= high * (1 + ROUNDING):
        raise SettingError(f"record_energy(joules={joules!r}, range={bounds!r}): give low <= joules <= high")


def _is_energy(value: Any) -> bool:
    try:
        number = isinstance(value, Real) and not isinstance(value, bool)
        return number and 0 <= float(value) <= MOST_J
    except OverflowError:  # an integer that no float can hold
        return False
