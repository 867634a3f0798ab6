"""A measured flow run in MLflow: on a real server, with real models, and with a server that is away."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from pathlib import Path

import mlflow
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from prefect.settings import get_current_settings

from e2s_tasks import e2s_flow, e2s_task, record_outcome
from e2s_tasks.integrations.mlflow import outbox, sender, sending
from e2s_tasks.ledger import Ledger
from e2s_tasks.reporter import summarise_run
from e2s_tasks.settings import settings

E2S = Path(sys.executable).parent / "e2s"
pytestmark = pytest.mark.timeout(300)  # the servers' start counts as the first test's


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The URI of a real MLflow server."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [Path(sys.executable).parent / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "art")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*command, "--workers", "1"], stdout=log, stderr=log)
    uri, give_up = f"http://127.0.0.1:{port}", time.monotonic() + 100
    try:
        while not answers(uri):
            assert time.monotonic() < give_up, (folder / "log").read_text()
            time.sleep(0.2)
        yield uri
    finally:
        process.terminate()
        process.wait(20)


def answers(uri):
    try:
        return urllib.request.urlopen(f"{uri}/health", timeout=1).status == 200
    except OSError:
        return False


@pytest.fixture
def client(server, monkeypatch):
    """The server's client, in a process that tracks there."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setattr(sender, "LIMIT_S", 60.0)  # a busy host must not make these tests fail
    mlflow.set_tracking_uri(server)
    yield MlflowClient(server)
    mlflow.set_tracking_uri(None)


def runs_of(client, tag, value):
    experiments = [one.experiment_id for one in client.search_experiments()]
    return list(client.search_runs(experiments, filter_string=f"tags.`{tag}` = '{value}'"))


def told(client, flow):
    """The flow run's id, summary, MLflow run and steps' runs by name."""
    run_id = str(flow(return_state=True).state_details.flow_run_id)
    (parent,) = runs_of(client, "e2s.run_id", run_id)
    steps = {run.data.tags["e2s.step"]: run for run in runs_of(client, "e2s.step_of", run_id)}
    return run_id, summarise_run(Ledger.open(settings().ledger), run_id), parent, steps


def burn(seconds=0.05):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input


def log_model(**more):
    return mlflow.pyfunc.log_model(name="model", python_model=Model(), pip_requirements=[], **more)


@e2s_task
def quick():
    burn()
    return 1


@e2s_task(retries=1)
def fails_once(given):
    from prefect.context import TaskRunContext

    burn()
    if TaskRunContext.get().task_run.run_count == 1:
        raise RuntimeError("once")
    record_outcome(units=4, accurate=2, name="prediction")


