"""A hundred tasks of a real Airflow wait for a cleaner grid, while their triggerer is killed twice with -9.

    .venv-airflow/bin/python benchmarks/airflow_gate.py [--quick]

One mapped task of a hundred instances, half of them in each of two zones, each with 40 minutes of slack. The grid is a
local server that replays an answer of the GB Carbon Intensity API; its clean hour lies after the triggers have planned
again. Each instance appends a line to a file when its work begins. At the end each is looked for: how often its work
began, when, and how often the server was asked for a forecast, in each slot of time and each zone.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from common import FOLDER, ROOT, Row, main

sys.path.insert(0, str(ROOT / "tests" / "airflow"))

SLACK_S, REST_S, ARRIVING_S = 2400.0, 10.0, 150.0
DAG_ID = "waiting"
ZONES = ("GB", "GB-13")
TIME = "%Y-%m-%dT%H:%MZ"
DAG_FILE = """
import json, os, time
from airflow.sdk import DAG, task
from e2s_tasks import CarbonPolicy
from e2s_tasks.integrations.airflow import carbon_gate

with DAG("waiting", schedule=None, catchup=False, max_active_tasks=200):
    for name, zone in (("one", "GB"), ("other", "GB-13")):
        @task(task_id=name, pre_execute=carbon_gate(CarbonPolicy(zone, max_delay="40m", expected_duration="5m")))
        def work(number, **context):
            ti = context["ti"]
            line = json.dumps({"task": ti.task_id, "index": ti.map_index, "try": ti.try_number, "at": time.time()})
            fd = os.open(os.environ["WORKED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.write(fd, (line + "\\n").encode())
            os.close(fd)

        work.expand(number=list(range(int(os.environ["TASKS"]) // 2)))
"""


class Grid:
    """A server that always gives the same answer: dirty until an hour, then clean for one, then half as dirty."""

    def __init__(self, clean: datetime) -> None:
        begin = clean - timedelta(hours=2)
        half_hour = timedelta(minutes=30)
        slots = [(begin + i * half_hour, 300 if i < 4 else 100 if i < 6 else 200) for i in range(104)]
        self.slots = [
            {"from": at.strftime(TIME), "to": (at + half_hour).strftime(TIME), "intensity": {"forecast": value}}
            for at, value in slots
        ]
        self.asked: list[tuple[str, float]] = []  # path, when

    @contextmanager
    def served(self) -> Iterator[str]:
        """Its address."""
        grid = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                grid.asked.append((self.path, time.time()))
                found = {"data": grid.slots} if "regional" not in self.path else {"data": {"data": grid.slots}}
                body = json.dumps(found).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def clean_from(quick: bool) -> datetime:
    """When the grid becomes clean: soon, or two minutes after the triggers have planned again."""
    from e2s_tasks.integrations.airflow.trigger import LAG_S, REPLAN_S

    at = time.time() + ARRIVING_S
    if not quick:
        at = ((at - LAG_S) // REPLAN_S + 1) * REPLAN_S + LAG_S + 120.0
    return datetime.fromtimestamp((at // 60 + 1) * 60, UTC)


def wait_in(home: Path, tasks: int, clean: datetime, url: str) -> Any:
    """The decisions of the tasks, once all have run while the triggerer was killed twice."""
    from daemons import Airflow

    from e2s_tasks.integrations.airflow.identity import dag_run_id
    from e2s_tasks.ledger import Ledger, replay

    dags = home / "dags"
    dags.mkdir(parents=True)
    (dags / "waiting.py").write_text(DAG_FILE)
    more = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags), "AIRFLOW__CORE__PARALLELISM": "8", "E2S_GRID": "gb", "E2S_ZONE": "",
        "E2S_GB_API_URL": url, "WORKED": str(home / "worked"), "TASKS": str(tasks),
    }  # fmt: skip
    with Airflow(home, **more) as airflow:
        run_id = airflow.trigger(DAG_ID)
        _until(lambda: _deferred(airflow, run_id) == tasks, 600)
        kill(airflow)
        _until(lambda: time.time() > clean.timestamp() - REST_S, 3600)
        kill(airflow)
        airflow.wait(DAG_ID, run_id, 900)
    ledger = Ledger.open(f"sqlite:///{home / 'e2s' / 'ledger.db'}")
    replay(home / "e2s" / "journal", ledger)
    return [one for one in ledger.run(dag_run_id(DAG_ID, run_id)).decisions if one.plan.get("waits")]


def kill(airflow: Any) -> None:
    """Kill the triggerer with all that it started, and start it again."""
    airflow.kill("triggerer")
    time.sleep(2)
    airflow.start("triggerer")


def _deferred(airflow: Any, run_id: str) -> int:
    return Counter(one["state"] for one in airflow.task_instances(DAG_ID, run_id))["deferred"]


def _until(met: Any, patience_s: float) -> None:
    until = time.monotonic() + patience_s
    while not met():
        if time.monotonic() > until:
            raise TimeoutError("Airflow did not come so far: see its logs")
        time.sleep(1)


def measure(quick: bool) -> list[Row]:
    """What became of the tasks, and what the server was asked."""
    from e2s_tasks.integrations.airflow.trigger import LAG_S, REPLAN_S

    tasks, clean = 20 if quick else 100, clean_from(quick)
    grid, home = Grid(clean), FOLDER / "airflow"
    with grid.served() as url:
        decisions = wait_in(home, tasks, clean, url)
    works = [json.loads(line) for line in (home / "worked").read_text().splitlines()]
    times = Counter((one["task"], one["index"]) for one in works)
    began = [one["at"] for one in works]
    early = sum(at < clean.timestamp() for at in began)
    arrived = [one.plan["arrived"] for one in decisions]
    slots = Counter((path.partition("/fw48h")[2], int((at - LAG_S) // REPLAN_S)) for path, at in grid.asked)
    told = f"{tasks} tasks, {len({one.plan['step'] for one in decisions})} waited, triggerer killed twice"
    return [
        Row("tasks whose work did not begin just once", tasks - sum(n == 1 for n in times.values()), "tasks", 0,
            note=told),
        Row("tasks that needed a further try", sum(one["try"] > 1 for one in works), "tasks", 0),
        Row("tasks that began before the clean hour", early, "tasks", 0),
        Row("tasks that began after their latest start", sum(at > min(arrived) + SLACK_S for at in began), "tasks", 0,
            note=f"from {min(began) - clean.timestamp():.0f} to {max(began) - clean.timestamp():.0f} s after it began"),
        Row("forecasts asked for, most in one slot and zone", max(slots.values()), "requests", 1,
            note=f"{len(grid.asked)} in {len(slots)} slots of {len(ZONES)} zones"),
    ]  # fmt: skip


if __name__ == "__main__":
    main(measure)
