"""What measuring adds to the process of an Airflow attempt, and whether each attempt is there once.

    .venv-airflow/bin/python benchmarks/airflow_attempts.py

A real Airflow with all its daemons runs mapped tasks that do nothing, in turns with and without measuring, and a DAG
with an attempt of every kind.
"""

import os
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from common import FOLDER, ROOT, Row, main

sys.path.insert(0, str(ROOT / "tests" / "airflow"))
DAGS = ROOT / "benchmarks" / "airflow_dags"


def measure(quick: bool) -> list[Row]:
    """Milliseconds, megabytes and attempts."""
    rows = _added(10 if quick else 60, 1 if quick else 3)
    return rows + _every_attempt(10 if quick else 100)


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


if __name__ == "__main__":
    main(measure)