@pytest.mark.slow
def test_a_flow_run_is_one_run_with_its_figures_a_child_per_step_and_the_span_table(client, capsys, tmp_path):
    @e2s_flow(solution="demo")
    def flow():
        fails_once(quick())

    run_id, summary, parent, steps = told(client, flow)
    metrics, tags = parent.data.metrics, parent.data.tags
    energy = summary["energy_j"]
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == summary["flow_run"]["name"]
    for name in ("total", "host", "cpu", "dram", "static"):
        assert metrics[f"e2s/{name}_j"] == pytest.approx(energy[name])
    assert "e2s/gpu_j" not in metrics
    assert metrics["e2s/unsuccessful_j"] == summary["unsuccessful_j"] > 0
    assert metrics["e2s/kpi/joules_per_accurate_prediction"] == pytest.approx(energy["total"] / 2)
    assert tags["e2s.solution"] == "demo"
    assert tags["e2s.provenance.cpu"] == "modelled"
    assert set(steps) == {"quick", "fails_once"}
    assert steps["fails_once"].data.metrics["e2s/attempts"] == 2
    assert {run.data.tags["mlflow.parentRunId"] for run in steps.values()} == {parent.info.run_id}
    of_steps = sum(run.data.metrics["e2s/total_j"] for run in steps.values())
    assert of_steps + summary["orchestration_j"] == pytest.approx(energy["total"])
    folder = client.download_artifacts(parent.info.run_id, "e2s", str(tmp_path))
    spans = pq.read_table(Path(folder) / "spans.parquet")
    assert sum(spans["exclusive_j"].to_pylist()) == pytest.approx(energy["total"])
    assert json.loads((Path(folder) / "summary.json").read_text()) == summary
    assert outbox.waiting(settings()) == []
    assert capsys.readouterr().out == ""

    # told again, by hand: nothing is doubled
    done = subprocess.run([E2S, "mlflow", run_id, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["mlflow_run_id"] == parent.info.run_id
    assert len(runs_of(client, "e2s.step_of", run_id)) == 2
    assert len(client.get_metric_history(parent.info.run_id, "e2s/total_j")) == 1


@pytest.mark.slow
def test_a_logged_model_is_found_by_its_joules_and_who_loads_it_stands_on_it(client):
    @e2s_task
    def train():
        burn()
        with mlflow.start_run():
            return log_model(registered_model_name="demo-model").model_id

    @e2s_task
    def use(model_id):
        mlflow.pyfunc.load_model(f"models:/{model_id}")
        mlflow.pyfunc.load_model("models:/demo-model/1")

    @e2s_flow
    def training():
        return train()

    @e2s_flow
    def using(model_id):
        use(model_id)

    run_id, summary, parent, steps = told(client, training)
    logged, registered = summary["artifacts"]
    model_id = logged["uri"].removeprefix("models:/")
    assert registered["uri"] == "models:/demo-model/1"
    assert logged["produced_by"] == "train"
    assert logged["bytes"] == registered["bytes"] > 0
    cheap = client.search_logged_models(["0"], f"metrics.`e2s.in_run_j` < {logged['in_run_j'] * 1.01}")
    assert model_id in {one.model_id for one in cheap}
    assert client.search_logged_models(["0"], "metrics.`e2s.in_run_j` < 0.000001") == []
    model = client.get_logged_model(model_id)
    assert {m.key: m.value for m in model.metrics}["e2s.in_run_j"] == pytest.approx(logged["in_run_j"])
    assert model.tags["e2s.flow_run_id"] == run_id
    in_registry = client.get_model_version("demo-model", "1").tags["e2s.in_run_j"]
    assert float(in_registry) == pytest.approx(registered["in_run_j"])
    # the run that the task started is the step's: it is not doubled, and lies below the flow run's
    assert steps["train"].info.run_id == model.source_run_id
    assert steps["train"].data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert steps["train"].data.tags["e2s.flow_run_id"] == run_id

    using_id = str(using(model_id, return_state=True).state_details.flow_run_id)
    ledger = Ledger.open(settings().ledger)
    wrote = {version.uri: version.id for version in ledger.run(run_id).versions}
    read = {one.uri: one.version_id for one in ledger.run(using_id).reads}
    assert read == wrote


@pytest.mark.slow
def test_the_users_own_run_stands_for_the_flow_run_and_keeps_its_status(client):
    @e2s_flow
    def inside():
        with mlflow.start_run(run_name="mine"):
            quick()
        raise RuntimeError("after the run")

    @e2s_flow
    def plain():
        quick()

    _, summary, parent, steps = told(client, inside)
    assert summary["flow_run"]["status"] == "failed"
    assert (parent.info.run_name, parent.info.status) == ("mine", "FINISHED")
    assert parent.data.metrics["e2s/total_j"] == pytest.approx(summary["energy_j"]["total"])
    assert steps["quick"].data.tags["mlflow.parentRunId"] == parent.info.run_id
    with mlflow.start_run(run_name="around") as around:
        _, _, first, _ = told(client, plain)
        _, _, second, _ = told(client, plain)
        assert mlflow.active_run().info.run_id == around.info.run_id
        assert client.get_run(around.info.run_id).info.status == "RUNNING"
    assert first.info.run_id == around.info.run_id
    assert second.info.run_id != around.info.run_id  # that one stands for a flow run already
    assert second.data.tags["mlflow.parentRunId"] == around.info.run_id


@pytest.mark.slow
def test_of_several_runs_in_the_flows_body_none_is_the_flow_runs_and_all_lie_below_it(client):
    @e2s_flow
    def flow():
        ids = []
        for number in range(2):
            with mlflow.start_run(run_name=f"trial {number}") as run:
                ids.append(run.info.run_id)
                quick()
        return ids

    state = flow(return_state=True)
    (parent,) = runs_of(client, "e2s.run_id", state.state_details.flow_run_id)
    trials = [client.get_run(one) for one in state.result()]
    assert parent.info.run_id not in state.result()
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}


@pytest.mark.slow
def test_beyond_the_limit_steps_are_metrics_of_the_run(client, monkeypatch):
    monkeypatch.setattr(sending, "MOST_CHILDREN", 2)

    @e2s_flow
    def flow():
        for _ in range(3):
            quick()

    _, summary, parent, steps = told(client, flow)
    assert steps == {}
    assert parent.data.metrics["e2s/step/quick/count"] == 3
    of_steps = parent.data.metrics["e2s/step/quick/energy_j"]
    assert of_steps + summary["orchestration_j"] == pytest.approx(summary["energy_j"]["total"])


class Door:
    """A port that leads to another one, from a moment on."""

    def __init__(self, port, to):
        self._to, self._listening = to, socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._open, daemon=True).start()

    def _open(self):
        while True:
            inside, _ = self._listening.accept()
            outside = socket.create_connection(("127.0.0.1", self._to))
            for one, other in ((inside, outside), (outside, inside)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass(one, other):
        try:
            while chunk := one.recv(65536):
                other.sendall(chunk)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass


FLOW = """
    import sys, time
    from e2s_tasks import e2s_flow, e2s_task

    @e2s_task
    def work():
        assert "mlflow" not in sys.modules
        if "kill" in sys.argv:
            print("ready", flush=True)
            time.sleep(60)
        return 7

    @e2s_flow
    def working():
        work()

    started = time.monotonic()
    print(working(return_state=True).state_details.flow_run_id)
    print("mlflow" in sys.modules)
    print(time.monotonic() - started)
"""


def environment(folder, uri):
    (folder / "flow.py").write_text(textwrap.dedent(FLOW))
    more = {"E2S_DATA_DIR": str(folder), "PREFECT_API_URL": str(get_current_settings().api.url)}
    return os.environ | more | {"MLFLOW_TRACKING_URI": uri, "E2S_TICK_S": "0.1"}


def flow_in_a_process(folder, uri):
    """The flow run's id, whether MLflow was imported, the seconds that it took, and the warnings."""
    command = [sys.executable, str(folder / "flow.py")]
    done = subprocess.run(command, env=environment(folder, uri), capture_output=True, text=True, check=True)
    run_id, imported, seconds = done.stdout.split()
    return run_id, imported == "True", float(seconds), done.stderr.count("MeteringWarning")


def wait_until_sent(folder):
    give_up = time.monotonic() + 60
    while list((folder / "mlflow").iterdir()) and time.monotonic() < give_up:
        time.sleep(0.5)
    assert list((folder / "mlflow").iterdir()) == []


@pytest.mark.slow
def test_a_server_that_is_away_costs_one_warning_and_is_told_by_the_next_run(server, tmp_path):
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    first, imported, _, warnings = flow_in_a_process(tmp_path, uri)
    assert (imported, warnings) == (False, 1)
    assert [path.name for path in (tmp_path / "mlflow").iterdir()] == [first]
    Door(port, int(server.rpartition(":")[2]))
    second, imported, _, _ = flow_in_a_process(tmp_path, uri)
    assert imported
    wait_until_sent(tmp_path)  # on a busy host a process of its own goes on with it
    for run_id in (first, second):
        assert len(runs_of(MlflowClient(server), "e2s.run_id", run_id)) == 1


@pytest.mark.slow
def test_a_server_that_never_answers_delays_the_end_of_a_flow_run_by_seconds_at_most(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        _, imported, seconds, warnings = flow_in_a_process(tmp_path, uri)
    assert (imported, warnings) == (False, 1)
    assert seconds < 30


@pytest.mark.slow
def test_a_flow_that_was_killed_is_told_by_the_next_command(server, tmp_path):
    env = environment(tmp_path, server)
    command = [sys.executable, str(tmp_path / "flow.py"), "kill"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run([E2S, "show", "--json"], env=env, capture_output=True, text=True, check=True)
    run_id = json.loads(done.stdout)["flow_run"]["id"]
    wait_until_sent(tmp_path)
    (parent,) = runs_of(MlflowClient(server), "e2s.run_id", run_id)
    assert parent.info.status == "FAILED"
    assert parent.data.tags["e2s.status"] == "crashed"


def test_sending_by_hand_without_a_server_says_what_to_set(tmp_path):
    env = os.environ | {"E2S_DATA_DIR": str(tmp_path)}
    from e2s_tasks.core.records import SpanRecord

    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    ledger.ingest([SpanRecord("f", 1, "p", "r-1", "flow", "demo", "completed", 1.0, ended_at=2.0, flow_run_id="r-1")])
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    for more, remedy in (({}, "set MLFLOW_TRACKING_URI"), (away, "does not answer")):
        done = subprocess.run([E2S, "mlflow", "r-1"], env=env | more, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert remedy in done.stderr
