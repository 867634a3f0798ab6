"""The flight-delay forecast as an Airflow DAG: the same steps as the Prefect flow in `flight_delays.py`.

E2S_OUTPUT says where the files go (default: ./output); the param `sample` is the share of the flights to use. With the
tag `e2s:carbon` in place of `e2s:no-carbon` the run waits until the grid is cleaner.
"""

import os
import sys
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, Param, task

sys.path.append(str(Path(__file__).parents[1]))  # where Airflow reads this folder of DAGs

from flows import flight_steps as steps

OUTPUT = Path(os.environ.get("E2S_OUTPUT", "output")).absolute()
FORECAST = Asset(name="flight-delay forecast", uri=(OUTPUT / "forecast.parquet").as_uri())
TAGS = ["e2s:solution=delay-forecast", "e2s:no-carbon", "e2s:zone=GB", "e2s:max-delay=12h", "e2s:expected-duration=5m"]


def stage(name: str) -> dict[str, dict[str, str]]:
    """The params of a task that is of this stage of the life cycle."""
    return {"e2s": {"stage": name}}


@task(retries=1, params=stage("data_preparation"))
def import_flights(params: dict[str, float | None]) -> str:
    """flights.parquet"""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    return str(steps.import_flights(OUTPUT, params["sample"]))


@task(retries=1, params=stage("data_preparation"))
def build_features(flights: str) -> str:
    """features.parquet"""
    return str(steps.build_features(Path(flights), OUTPUT))


@task(params=stage("training"), map_index_template="{{ task.op_kwargs['name'] }}")
def train(features: str, name: str) -> dict[str, Any]:
    """A candidate: each runs in a process of its own, so that the model is handed on as a file."""
    found = steps.train(Path(features), name)
    made = OUTPUT / f"candidate {name}.skops"
    steps.save(found.model, made)
    return {"name": name, "average_precision": found.average_precision, "path": str(made)}


@task(params=stage("training"))
def keep_better(candidates: list[dict[str, Any]]) -> str:
    """model.skops"""
    return str(steps.keep_better([_candidate(one) for one in candidates], OUTPUT))


def _candidate(told: dict[str, Any]) -> steps.Candidate:
    return steps.Candidate(told["name"], steps.load(Path(told["path"])), told["average_precision"])


@task(params=stage("inference"), outlets=[FORECAST])
def score(features: str, model: str) -> str:
    """forecast.parquet"""
    return str(steps.score(Path(features), Path(model), OUTPUT))


@task(params=stage("evaluation"))
def evaluate(forecast: str) -> dict[str, float]:
    """How good the forecast is."""
    return steps.evaluate(Path(forecast))


with DAG("flight_delays", schedule=None, tags=TAGS, params={"sample": Param(None, type=["null", "number"])}):
    found = build_features(import_flights())
    kept = keep_better(train.partial(features=found).expand(name=list(steps.CANDIDATES)))
    evaluate(score(found, kept))
