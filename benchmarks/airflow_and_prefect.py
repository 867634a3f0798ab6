"""The steps of the flight-delay pipeline in Airflow and in Prefect: do both tell the same CPU seconds of the same work?

    .venv-airflow/bin/python benchmarks/airflow_and_prefect.py

Airflow starts a process for each attempt, in which libraries do everything for the first time. So each step is also run
as the only task of a Prefect flow in a process of its own, by `.venv/bin/python`, on the files that the DAG run made;
and the flow is run as it is, with all its steps in one process. One thread each for the models. They take turns; the
steps of less than a second take three times as many. The DAGs that are compared load the libraries before their steps
begin, as the flow does: the pipeline's own, which makes the files, loads them in its steps.

Prefect's modules are 290,000 objects, and each full garbage collection of Python walks through them: 0.13 s of `score`.
Each step is spared that in both of them (`gc.freeze`).

What a short step uses varies from one run to the next more than the goal. So what is told of a step is also held beside
its process's own clock, read by the step before and after its work.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from common import FOLDER, ROOT, Row, interval, main

sys.path.insert(0, str(ROOT / "tests" / "airflow"))
PREFECT = ROOT / ".venv" / "bin"
GOAL = 3.0  # percent
TURNS = 4
MORE = 3  # times as many for the short steps
TINY = "evaluate"  # what Airflow itself does in an attempt, some milliseconds, is much of it
LONG = {"train": [f"output / 'features.parquet', {name!r}" for name in ("small trees", "large trees")]}
SHORT = {  # what each step is given, of which `output` and `sample` are known
    "import_flights": ["output, sample"],
    "build_features": ["output / 'flights.parquet', output"],
    "score": ["output / 'features.parquet', output / 'model.skops', output"],
    "evaluate": ["output / 'forecast.parquet'"],
}
TIMED = """
import gc, time
from pathlib import Path
from flows import flight_steps as steps
output, sample = Path({output!r}), {sample}
def timed(work, *given):
    begun = time.process_time()
    work(*given)
    with open({clock!r}, "a") as file:
        print(work.__name__, time.process_time() - begun, file=file)
"""
ALONE = (
    TIMED
    + """
from e2s_tasks import e2s_flow, e2s_task
import flows.flight_delays
@e2s_task(name={step!r})
def work():
    timed(steps.{step}, {given})
@e2s_flow
def alone():
    e2s_task(name="nothing")(lambda: None)()
    time.sleep(2)  # in which Prefect's own threads start: else that is the only step's that goes on
    gc.collect()
    gc.freeze()
    work()
alone()
"""
)
WHOLE = "from pathlib import Path; from flows.flight_delays import *; flight_delays(Path({output!r}), {sample})"
DAGS = (
    """
import pandas, sklearn.ensemble, skops.io
from airflow.sdk import DAG, chain, task
"""
    + TIMED
    + """
gc.collect()
gc.freeze()
def step(work, *given):
    def run():
        timed(work, *given)
    return task(task_id=work.__name__)(run)()
with DAG("long_steps", schedule=None):
    @task
    def train(name):
        timed(steps.train, output / "features.parquet", name)
    train.expand(name=list(steps.CANDIDATES))
with DAG("short_steps", schedule=None):
    chain(
        step(steps.import_flights, output, sample),
        step(steps.build_features, output / "flights.parquet", output),
        step(steps.score, output / "features.parquet", output / "model.skops", output),
        step(steps.evaluate, output / "forecast.parquet"),
    )
