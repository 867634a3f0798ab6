"""Waiting runs on a real Prefect server and worker, while server, worker and scheduler are killed with -9 at random.

    [CHAOS_RUNS=200 CHAOS_KILLS=20 CHAOS_SEED=1] .venv/bin/python benchmarks/chaos.py [--quick]

Runs of one deployment arrive, seven a minute, each with five minutes of slack under a grid that changes every 20 s;
a worker with four places starts them, `e2s scheduler` plans them anew every 10 s. Every so often one of the three is
killed, with all its processes, and started again two seconds later. Each run appends a line to a file when its work
begins and when it ends. At the end each run is looked for: how often its work began, whether it is lost, what the
ledger says of those that were killed, and when each began.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common import FOLDER, Row, main

BIN = Path(sys.executable).parent
PORT = 4299
SLACK_S, POLL_S, STEP_S = 300.0, 15.0, 20.0
PACE = 7  # runs a minute: two process starts each, as fast as two cores can start them without a queue
WORKER_START_S = 6.0  # from a worker's start to its first look for runs
CHOICES = {"RUNS": "200", "KILLS": "20", "SEED": "1"}
FLOW = """
import os, time
from e2s_tasks import CarbonPolicy, e2s_flow

def note(what):
    from prefect.runtime import flow_run
    line = f"{what} {flow_run.id} {time.time()}\\n".encode()
    fd = os.open(os.environ["CHAOS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, line)
    os.close(fd)

@e2s_flow(name="chaos", carbon=CarbonPolicy("GB", max_delay="300s", expected_duration="20s"))
def chaos():
    note("begin")
    time.sleep(3)
    note("end")
"""


class Part:
    """The server, the worker or the scheduler: a process with whatever it starts."""

    def __init__(self, name: str, *command: str) -> None:
        self.name, self._command = name, [str(BIN / command[0]), *command[1:]]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, in a process group of its own."""
        log = (FOLDER / f"{self.name}.log").open("ab")
        self._process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True, cwd=FOLDER)

    def kill(self) -> None:
        """Kill -9, with all that it has started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def parts() -> list[Part]:
    """What is killed."""
    return [
        Part("server", "prefect", "server", "start", "--port", str(PORT)),
        Part("worker", "prefect", "worker", "start", "--pool", "chaos", "--limit", "4"),
        Part("scheduler", "e2s", "scheduler", "--every", "10s"),
    ]


def prepare(seed: int, minutes: float) -> None:
    """The flow, the grid, and where Prefect and the ledger are."""
    (FOLDER / "chaos.py").write_text(FLOW)
    draw, now = random.Random(seed), datetime.now(UTC)
    steps = int((minutes * 60 + 4 * SLACK_S) / STEP_S)
    rows = [
        f"{now + timedelta(seconds=(i - 3) * STEP_S):%Y-%m-%dT%H:%M:%S.%fZ},{draw.randint(50, 400)}"
        for i in range(steps)
    ]
    (FOLDER / "grid.csv").write_text("\n".join(["ts_utc,ci_g_per_kwh", *rows]))
    os.environ |= {
        "PREFECT_API_URL": f"http://127.0.0.1:{PORT}/api", "PREFECT_SERVER_API_PORT": str(PORT),
        "PREFECT_WORKER_QUERY_SECONDS": "5", "E2S_TRACE": str(FOLDER / "grid.csv"), "CHAOS_LOG": str(FOLDER / "log"),
    }  # fmt: skip


def wait_for_server() -> None:
    """Until it answers."""
    import httpx

    for _ in range(120):
        try:
            if httpx.get(f"{os.environ['PREFECT_API_URL']}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise SystemExit("the Prefect server does not start")


def deploy(runs: int, seed: int, minutes: float) -> list[str]:
    """The deployment and its runs, half of them with the tags that the scheduler reads; their ids."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.states import Scheduled

    from e2s_tasks import CarbonPolicy
    from e2s_tasks.core.policy_tags import tags_of

    draw, tags = random.Random(seed), tags_of(CarbonPolicy("GB", max_delay="300s", expected_duration="20s"))
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="chaos", type="process"))
        flow_id = client.create_flow_from_name("chaos")
        deployment = client.create_deployment(
            flow_id, "chaos", path=str(FOLDER), entrypoint="chaos.py:chaos", work_pool_name="chaos"
        )
        begin = datetime.now(UTC) + timedelta(seconds=10)
        made = []
        for number in range(runs):
            at = begin + timedelta(seconds=draw.uniform(0, minutes * 60))
            state: Any = Scheduled(scheduled_time=at)
            made.append(
                client.create_flow_run_from_deployment(
                    deployment, state=state, parameters={}, tags=tags if number % 2 else ["chaos"]
                )
            )
        return [str(one.id) for one in made]


