"""One ledger for both orchestrators: an artifact is followed through them."""

import os
import subprocess
from pathlib import Path

import pytest

from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.ledger import Ledger, replay
from e2s_tasks.reporter import summarise_run

ROOT = Path(__file__).parents[2]
PREFECT = ROOT / ".venv" / "bin" / "python"
FLOW = """
import pandas as pd
from e2s_tasks import e2s_flow, e2s_task
from e2s_tasks.io import write_parquet

@e2s_task
def writes_it():
    write_parquet(pd.DataFrame({"x": range(1000)}), "by_prefect.parquet")

@e2s_flow
def a_flow():
    writes_it()

a_flow()
"""


@pytest.mark.skipif(not PREFECT.exists(), reason="there is no environment with Prefect: make .venv/.ready")
def test_what_a_prefect_flow_put_into_the_input_of_a_dag_is_in_its_artifact(airflow):
    lake = airflow.home / "lake"
    lake.mkdir(exist_ok=True)
    quiet = {
        "E2S_DATA_DIR": str(airflow.home / "e2s"),
        "E2S_GRID": "none",
        "PREFECT_HOME": str(airflow.home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run([PREFECT, "-c", FLOW], env=os.environ | quiet, cwd=lake, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    run_id = airflow.trigger("after_prefect")
    assert airflow.wait("after_prefect", run_id) == "success"
    ledger = Ledger.open(f"sqlite:///{airflow.home / 'e2s' / 'ledger.db'}")
    replay(airflow.home / "e2s" / "journal", ledger)
    (made,) = summarise_run(ledger, dag_run_id("after_prefect", run_id))["artifacts"]
    flow = next(one for one in ledger.runs(limit=None) if one.name == "a-flow")
    (given,) = summarise_run(ledger, flow.run_id)["artifacts"]
    assert made["upstream_runs"] == 1
    assert made["fully_loaded_j"] == pytest.approx(made["in_run_j"] + given["in_run_j"], rel=1e-6)
