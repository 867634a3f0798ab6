"""Where MLflow's runs of this process go, found without importing MLflow, which takes one to two seconds."""

import os
import sys
from dataclasses import dataclass

from e2s_tasks.settings import settings


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where a run is sent: the tracking URI, the experiment, and the user's MLflow run that is open around the flow."""

    uri: str
    experiment_id: str | None = None
    experiment_name: str | None = None
    around: str | None = None


def tracking() -> Tracking | None:
    """Where this process tracks; None if no tracking URI is set explicitly, or E2S_MLFLOW=never.

    `mlflow.set_tracking_uri` and `mlflow.set_experiment` set the variables, too, so that child processes inherit them.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not uri or not enabled():
        return None
    return Tracking(
        uri=uri,
        experiment_id=os.environ.get("MLFLOW_EXPERIMENT_ID") or None,
        experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME") or None,
        around=_active_run(),
    )


def enabled() -> bool:
    """Whether MLflow is to be told anything."""
    return settings().mlflow != "never"


def _active_run() -> str | None:
    fluent = sys.modules.get("mlflow.tracking.fluent")
    active_run = getattr(fluent, "active_run", None)  # None while MLflow is being imported
    run = active_run() if active_run is not None else None
    return None if run is None else str(run.info.run_id)
