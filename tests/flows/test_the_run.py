"""The whole flow on a sample, in a process of its own, with its own ledger and Prefect home."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

# The first attempt to build the features fails after its work is done; Prefect tries it again.
RUN = """
from flows import flight_delays as flow, flight_steps as steps

join, attempts = steps.join, []

def failing_once(*tables):
    joined = join(*tables)
    attempts.append(joined)
    if len(attempts) == 1:
        raise OSError("the disk was away for a moment")
    return joined

steps.join = failing_once
flow.flight_delays(flow.Path("output"), sample=0.02)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("run")
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "E2S_DATA_DIR": str(home / "e2s"),
        "E2S_GB_API_URL": "http://127.0.0.1:9",  # nothing answers there: no test depends on a service
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=home, env=environment, capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return home


def test_it_leaves_its_four_artifacts_and_nothing_else(run):
    made = sorted(path.name for path in (run / "output").iterdir())
    assert made == ["features.parquet", "flights.parquet", "forecast.parquet", "model.skops"]


def test_the_failed_attempt_is_a_part_of_what_every_later_artifact_cost(run):
    environment = os.environ | {"E2S_DATA_DIR": str(run / "e2s")}
    command = [Path(sys.executable).parent / "e2s", "show", "--json"]
    summary = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    first, second = sorted((s for s in summary["spans"] if s["name"] == "build_features"), key=lambda s: s["attempt"])
    assert (first["status"], second["status"]) == ("failed", "completed")
    assert first["inclusive_j"] > 0
    in_run = {Path(one["uri"]).name: one["in_run_j"] for one in summary["artifacts"]}
    assert in_run["features.parquet"] > in_run["flights.parquet"] + first["inclusive_j"] + second["inclusive_j"]
    assert in_run["features.parquet"] < in_run["model.skops"] < in_run["forecast.parquet"]
    assert summary["unsuccessful_j"] == pytest.approx(first["inclusive_j"])
    shown = sum(span["exclusive_j"] for span in summary["spans"])
    assert shown == pytest.approx(summary["energy_j"]["total"])


def test_each_artifact_is_a_version_in_the_ledger_with_its_size(run):
    with sqlite3.connect(run / "e2s" / "ledger.db") as ledger:
        sizes = dict(ledger.execute("select uri, bytes from version"))
    for name in ("flights.parquet", "forecast.parquet", "model.skops"):
        path = run / "output" / name
        assert sizes[path.resolve().as_uri()] == path.stat().st_size
    assert len(sizes) == 4


def test_the_outcome_is_the_scored_flights(run):
    with sqlite3.connect(run / "e2s" / "ledger.db") as ledger:
        ((units, accurate),) = ledger.execute("select units, accurate from outcome")
    forecast = pq.read_table(run / "output" / "forecast.parquet").to_pandas()
    assert units == len(forecast)
    assert accurate == (forecast["late"] == forecast["predicted_late"]).sum()
