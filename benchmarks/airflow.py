"""What measuring adds to the process of an Airflow attempt, whether each attempt is there once, and Prefect beside it.

    .venv-airflow/bin/python benchmarks/airflow.py

A real Airflow with all its daemons runs mapped tasks that do nothing, in turns with and without measuring, and a DAG
with an attempt of every kind. Then the flight-delay pipeline runs as a DAG and, by `.venv/bin/python` where that is, as
a Prefect flow, with one thread each for the models: CPU seconds of the same steps.
"""

import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from common import FOLDER, ROOT, Row, main

sys.path.insert(0, str(ROOT / "tests" / "airflow"))
DAGS = ROOT / "benchmarks" / "airflow_dags"
PREFECT = ROOT / ".venv" / "bin" / "python"
STEPS = ("import_flights", "build_features", "train", "score", "evaluate")


def measure(quick: bool) -> list[Row]:
    """Milliseconds, megabytes and attempts."""
    rows = _added(10 if quick else 60, 1 if quick else 3)
    rows += _every_attempt(10 if quick else 100)
    return rows + _beside_prefect("0.05" if quick else None)


def _added(tasks: int, turns: int) -> list[Row]:
    found: dict[str, list[list[float]]] = {"true": [], "false": []}
    for turn in range(turns):
        for auto in ("true", "false") if turn % 2 else ("false", "true"):
            found[auto] += _processes(tasks, turn, auto)
    with_it, without = (
        [statistics.median(one) for one in zip(*found[auto], strict=True)] for auto in ("true", "false")
    )
    wall, cpu, memory = (more - plain for more, plain in zip(with_it, without, strict=True))
    of = f"{len(found['true'])} processes each, in turns; without: {without[0]:.0f} ms, {without[1]:.0f} ms of CPU time"
    return [
        Row("wall time added to an attempt's process, median", wall, "ms", 100.0, note=of),
        Row("CPU time added to it, median", cpu, "ms"),
        Row("most memory added to it, median", memory / 1e3, "MB", 15.0),
    ]


def _processes(tasks: int, turn: int, auto: str) -> list[list[float]]:
    """Of each attempt's process: wall and CPU milliseconds, and its most memory in kB."""
    from daemons import Airflow

    home = FOLDER / f"airflow-{turn}-{auto}"
    home.mkdir()
    clock = home / "clock"
    more = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS), "AIRFLOW__CORE__PLUGINS_FOLDER": str(DAGS / "plugins"),
        "BENCHMARK_CLOCK": str(clock), "BENCHMARK_TASKS": str(tasks), "E2S_AUTO": auto,
        "AIRFLOW__CORE__PARALLELISM": "1",
    }  # fmt: skip
    with Airflow(home, **more) as running:
        run_id = running.trigger("many")
        assert running.wait("many", run_id, 600) == "success"
    return [[float(one) for one in line.split()] for line in clock.read_text().splitlines()]


def _every_attempt(tasks: int) -> list[Row]:
    """How many attempts Airflow counts, and how many of them the ledger has exactly once."""
    from daemons import Airflow

    home = FOLDER / "airflow-every-kind"
    home.mkdir()
    expected: Counter[Any] = Counter()
    runs = []
    with Airflow(home, BENCHMARK_TASKS=str(tasks), AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG="16") as running:
        for dag_id, ends in (("every_kind", "failed"), ("stopped", None)):
            run_id = running.trigger(dag_id)
            runs.append((dag_id, run_id))
            if ends is None:
                _kill(home, run_id)
            running.wait(dag_id, run_id, 600)
            for one in running.task_instances(dag_id, run_id):
                expected.update((dag_id, one["task_id"], one["map_index"], n + 1) for n in range(one["try_number"]))
    found = _found(home, runs)
    once = sum(found[one] == 1 for one in expected)
    note = f"{found.total()} in the ledger; success, failure, retry, skip, deferral, reschedule, time-out, kill, mapped"
    return [
        Row(
            "attempts that are in the ledger once",
            once,
            f"of {expected.total()}",
            expected.total(),
            least=True,
            note=note,
        )
    ]


