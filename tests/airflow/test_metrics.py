"""An attempt's energy among Airflow's own metrics."""

import socket
import threading

import pytest

DAG = "energy_pages"


@pytest.fixture
def statsd():
    """A StatsD server: what it was sent by name and tags, each value a list, and its port."""
    pytest.importorskip("statsd", reason="Airflow's metrics need the package statsd")
    received = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.2)
        ended = threading.Event()

        def listen():
            while not ended.is_set():
                try:
                    lines = server.recv(65536).decode().splitlines()
                except TimeoutError:
                    continue
                for line in lines:
                    name, _, value = line.partition(":")
                    received.setdefault(name, []).append(value)

        thread = threading.Thread(target=listen)
        thread.start()
        yield received, server.getsockname()[1]
        ended.set()
        thread.join()


def test_a_statsd_server_is_told_what_each_attempt_used(airflow_with, statsd):
    received, port = statsd
    switches = {"STATSD_ON": "true", "STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(port)}
    switches |= {"STATSD_INFLUXDB_ENABLED": "true"}  # tags in the name
    with airflow_with(**{f"AIRFLOW__METRICS__{name}": value for name, value in switches.items()}) as airflow:
        assert airflow.wait(DAG, airflow.trigger(DAG)) == "success"
    tags = f"dag_id={DAG},task_id=train"
    energy = received[f"airflow.e2s.task.energy_joules,{tags}"]
    assert len(energy) == 2  # of its two tries
    assert all(float(one.partition("|")[0]) > 0 and one.endswith("|g") for one in energy)
    counted = received[f"airflow.e2s.task.energy_joules_total,{tags}"]
    assert [one.replace("|c", "|g") for one in counted] == energy
    cpu = [float(one.partition("|")[0]) for one in received[f"airflow.e2s.task.cpu_seconds,{tags}"]]
    assert all(0.795 < one < 2 for one in cpu)  # seconds: what it burned, and the import of numpy
    memory = [float(one.partition("|")[0]) for one in received[f"airflow.e2s.task.peak_memory_bytes,{tags}"]]
    assert all(one > 96e6 for one in memory)
    ours = [name for name in received if ".e2s." in name]
    assert not any("manual__" in name for name in ours)  # no series for each run