"""
)
Seconds = Mapping[str, float]  # of each step
Told = tuple[Seconds, Seconds]  # by the ledger, and by the processes' own clocks


def measure(quick: bool) -> list[Row]:
    """Percent between the CPU seconds of each step, and the seconds."""
    from daemons import Airflow

    sample = 0.05 if quick else None
    turns = 1 if quick else TURNS
    home = FOLDER / "both"
    with (
        Airflow(home, **_environment(home, "airflow"), **_of_airflow(home, sample)) as airflow,
        _server(home) as server,
    ):
        both = Both(home, airflow, server, sample)
        both.dag("flight_delays")
        long = [(both.dag("long_steps"), both.alone(LONG), both.whole()) for _ in range(turns)]
        short = [(both.dag("short_steps"), both.alone(SHORT)) for _ in range(turns * MORE)]
    whole = [one for *_, one in long]
    pairs = {step: [pair[:2] for pair in long] for step in LONG} | dict.fromkeys(SHORT, short)
    return [_row(step, of_step, whole) for step, of_step in pairs.items()] + [
        _beside(name, place, pairs) for place, name in enumerate(("Airflow", "Prefect"))
    ]


def _beside(name: str, place: int, pairs: Mapping[str, Sequence[tuple[Told, Told]]]) -> Row:
    """What an orchestrator's steps are told to use, beside their processes' own clocks."""
    off = {}
    for step, of_step in pairs.items():
        told = [pair[place] for pair in of_step]
        off[step] = 100 * (statistics.median(ledger[step] / clock[step] for ledger, clock in told) - 1)
    worst = max((step for step in off if step not in TINY), key=lambda step: abs(off[step]))
    note = ", ".join(f"{step} {one:+.2f} %" for step, one in off.items())
    return Row(
        f"told of a step in {name} beside its own clock: worst but of {TINY}", abs(off[worst]), "%", GOAL, note=note
    )


def _row(step: str, pairs: Sequence[tuple[Told, Told]], whole: Sequence[Seconds]) -> Row:
    airflow, alone = ([one[0][step] for one in each] for each in zip(*pairs, strict=True))
    ratios = [one / other for one, other in zip(airflow, alone, strict=True)]
    apart = 100 * (statistics.median(ratios) - 1)
    low, high = (100 * (one - 1) for one in interval(ratios))
    resolved = (low >= -GOAL and high <= GOAL) or low > GOAL or high < -GOAL
    seconds = [f"{statistics.median(each):.3f}" for each in (airflow, alone, [one[step] for one in whole])]
    note = f"{apart:+.1f} % ({low:+.1f} to {high:+.1f}); {seconds[0]} and {seconds[1]} s; in one flow {seconds[2]} s"
    return Row(
        f"CPU time of {step} in Airflow and in Prefect: apart", abs(apart), "%", GOAL, note=note, resolved=resolved
    )


@dataclass
class Both:
    """Runs the steps in either of them, and tells the CPU seconds of each; a folder, an Airflow, Prefect's address."""

    home: Path
    airflow: Any
    server: str
    sample: float | None

    @property
    def clock(self) -> Path:
        """Where the steps write what their own clocks say."""
        return self.home / "clock"

    def dag(self, name: str) -> Told:
        """In Airflow, each in a process of its own."""
        self.clock.unlink(missing_ok=True)
        run_id = self.airflow.trigger(name, {"sample": self.sample} if self.sample else {})
        assert self.airflow.wait(name, run_id, 600) == "success"
        return _last_run(self.home, "airflow", Path(sys.executable).parent), self._by_clock()

    def alone(self, calls: Mapping[str, Sequence[str]]) -> Told:
        """In Prefect, each in a process of its own."""
        self.clock.unlink(missing_ok=True)
        seconds: dict[str, float] = defaultdict(float)
        known = {"output": str(self.home / "output"), "sample": self.sample, "clock": str(self.clock)}
        for step, given in ((step, given) for step, of_step in calls.items() for given in of_step):
            self._prefect("alone", ALONE.format(**known, step=step, given=given))
            for name, one in _last_run(self.home, "alone", PREFECT).items():
                seconds[name] += one
        return seconds, self._by_clock()

    def _by_clock(self) -> Seconds:
        seconds: dict[str, float] = defaultdict(float)
        for line in self.clock.read_text().splitlines() if self.clock.exists() else ():
            step, one = line.split()
            seconds[step] += float(one)
        return seconds

    def whole(self) -> Seconds:
        """In Prefect, as one flow."""
        self._prefect("whole", WHOLE.format(output=str(self.home / "whole"), sample=self.sample))
        return _last_run(self.home, "whole", PREFECT)

    def _prefect(self, name: str, code: str) -> None:
        env = os.environ | _environment(self.home, name) | {"PREFECT_API_URL": self.server}
        subprocess.run([PREFECT / "python", "-c", code], env=env, check=True, capture_output=True, cwd=ROOT)


def _environment(home: Path, name: str) -> dict[str, str]:
    """What each runs with; one thread each, since threads that wait for each other burn what they find free."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_NUM_THREADS"), "1")
    return one_thread | {
        "E2S_DATA_DIR": str(home / "e2s" / name), "E2S_OUTPUT": str(home / "output"), "E2S_WAIT": "never",
        "E2S_GRID": "none", "E2S_LIVE_S": "0", "PREFECT_HOME": str(home / "prefect"),
    }  # fmt: skip


def _of_airflow(home: Path, sample: float | None) -> dict[str, str]:
    """Its DAGs: the pipeline's, and those of the steps."""
    dags = home / "dags"
    dags.mkdir(parents=True)
    (dags / "flight_delays_dag.py").symlink_to(ROOT / "flows" / "flight_delays_dag.py")
    (dags / "steps.py").write_text(DAGS.format(output=str(home / "output"), sample=sample, clock=str(home / "clock")))
    return {"AIRFLOW__CORE__DAGS_FOLDER": str(dags), "AIRFLOW__CORE__PARALLELISM": "1"}


def _last_run(home: Path, name: str, commands: Path) -> Seconds:
    """CPU seconds of each step of the latest run of a ledger."""
    env = os.environ | _environment(home, name)
    told = subprocess.run([commands / "e2s", "show", "--json"], env=env, check=True, capture_output=True, text=True)
    seconds: dict[str, float] = defaultdict(float)
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
