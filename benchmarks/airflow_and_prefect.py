"""The steps of the flight-delay pipeline in Airflow and in Prefect: do both tell the same CPU seconds of the same work?

    .venv-airflow/bin/python benchmarks/airflow_and_prefect.py

Airflow starts a process for each attempt, in which libraries do everything for the first time. So each step is also run
as the only task of a Prefect flow in a process of its own, by `.venv/bin/python`, on the files that the DAG run made;
and the flow is run as it is, with all its steps in one process. One thread each for the models. They take turns.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from common import FOLDER, ROOT, Row, interval, main

sys.path.insert(0, str(ROOT / "tests" / "airflow"))
PREFECT = ROOT / ".venv" / "bin"
GOAL = 3.0  # percent
CALLS = {  # of each step, what Airflow does in a process of its own; `output` and `sample` are given
    "import_flights": ["import_flights(output, sample)"],
    "build_features": ["build_features(output / 'flights.parquet', output)"],
    "train": [f"train(output / 'features.parquet', {name!r})" for name in ("small trees", "large trees")],
    "score": ["score(output / 'features.parquet', output / 'model.skops', output)"],
    "evaluate": ["evaluate(output / 'forecast.parquet')"],
}
ALONE = """
import time
from pathlib import Path
from e2s_tasks import e2s_flow, e2s_task
from flows.flight_delays import *
output, sample = Path({output!r}), {sample}
@e2s_flow
def alone():
    e2s_task(name="nothing")(lambda: None)()
    time.sleep(2)  # in which Prefect's own threads start: else that is the only step's that goes on
    {call}
alone()
"""
WHOLE = "from pathlib import Path; from flows.flight_delays import *; flight_delays(Path({output!r}), {sample})"


def measure(quick: bool) -> list[Row]:
    """Percent between the CPU seconds of each step, and the seconds."""
    from daemons import Airflow

    sample = 0.05 if quick else None
    home = FOLDER / "both"
    home.mkdir()
    found: dict[str, list[Counter[str]]] = {"airflow": [], "alone": [], "whole": []}
    with Airflow(home, **_environment(home, "airflow"), **_of_airflow()) as running, _server(home) as address:
        for _ in range(1 if quick else 4):
            run_id = running.trigger("flight_delays", {"sample": sample} if sample else {})
            assert running.wait("flight_delays", run_id, 600) == "success"
            found["airflow"].append(_last_run(home, "airflow", Path(sys.executable).parent))
            found["alone"].append(_alone(home, address, sample))
            _run(home, "whole", address, WHOLE.format(output=str(home / "whole"), sample=sample))
            found["whole"].append(_last_run(home, "whole", PREFECT))
    return [_row(step, *([one[step] for one in turns] for turns in found.values())) for step in CALLS]


def _row(step: str, airflow: list[float], alone: list[float], whole: list[float]) -> Row:
    ratios = [one / other for one, other in zip(airflow, alone, strict=True)]
    apart = 100 * (statistics.median(ratios) - 1)
    low, high = (100 * (one - 1) for one in interval(ratios))
    resolved = (low >= -GOAL and high <= GOAL) or low > GOAL or high < -GOAL
    seconds = [f"{statistics.median(one):.3f}" for one in (airflow, alone, whole)]
    note = f"{apart:+.1f} % ({low:+.1f} to {high:+.1f}); {seconds[0]} and {seconds[1]} s; in one flow {seconds[2]} s"
    return Row(
        f"CPU time of {step} in Airflow and in Prefect: apart", abs(apart), "%", GOAL, note=note, resolved=resolved
    )


def _environment(home: Path, name: str) -> dict[str, str]:
    """What each runs with; one thread each, since threads that wait for each other burn what they find free."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_NUM_THREADS"), "1")
    return one_thread | {
        "E2S_DATA_DIR": str(home / "e2s" / name), "E2S_OUTPUT": str(home / "output"), "E2S_WAIT": "never",
        "E2S_GRID": "none", "PREFECT_HOME": str(home / "prefect"),
    }  # fmt: skip


def _of_airflow() -> dict[str, str]:
    return {"AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "flows"), "AIRFLOW__CORE__PARALLELISM": "1"}


def _alone(home: Path, address: str, sample: float | None) -> Counter[str]:
    """CPU seconds of each step as the only one of a process."""
    seconds: Counter[str] = Counter()
    for calls in CALLS.values():
        for call in calls:
            _run(home, "alone", address, ALONE.format(output=str(home / "output"), sample=sample, call=call))
            seconds.update(_last_run(home, "alone", PREFECT))
    return seconds


def _run(home: Path, name: str, address: str, code: str) -> None:
    env = os.environ | _environment(home, name) | {"PREFECT_API_URL": address}
    subprocess.run([PREFECT / "python", "-c", code], env=env, check=True, capture_output=True, cwd=ROOT)


def _last_run(home: Path, name: str, commands: Path) -> Counter[str]:
    """CPU seconds of each step of the latest run of a ledger."""
    env = os.environ | _environment(home, name)
    told = subprocess.run([commands / "e2s", "show", "--json"], env=env, check=True, capture_output=True, text=True)
    seconds: Counter[str] = Counter()
    for row in json.loads(told.stdout)["steps"]:
        if row["depth"] == 0:
            seconds[row["name"].partition(" ")[0]] += row["cpu_s"]
    return seconds


@contextmanager
def _server(home: Path) -> Iterator[str]:
    """A Prefect server; the address of its API."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = os.environ | _environment(home, "alone")
    server = subprocess.Popen(
        [PREFECT / "prefect", "server", "start", "--port", port], env=env, stdout=subprocess.DEVNULL
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/health")
        yield f"http://127.0.0.1:{port}/api"
    finally:
        server.terminate()
        server.wait()


def _wait_for(address: str) -> None:
    for _ in range(180):
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    raise TimeoutError(f"{address} does not answer")


if __name__ == "__main__":
    main(measure)
