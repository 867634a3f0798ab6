"""The Airflow integration: every attempt of every operator is measured, and may wait for a cleaner grid.

It measures where `E2S_AUTO=true` is in the environment of Airflow's components. Tasks wait by `carbon_gate`, by a
`CarbonIntensitySensor`, or by their DAG's tags (docs/carbon.md).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from e2s_tasks.integrations.airflow.gate import carbon_gate
    from e2s_tasks.integrations.airflow.sensor import CarbonIntensitySensor

__all__ = ["CarbonIntensitySensor", "carbon_gate"]

_HOMES = {"CarbonIntensitySensor": "sensor", "carbon_gate": "gate"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
