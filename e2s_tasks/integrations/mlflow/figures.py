"""What MLflow is told of a run and its steps: tags, params and metrics, as plain values. Joules, grams, seconds.

A figure that is missing is never a metric: MLflow would keep an infinity as 1.8e308 and lets NaN pass every filter. Its
name stands in the tag `e2s.missing`.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from e2s_tasks.core.energy import COMPONENTS, HOST, MOVEMENT, Energy, Provenance, add
from e2s_tasks.core.records import Status
from e2s_tasks.core.steps import Step

PREFIX = "e2s/"
LONGEST_KEY, LONGEST_VALUE = 250, 5000  # what every MLflow server since 2.8 takes
STATUS = {
    Status.COMPLETED: "FINISHED",
    Status.CACHED: "FINISHED",
    Status.CANCELLED: "KILLED",
    Status.RUNNING: "RUNNING",
    Status.SUSPENDED: "SCHEDULED",
}

_REFUSED = re.compile(r"[^\w.\- ]")


def key(name: str) -> str:
    """The name as one part of an MLflow key: what MLflow refuses, and the slash that parts keys, becomes `_`."""
    cleaned = _REFUSED.sub("_", name).strip()
    return "_" if cleaned in {"", ".", ".."} else cleaned


def run_status(status: str | None) -> str:
    """MLflow's word for how a run ended."""
    return STATUS.get(Status(status), "FAILED") if status else "FAILED"


def known(figures: Mapping[str, float | None]) -> dict[str, float]:
    """The figures that can be a metric."""
    return {name: float(value) for name, value in figures.items() if value is not None and math.isfinite(value)}


def texts(values: Mapping[str, Any]) -> dict[str, str]:
    """The values that are known, as tags."""
    return {name: str(value)[:LONGEST_VALUE] for name, value in values.items() if value not in (None, "", [], {})}


# -- the run --------------------------------------------------------------------------------------------------------


