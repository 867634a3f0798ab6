"""Tasks in the worker processes of a Dask cluster."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from prefect.settings import get_current_settings

PROGRAM = """
    from prefect_dask import DaskTaskRunner
    from e2s_tasks import e2s_flow, e2s_task
    from tests.mixes.burning import burn

    @e2s_task(retries=1, task_run_name="burn-{number}")
    def work(number):
        burn(0.05 * number)
        return number

    @e2s_task
    def add(numbers):
        return sum(numbers)

    cluster = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}

    @e2s_flow(task_runner=DaskTaskRunner(cluster_kwargs=cluster))
    def on_dask():
        return add.submit([work.submit(number) for number in range(1, 7)]).result()

    if __name__ == "__main__":
        print(on_dask())
"""


@pytest.mark.slow
def test_tasks_on_a_dask_cluster_are_measured_once_in_their_workers(tmp_path):
    script = tmp_path / "on_dask.py"
    script.write_text(textwrap.dedent(PROGRAM))
    environment = os.environ | {
        "E2S_DATA_DIR": str(tmp_path / "data"),
        "PREFECT_API_URL": str(get_current_settings().api.url),
        "PYTHONPATH": str(Path.cwd()),
    }
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert (done.returncode, done.stdout) == (0, "21\n"), done.stderr[-2000:]
    e2s = Path(sys.executable).parent / "e2s"
    shown = subprocess.run([e2s, "show", "--json"], env=environment, capture_output=True, text=True, check=True)
    summary = json.loads(shown.stdout)
    burnt = [span for span in summary["spans"] if span["name"] == "work"]
    assert {span["status"] for span in burnt} == {"completed"}
    # the only span of a process has what the other threads in it use too: Prefect's connects in the first task run
    used = sorted(span["cpu_s"] for span in burnt)
    assert all(0.05 * number <= cpu_s <= 0.05 * number + 0.2 for number, cpu_s in enumerate(used, 1))
    assert sum(used) < 0.05 * 21 + 0.6
    (flow,) = [span for span in summary["spans"] if span["kind"] == "flow"]
    assert summary["flow_run"]["status"] == "completed"
    assert flow["cpu_s"] >= 0
