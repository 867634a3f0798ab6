"""A real Airflow with its four daemons, in a folder of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx

DAGS = Path(__file__).parent / "dags"
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
PATIENCE_S = 150.0  # where tests of other Airflows have the CPUs, too


def environment(home, **more):
    """The environment of an Airflow that measures everything."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "E2S_"))},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__AUTH_MANAGER": "strict_auth.StrictAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "ada:admin,vic:viewer,tim:viewer",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",  # how late a supervisor may hear of an end
        "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "5",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-the-tests-that-is-long-enough-for-a-signature-of-sha512-bits",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "E2S_AUTO": "true",
        "E2S_DATA_DIR": str(home / "e2s"),
        "E2S_ZONE": "DE",
        "E2S_GRID": "none",
        "PYTHONPATH": os.pathsep.join(str(path) for path in (DAGS, DAGS.parent, DAGS.parents[2])),
        **more,
    }


class Airflow:
    """The daemons of one Airflow; `with` ends them."""

    def __init__(self, home, **more):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.home = home
        url = f"http://127.0.0.1:{self.port}"
        self.env = environment(home, AIRFLOW__API__PORT=str(self.port), AIRFLOW__API__BASE_URL=url, **more)
        self.env["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] = f"{url}/execution/"
        self.env["AIRFLOW__API__WORKERS"] = "1"
        self.url = url
        self.processes = {}
        self.client = httpx.Client(base_url=url, timeout=30)

    def __enter__(self):
        try:
            self.run("db", "migrate")
            for component in COMPONENTS:
                self.start(component)
            self._wait_until_it_answers()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.terminate()  # all at once: each may take its time
        for component in list(self.processes):
            self.kill(component, signal.SIGTERM, patience_s=3)

    def run(self, *arguments):
        """Run an `airflow` command to its end; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def start(self, component):
        """Start one of the daemons."""
        log = (self.home / f"{component}.log").open("ab")
        self.processes[component] = subprocess.Popen(
            [sys.executable, "-m", "airflow", component], env=self.env, stdout=log, stderr=log, start_new_session=True
        )

    def kill(self, component, number=signal.SIGKILL, patience_s=15):
        """Kill a daemon with all that it has started."""
        process = self.processes.pop(component)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _wait_until_it_answers(self):
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                health = self.client.get("/api/v2/monitor/health").json()
                if all(health[name]["status"] == "healthy" for name in ("scheduler", "triggerer", "dag_processor")):
                    self.client.headers["Authorization"] = f"Bearer {self.token('ada')}"
                    return
            except (httpx.HTTPError, KeyError, ValueError):
                pass
            time.sleep(0.5)
        raise AssertionError("Airflow does not become healthy: see its logs in " + str(self.home))

    def token(self, user):
        """A token of a user, whose password the simple auth manager has written down."""
        import json

        passwords = json.loads((self.home / "simple_auth_manager_passwords.json.generated").read_text())
        answer = self.client.post("/auth/token", json={"username": user, "password": passwords[user]})
        return answer.raise_for_status().json()["access_token"]

    def trigger(self, dag_id, conf=None):
        """Start a DAG run; its id."""
        until = time.monotonic() + PATIENCE_S
        while True:
            self.client.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": False})
            answer = self.client.post(f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf or {}})
            if answer.is_success:
                return answer.json()["dag_run_id"]
            assert time.monotonic() < until, answer.text
            time.sleep(0.5)

    def state(self, dag_id, run_id):
        """The state of a DAG run."""
        return self.client.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").raise_for_status().json()["state"]

    def task_instances(self, dag_id, run_id):
        """The task instances of a DAG run."""
        found = []
        while True:  # Airflow gives a hundred at a time
            path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
            page = self.client.get(path, params={"limit": 100, "offset": len(found)}).raise_for_status().json()
            found += page["task_instances"]
            if len(found) >= page["total_entries"]:
                return found

    def wait(self, dag_id, run_id, patience_s=PATIENCE_S):
        """Wait until a DAG run has ended; its state."""
        until = time.monotonic() + patience_s
        while (state := self.state(dag_id, run_id)) not in {"success", "failed"}:
            now = [(one["task_id"], one["state"]) for one in self.task_instances(dag_id, run_id)]
            assert time.monotonic() < until, (state, now)
            time.sleep(0.5)
        return state


def until(found, patience_s=60.0):
    """What is found, once there is something."""
    end = time.monotonic() + patience_s
    while not (result := found()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return result
