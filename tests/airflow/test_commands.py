"""`e2s` beside Airflow, without Prefect and MLflow: each command answers, or says on one line what it lacks."""

import os
import subprocess
import sys
import time

import pytest

from e2s_tasks.core.records import Kind, SpanRecord
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.ledger import Ledger

RUN = "from e2s_tasks.integrations.cli import main; main()"
COMMANDS = [
    "runs", "show", "show nobody", "kpi", "kpi --solution x", "report", "report {run}", "compare {run} {run}",
    "artifact x", "plan d --zone GB --duration 1h", "forecast --zone GB", "exporter --once", "release {run}",
    "release nobody", "scheduler --once", "scheduler", "mlflow", "doctor", "export out", "prune --keep 90d",
    "run program.py",
]  # fmt: skip


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """Runs a command on a ledger with a DAG run: exit code, stdout and stderr."""
    home = tmp_path_factory.mktemp("beside")
    run, now = dag_run_id("d", "r"), time.time()
    root = SpanRecord("r", 1, run, run, Kind.FLOW, "d", "running", now - 5, ended_at=now, flow_run_id=run)
    Ledger.open(f"sqlite:///{home / 'ledger.db'}").ingest([root])
    (home / "program.py").write_text("")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("E2S_", "MLFLOW"))}
    env = kept | {"E2S_DATA_DIR": str(home), "E2S_GRID": "none", "HOME": str(home)}

    def called(command):
        words = command.format(run=run).split()
        done = subprocess.run(
            [sys.executable, "-c", RUN, *words], env=env, cwd=home, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return called


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_ends_in_a_traceback(beside, command):
    code, _, err = beside(command)
    assert code in {0, 1}
    assert "Traceback" not in err
    if code:
        assert err.startswith("e2s: ")
        assert err.count("\n") == 1


def test_a_dag_run_is_released_in_airflow(beside):
    code, _, err = beside("release {run}")
    assert (code, "clear the waiting task in Airflow" in err) == (1, True)