def run_figures(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of a run by metric name; None is missing."""
    energy, emissions, flow = summary["energy_j"], summary["emissions_g"], summary["flow_run"]
    bounds = summary["energy_j_range"].get("total") or [None, None]
    figures = {
        **{f"{name}_j": energy.get(name) for name in ("total", "host", *COMPONENTS)},
        "movement_j": add(energy.get(name) for name in MOVEMENT),
        "total_low_j": bounds[0],
        "total_high_j": bounds[1],
        **{f"{name}_j": summary[f"{name}_j"] for name in ("orchestration", "unsuccessful", "waiting", "avoided")},
        "unclaimed_j": summary["unclaimed_j"],
        "emissions_g": emissions["total"],
        "intensity_gco2eq_per_kwh": emissions["intensity_gco2eq_per_kwh"],
        "duration_s": _seconds(flow["started_at"], flow["ended_at"]),
        **{f"kpi/{key(name)}": kpi["value"] for name, kpi in summary["kpis"].items()},
    }
    return {PREFIX + name: value for name, value in figures.items()}


def run_tags(summary: Mapping[str, Any]) -> dict[str, str]:
    """What the run was, and what its figures rest on."""
    flow, emissions = summary["flow_run"], summary["emissions_g"]
    tags = {
        "e2s.run_id": flow["id"],
        "e2s.flow_run_id": flow["id"],
        "e2s.flow_run_name": flow["name"],
        "e2s.flow": flow["flow"],
        "e2s.solution": flow["solution"],
        "e2s.status": flow["status"],
        "e2s.zone": emissions["zone"],
        "e2s.signal": emissions["signal"],
        "e2s.intensity_source": emissions["source"],
        "e2s.static_policy": ", ".join(summary["static_policy"]),
        "e2s.attributed_by": summary["attributed_by"],
        "e2s.lower_bound": str(bool(summary["gaps"])).lower(),
        "e2s.gaps": ", ".join(f"{name}: {count} spans" for name, count in summary["gaps"].items()),
        "e2s.missing": ", ".join(_missing(summary)),
        "e2s.provenance": _provenance(summary),
        **{f"e2s.provenance.{name}": worth for name, worth in _worth(summary).items()},
        **{f"e2s.undefined.{key(name)}": kpi["reason"] for name, kpi in summary["kpis"].items() if kpi["reason"]},
    }
    return texts(tags)


def run_params(summary: Mapping[str, Any]) -> dict[str, str]:
    """What runs are compared by; params cannot change, so only what cannot either."""
    flow = summary["flow_run"]
    return texts({"e2s.flow": flow["flow"], "e2s.solution": flow["solution"]})


def _absent(summary: Mapping[str, Any]) -> set[str]:
    """The components that no host of the run has a device for, and the movement that nothing was recorded of."""
    devices = {one["component"] for one in summary["sources"] if not one["absent"]}
    none = {name for name in HOST if name not in devices}
    return none | {name for name in MOVEMENT if summary["energy_j"].get(name) is None}


def _missing(summary: Mapping[str, Any]) -> list[str]:
    """The metrics that have no figure, though there is something that it would count."""
    absent = {f"{PREFIX}{name}_j" for name in _absent(summary)}
    if not any(summary["energy_j"].get(name) is not None for name in MOVEMENT):
        absent.add(f"{PREFIX}movement_j")
    figures = run_figures(summary)
    return [name for name in figures if name not in known(figures) and name not in absent]


def _worth(summary: Mapping[str, Any]) -> dict[str, str]:
    absent = _absent(summary)
    named = {name: "not present" if name in HOST else "none recorded" for name in absent}
    return {name: named.get(name, worth) for name, worth in summary["provenance"].items()}


def _provenance(summary: Mapping[str, Any]) -> str:
    """`measured` only where every component with a figure is."""
    kinds = set(_worth(summary).values()) & {str(Provenance.MEASURED), str(Provenance.MODELLED)}
    if not kinds:
        return str(Provenance.MISSING)
    return str(Provenance.MODELLED if str(Provenance.MODELLED) in kinds else Provenance.MEASURED)


# -- its steps ------------------------------------------------------------------------------------------------------


def step_figures(step: Step) -> dict[str, float | None]:
    """The figures of a step, all its attempts together, by metric name; None is missing."""
    figures = {
        **{f"{name}_j": joules for name, joules in _joules(step.energy).items()},
        "attempts": float(step.attempts),
        "duration_s": None if step.ended_at is None else step.ended_at - step.started_at,
    }
    return {PREFIX + name: value for name, value in figures.items()}


def step_tags(step: Step, run_id: str) -> dict[str, str]:
    """What the step was, and why its figures are lower bounds where they are."""
    return texts(
        {
            "e2s.step_of": run_id,
            "e2s.step_id": step.id,
            "e2s.step": step.name,
            "e2s.status": step.status,
            "e2s.lower_bound": str(bool(step.gaps)).lower(),
            "e2s.gaps": "; ".join(step.gaps),
            "e2s.missing": ", ".join(_missing_of(step)),
        }
    )


def _joules(energy: Energy) -> dict[str, float | None]:
    sums = {"total": energy.total, "host": energy.host, "movement": energy.movement}
    return sums | {name: getattr(energy, name) for name in COMPONENTS}


def _missing_of(step: Step) -> list[str]:
    figures = step_figures(step)
    return [name for name in ("e2s/total_j", "e2s/duration_s") if name not in known(figures)]


def steps_on_the_run(steps: Iterable[Step]) -> dict[str, float]:
    """`e2s/step/<name>/energy_j` and `/count`, for a run of so many steps that each cannot be a run of its own.

    Steps of one name, as far as MLflow can tell names apart, are added up.
    """
    by_name: dict[str, list[float | None]] = defaultdict(list)
    for step in steps:
        by_name[key(step.name)[: LONGEST_KEY - 30]].append(step.energy.total)
    figures = {}
    for name, joules in by_name.items():
        figures[f"{PREFIX}step/{name}/energy_j"] = add(joules)
        figures[f"{PREFIX}step/{name}/count"] = float(len(joules))
    return known(figures)


# -- its models -----------------------------------------------------------------------------------------------------


def model_figures(artifact: Mapping[str, Any]) -> dict[str, float]:
    """The known figures of a model's version, by the name of the model's metric."""
    names = ("in_run_j", "fully_loaded_j", "attributed_j", "emissions_g")
    return known({f"e2s.{name}": artifact.get(name) for name in names})


def model_tags(artifact: Mapping[str, Any], run_id: str) -> dict[str, str]:
    """Which run produced the model, and whether its figures are lower bounds."""
    return texts(
        {
            "e2s.flow_run_id": run_id,
            "e2s.step": artifact["produced_by"],
            "e2s.lower_bound": str(bool(artifact["lower_bound"])).lower(),
            "e2s.reasons": "; ".join(artifact["reasons"]),
        }
    )


def _seconds(started_at: str | None, ended_at: str | None) -> float | None:
    if started_at is None or ended_at is None:
        return None
    return (datetime.fromisoformat(ended_at) - datetime.fromisoformat(started_at)).total_seconds()
