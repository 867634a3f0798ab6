"""A run in a few figures, and how they compare with those of earlier runs: what histories and events are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from e2s_tasks.reporter import phrases

Headline = dict[str, Any]
PERIOD = timedelta(days=30)
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


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run's KPI, or its energy where it has none, against the median of earlier runs.

    figure: the name of the KPI, or "energy_j". value and median in joules. change: relative to the median.
    """

    figure: str
    value: float
    median: float
    runs: int

    @property
    def change(self) -> float:
        """By what part of the median the run is above it; negative below."""
        return self.value / self.median - 1

    def regressed(self, threshold: float) -> bool:
        """Whether it is above its median by more than this part of it."""
        return self.change > threshold


def compared(now: Headline, earlier: Sequence[Headline]) -> Comparison | None:
    """The run against the completed runs of the 30 days before it; None where too few of them, or it, tell."""
    figure = now["kpi"] or "energy_j"
    value = _value(now, figure)
    at = _moment(now)
    if value is None or at is None:
        return None
    before = [
        found
        for one in earlier
        if one["run_id"] != now["run_id"] and one["status"] == "completed" and one["flow"] == now["flow"]
        if (then := _moment(one)) is not None and timedelta(0) <= at - then <= PERIOD
        if (found := _value(one, figure)) is not None
    ]
    middle = median(before) if len(before) >= FEWEST else 0.0
    return Comparison(figure, value, middle, len(before)) if middle > 0 else None


def _value(one: Headline, figure: str) -> float | None:
    if figure == "energy_j":
        return one["energy_j"]  # type: ignore[no-any-return]
    return one["kpi_value"] if one["kpi"] == figure else None


def _moment(one: Headline) -> datetime | None:
    return None if one["started_at"] is None else datetime.fromisoformat(one["started_at"])
