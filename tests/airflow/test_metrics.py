"""An attempt's energy among Airflow's own metrics."""

import pytest

DAG = "energy_pages"


def test_a_statsd_server_is_told_what_each_attempt_used(airflow, statsd):
    pytest.importorskip("statsd", reason="Airflow's metrics need the package statsd")
    statsd.received.clear()
    assert airflow.wait(DAG, airflow.trigger(DAG)) == "success"
    received = statsd.received
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