def read_runs(ids: list[str]) -> dict[str, Any]:
    """Each run and its states, by id."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return {one: (client.read_flow_run(one), client.read_flow_run_states(one)) for one in ids}  # type: ignore[arg-type]


def survive(runs: int, kills: int, seed: int) -> list[Row]:
    """Let the runs go on while things are killed; what became of them."""
    minutes = max(1.0, runs / PACE)
    prepare(seed, minutes)
    server, worker, scheduler = all_parts = parts()
    draw = random.Random(seed + 1)
    try:
        server.start()
        wait_for_server()
        ids = deploy(runs, seed, minutes)
        worker.start()
        scheduler.start()
        end = time.monotonic() + minutes * 60 + SLACK_S
        away: list[tuple[float, float]] = []
        for _ in range(kills):
            time.sleep(draw.uniform(0.5, 1.5) * (minutes * 60 + SLACK_S / 2) / kills)
            victim = draw.choice(all_parts)
            since = time.time()
            victim.kill()
            time.sleep(2)
            victim.start()
            if victim is not scheduler:  # which no run needs in order to start
                wait_for_server()
                away.append((since, time.time() + (WORKER_START_S if victim is worker else 0.0)))
        wait_for_server()
        _until_over(ids, end)
        return judge(ids, kills, away)
    finally:
        for part in reversed(all_parts):
            part.kill()


def _until_over(ids: list[str], soonest: float) -> None:
    """Until every run that nobody killed has ended, and the time of all is over."""
    give_up = soonest + 300
    while time.monotonic() < give_up:
        open_runs = [one for one, (run, _) in read_runs(ids).items() if run.state and run.state.is_scheduled()]
        if time.monotonic() > soonest and not open_runs:
            return
        time.sleep(5)


def judge(ids: list[str], kills: int, away: list[tuple[float, float]]) -> list[Row]:
    """What became of the runs. away: from when to when the server or the worker was not there."""
    from e2s_tasks.integrations.prefect.awaiting import AWAITING, arrival_of

    began: dict[str, list[float]] = {}
    ended: set[str] = set()
    for line in (FOLDER / "log").read_text().splitlines():
        what, run_id, at = line.split()
        if what == "begin":
            began.setdefault(run_id, []).append(float(at))
        else:
            ended.add(run_id)
    runs = read_runs(ids)
    done = subprocess.run(
        [BIN / "e2s", "runs", "--limit", "10000", "--json"], capture_output=True, text=True, check=True
    )
    ledger = {one["id"]: one["status"] for one in json.loads(done.stdout)["runs"]}
    twice = sum(len(times) > 1 for times in began.values())
    killed = [one for one in began if one not in ended]
    waiting = [one for one in ids if one not in began]
    lost = [one for one in waiting if not _died_on_its_way(runs[one])]
    late, net = [], []
    for one, times in began.items():
        latest = arrival_of(runs[one][1], datetime.now(UTC)).at.timestamp() + SLACK_S
        late.append(times[0] - latest)
        net.append(late[-1] - sum(max(0.0, min(end, times[0]) - max(start, latest)) for start, end in away))
    moved = sum(any(state.name == AWAITING for state in states) for _, states in runs.values())
    return [
        Row("runs whose work began twice", twice, "runs", 0, note=f"{len(ids)} runs, {moved} waited, {kills} kills"),
        Row("runs lost: neither begun nor killed on their way", len(lost), "runs", 0,
            note=f"{len(waiting) - len(lost)} were killed between claim and begin"),
        Row("runs killed while they worked, not crashed in the ledger",
            sum(ledger.get(one) != "crashed" for one in killed), "runs", 0, note=f"{len(killed)} were killed so"),
        Row("latest begin after the latest start", max(late, default=0.0), "s", POLL_S * 2,
            note=f"polling and process start included; {sum(one > POLL_S for one in late)} later than {POLL_S:g} s"),
        Row("the same, less the time that the server or the worker was away", max(net, default=0.0), "s", POLL_S * 2,
            note=f"{sum(one > POLL_S for one in net)} later than {POLL_S:g} s"),
    ]  # fmt: skip


def _died_on_its_way(run: Any) -> bool:
    """Whether a worker had claimed it when it was killed: Prefect shows it pending, running or crashed."""
    state = run[0].state
    return state is not None and (state.is_pending() or state.is_running() or state.is_crashed())


def measure(quick: bool) -> list[Row]:
    """What became of the runs."""
    runs, kills = (
        (10, 2) if quick else (int(os.environ.get("CHAOS_RUNS", "200")), int(os.environ.get("CHAOS_KILLS", "20")))
    )
    return survive(runs, kills, int(os.environ.get("CHAOS_SEED", "1")))


if __name__ == "__main__":
    main(measure)
