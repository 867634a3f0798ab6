"""A run in a few figures, and how they compare with those of earlier runs: what histories and events are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from json import dumps, loads
from statistics import median
from typing import Any

from e2s_tasks.reporter import phrases

Headline = dict[str, Any]
PERIOD = timedelta(days=30)
FIELDS = (
    "run_id", "name", "flow", "solution", "status", "started_at", "ended_at", "energy_j", "lower_bound",
    "unsuccessful_j", "emissions_g", "avoided_g", "kpi", "kpi_value", "kpi_per",
)  # fmt: skip
MARK, LONGEST = "e2s_", 80  # characters: Prefect cuts what is longer than 500 bytes as JSON
FEWEST = 3  # earlier runs, below which their median says little


def headline(summary: dict[str, Any]) -> Headline:
    """The figures of a run's summary that a history keeps, as plain JSON values.

    kpi, kpi_value (J), kpi_per: the most telling of its KPIs; None where it has none.
    """
    run, waited = summary["flow_run"], summary["waited"]
    joules = (kpi for kpi in phrases.main_kpis(summary) if kpi["unit"] == "J" and kpi["value"] is not None)
    kpi = next(joules, None)
    return {
        "run_id": run["id"],
        "name": run["name"],
        "flow": run["flow"],
        "solution": run["solution"],
        "status": run["status"],
        "started_at": run["started_at"],
        "ended_at": run["ended_at"],
        "energy_j": summary["energy_j"]["total"],
        "lower_bound": bool(summary["gaps"]),
        "unsuccessful_j": summary["unsuccessful_j"],
        "emissions_g": summary["emissions_g"]["total"],
        "avoided_g": None if waited is None else waited["avoided_g"],
        "kpi": None if kpi is None else kpi["name"],
        "kpi_value": None if kpi is None else kpi["value"],
        "kpi_per": None if kpi is None else kpi["per"],
    }


def to_texts(found: Headline) -> dict[str, str]:
    """The headline as texts by name, none of which is long: JSON values, their text cut."""
    cut = {name: value[:LONGEST] if isinstance(value, str) else value for name, value in found.items()}
    return {f"{MARK}{name}": dumps(value) for name, value in cut.items()}


def from_texts(texts: Mapping[str, str]) -> Headline | None:
    """The headline again; None where it is none, or lacks a part."""
    try:
        return {name: loads(texts[f"{MARK}{name}"]) for name in FIELDS}
    except (KeyError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run's KPI, or its energy where it has none, against the median of earlier runs.

    figure: the name of the KPI, or "energy_j". value and median in joules; lower_bound: the value is one.
    """

    figure: str
    value: float
    median: float
    runs: int
    lower_bound: bool = False

    @property
    def change(self) -> float | None:
        """By what part of the median the run is above it; negative below. Of a lower bound only a rise is known."""
        change = self.value / self.median - 1
        return None if self.lower_bound and change <= 0 else change

    @property
    def at_least(self) -> bool:
        """Whether the change may be more than it says."""
        return self.lower_bound and self.change is not None

    def regressed(self, threshold: float) -> bool | None:
        """Whether it is above its median by more than this part of it; None where what is missing decides that."""
        above = self.change is not None and self.change > threshold
        return None if self.lower_bound and not above else above


def compared(now: Headline, earlier: Sequence[Headline]) -> Comparison | None:
    """The run against the completed runs of the 30 days before it; None where too few of them, or it, tell.

    Lower bounds are no part of the median: nobody knows on which side of it they are.
    """
    figure = now["kpi"] or "energy_j"
    value = _value(now, figure)
    at = _moment(now)
    if value is None or at is None:
        return None
    before = [
        found
        for one in earlier
        if one["run_id"] != now["run_id"] and one["status"] == "completed" and one["flow"] == now["flow"]
        if not one["lower_bound"]
        if (then := _moment(one)) is not None and timedelta(0) <= at - then <= PERIOD
        if (found := _value(one, figure)) is not None
    ]
    middle = median(before) if len(before) >= FEWEST else 0.0
    return Comparison(figure, value, middle, len(before), now["lower_bound"]) if middle > 0 else None


def _value(one: Headline, figure: str) -> float | None:
    if figure == "energy_j":
        return one["energy_j"]  # type: ignore[no-any-return]
    return one["kpi_value"] if one["kpi"] == figure else None


def _moment(one: Headline) -> datetime | None:
    return None if one["started_at"] is None else datetime.fromisoformat(one["started_at"])