def _kill(home: Path, run_id: str) -> None:
    import signal
    import time

    file = home / "pids" / run_id
    while not (file.exists() and file.read_text()):
        time.sleep(0.2)
    time.sleep(3)
    os.kill(int(file.read_text()), signal.SIGKILL)


def _found(home: Path, runs: list[tuple[str, str]]) -> Counter[Any]:
    """By task instance and try, how many attempts the ledger has."""
    from e2s_tasks.core.records import Kind
    from e2s_tasks.integrations.airflow.identity import dag_run_id
    from e2s_tasks.ledger import Ledger, replay

    ledger = Ledger.open(f"sqlite:///{home / 'e2s' / 'ledger.db'}")
    replay(home / "e2s" / "journal", ledger)
    found: Counter[Any] = Counter()
    for dag_id, run_id in runs:
        spans = {one.id: one for one in ledger.run(dag_run_id(dag_id, run_id)).spans}
        for one in spans.values():
            around = spans.get(one.parent_id or "")
            if one.kind == Kind.ATTEMPT and (around is None or around.kind != Kind.ATTEMPT):  # else a later stretch
                told = one.attributes["task_instance"]
                found[dag_id, told["task_id"], told["map_index"], told["try"]] += 1
    return found


def _beside_prefect(sample: str | None) -> list[Row]:
    """CPU seconds of each step of the pipeline, in Airflow against Prefect."""
    if not PREFECT.exists():
        return []
    airflow, prefect = _in_airflow(sample), _in_prefect(sample)
    rows = []
    for step in STEPS:
        apart = 100 * abs(airflow[step] / prefect[step] - 1)
        note = f"{airflow[step]:.3f} and {prefect[step]:.3f} s"
        rows.append(Row(f"CPU time of {step} in Airflow and in Prefect: apart", apart, "%", 3.0, note=note))
    return rows


def _environment(home: Path) -> dict[str, str]:
    """What both run with; one thread each, since threads that wait for each other burn what they find free."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_NUM_THREADS"), "1")
    return one_thread | {
        "E2S_DATA_DIR": str(home / "e2s"), "E2S_OUTPUT": str(home / "output"), "E2S_WAIT": "never", "E2S_GRID": "none",
        "PREFECT_HOME": str(home / "prefect"),
    }  # fmt: skip


def _in_airflow(sample: str | None) -> dict[str, float]:
    """CPU seconds of the steps of the pipeline, by real daemons: a process for each attempt."""
    from daemons import Airflow

    home = FOLDER / "pipeline-airflow"
    home.mkdir()
    more = {"AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "flows")}
    with Airflow(home, **_environment(home), **more) as running:
        run_id = running.trigger("flight_delays", {"sample": float(sample)} if sample else {})
        assert running.wait("flight_delays", run_id, 600) == "success"
    return _cpu_seconds(home, sys.executable)


def _in_prefect(sample: str | None) -> dict[str, float]:
    """The same by the flow, all steps in one process."""
    home = FOLDER / "pipeline-prefect"
    home.mkdir()
    call = f"flight_delays(Path({str(home / 'output')!r}), sample={sample})"
    code = f"from pathlib import Path; from flows.flight_delays import flight_delays; {call}"
    env = os.environ | _environment(home)
    subprocess.run([PREFECT, "-c", code], env=env, check=True, capture_output=True, cwd=ROOT)
    return _cpu_seconds(home, str(PREFECT))


def _cpu_seconds(home: Path, python: str) -> dict[str, float]:
    show = [Path(python).parent / "e2s", "show", "--json"]
    told = subprocess.run(show, env=os.environ | _environment(home), check=True, capture_output=True, text=True).stdout
    seconds: Counter[str] = Counter()
    for row in json.loads(told)["steps"]:
        if row["depth"] == 0:
            seconds[row["name"]] += row["cpu_s"]
    return dict(seconds)


if __name__ == "__main__":
    main(measure)
