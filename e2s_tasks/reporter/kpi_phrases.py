"""What a table of KPIs says of each: its two sides, its interval, and what it rests on. Plain text, ASCII."""

from collections.abc import Iterable
from typing import Any

from e2s_tasks.core.plurals import plural
from e2s_tasks.reporter import phrases, units

Row = dict[str, Any]


def twice(kpi: Row) -> bool:
    """Whether it is the Wh per unit once more: a person reads both in the unit that fits."""
    return bool(kpi["label"] == f"kWh per {kpi['per']}" and not kpi["per"].startswith("valid "))


def value(kpi: Row) -> str:
    """The KPI with the mark of a bound: ">= 3.1 mJ"."""
    return phrases.kpi_bound(kpi) + units.quantity(kpi["value"], kpi["unit"])


def undefined(kpi: Row) -> str:
    """Why a KPI has no value."""
    return f"{units.printable(kpi['label'])}: undefined, {units.printable(kpi['reason'])}"


def interval(kpi: Row) -> str:
    """The limits of its interval over runs; only the lower one of a lower bound, the upper one of an upper bound."""
    found = kpi["interval"]
    if found is None or found["low"] is None:
        return units.UNKNOWN
    low, high = (units.quantity(found[end], kpi["unit"]) for end in ("low", "high"))
    return f"at least {low}" if kpi["lower_bound"] else f"at most {high}" if kpi["upper_bound"] else f"{low} to {high}"


def sides(kpi: Row) -> str:
    """The KPI's numerator over its denominator; where it is a bound, what was spent is a lower one."""
    above, below = (_side(kpi, side) for side in ("numerator", "denominator"))
    lower_above, lower_below = kpi["lower_bound"], kpi["upper_bound"]
    return f"{units.at_least(above, lower_above)} / {units.at_least(below, lower_below)}"


def _side(kpi: Row, side: str) -> str:
    found, unit = kpi[side], units.printable(kpi[f"{side}_unit"])
    if unit in {"J", "Wh", "kWh", "gCO2eq"}:
        return units.quantity(found, unit)
    if unit.endswith(kpi["per"]):
        unit = plural(unit, found)
    shown = units.count(found) if found is None or found == int(found) else units.number(found)
    return f"{shown} {unit}"


def notes(kpis: list[Row]) -> list[tuple[str, str]]:
    """What the KPIs rest on, and what must be known to compare them; each once, after a word for it."""
    defined = [kpi for kpi in kpis if kpi["value"] is not None]
    groups = (
        ("rests on", _once(kpi["rests_on"] for kpi in kpis)),
        ("bounds", _once(kpi["bounds"] for kpi in defined)),
        ("no interval", _why_none(kpis)),
        ("left out", _once(kpi["left_out"] for kpi in defined)),
        ("caveat", [f"{kpi['label']}: {kpi['caveat']}" for kpi in defined if kpi["caveat"]]),
    )
    return [(word, units.printable(line)) for word, said in groups for line in said]


def _why_none(kpis: list[Row]) -> list[str]:
    """Why KPIs have no interval, each reason with those that it is of, unless it is of all."""
    of: dict[str, list[str]] = {}
    for kpi in kpis:
        if (kpi["interval"] or {}).get("reason"):
            of.setdefault(kpi["interval"]["reason"], []).append(kpi["label"])
    return [why if len(labels) == len(kpis) else f"{', '.join(labels)}: {why}" for why, labels in of.items()]


def _once(groups: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(one for group in groups for one in group))
