"""The energy of measured work in the user's own MeterProvider: told once, by the recorder's thread, if switched on."""

import subprocess
import sys
import threading
import time

import pytest
from opentelemetry.metrics import get_meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from e2s_tasks import span
from e2s_tasks.core.records import Kind, Status
from e2s_tasks.integrations import opentelemetry
from e2s_tasks.recorder.telling import Telling
from tests.recorder.conftest import Recorded


@pytest.fixture
def reader(monkeypatch):
    """What a MeterProvider of the user's collects; one of each test's own, for a process can have but one."""
    found = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[found])
    monkeypatch.setattr(opentelemetry, "get_meter", provider.get_meter)
    yield found
    provider.shutdown()


def points(reader):
    """The sums of each counter by their attributes, and their units."""
    found = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                found[metric.name] = (
                    metric.unit,
                    [(dict(one.attributes), one.value) for one in metric.data.data_points],
                )
    return found


def total(found, **attributes):
    wanted = {name.replace("_", "."): value for name, value in attributes.items()}
    return sum(value for have, value in found["hw.energy"][1] if wanted.items() <= have.items())


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.fixture
def telling(tmp_path, monkeypatch, reader):
    made = Recorded(tmp_path, otel=True, cpu_tdp_w=100.0)
    monkeypatch.setattr("e2s_tasks.core.spans.factory", lambda: made.recorder)
    yield made
    made.recorder.close()
    made.recorder.leave_behind()
    made.recorder._resume.set()
    made.recorder._wake.set()
    if made.recorder._thread is not None:
        made.recorder._thread.join()


def flow(recorder, name, run, *, solution=None):
    facts = {"flow_run_id": run} | ({"solution": solution} if solution else {})
    return recorder.span(name, Kind.FLOW, facts)


def test_what_the_counter_has_is_what_the_ledger_has(telling, reader):
    with flow(telling.recorder, "daily", "r1", solution="churn") as outer:
        with telling.recorder.span("fit", Kind.ATTEMPT):
            burn(0.2)
            with span("inner") as inner:
                burn(0.05)
                inner.moved(bytes_read=1000, storage_j=0.25, network_j=0.5)
        with span("in the body"):
            burn(0.05)
        outer.used_elsewhere({"source": "warehouse", "where": "", "joules": 3.0, "low": 3.0, "high": 3.0, "calls": 1,
                              "provenance": "modelled"})  # fmt: skip
    records = telling.spans()
    found = points(reader)
    assert found["hw.energy"][0] == "J"
    for component, hardware in (("cpu", "cpu"), ("static", "cpu"), ("dram", "memory"), ("storage", "physical_disk")):
        expected = sum(getattr(one, f"{component}_j") or 0.0 for one in records.values())
        assert total(found, e2s_component=component, hw_type=hardware, hw_id=component) == pytest.approx(expected)
        assert expected > 0
    energy = {name: one.energy.total for name, one in records.items()}
    assert total(found, e2s_flow="daily", e2s_step="fit") == pytest.approx(energy["fit"] + energy["inner"])
    body = "daily (spans of its body)"
    assert total(found, e2s_flow="daily", e2s_step=body) == pytest.approx(energy["in the body"])
    own = energy["daily"] - 3.0
    assert total(found, e2s_flow="daily", e2s_step="orchestration and flow body") == pytest.approx(own)
    assert total(found, e2s_solution="churn") == total(found)
    unit, elsewhere = found["e2s.remote.energy"]
    assert (unit, [value for _, value in elsewhere]) == ("J", [3.0])


def test_in_a_process_of_airflow_s_the_attempt_is_the_step_and_the_rest_is_orchestration(telling, reader):
    with telling.recorder.span("airflow process", Kind.ORCHESTRATION, {"flow_run_id": "r1"}):
        burn(0.05)
        with telling.recorder.span("fit", Kind.ATTEMPT):
            burn(0.1)
    energy = {name: one.energy.total for name, one in telling.spans().items()}
    found = points(reader)
    assert total(found, e2s_step="fit") == pytest.approx(energy["fit"])
    assert total(found, e2s_step="orchestration") == pytest.approx(energy["airflow process"])


def test_while_work_goes_on_it_is_told_as_far_as_it_has_come_and_at_its_end_only_the_rest(telling, reader):
    with flow(telling.recorder, "long", "r1"), telling.recorder.span("train", Kind.ATTEMPT):
        give_up = time.monotonic() + 10
        while "hw.energy" not in (early := points(reader)) and time.monotonic() < give_up:
            burn(0.05)
        assert total(early, e2s_step="train") > 0
        burn(0.1)
    expected = sum(one.energy.total for one in telling.spans().values())
    assert total(points(reader)) == pytest.approx(expected)


def test_a_step_of_a_subflow_is_named_after_it_and_one_whose_flow_runs_elsewhere_has_no_flow(telling, reader):
    recorder = telling.recorder
    with flow(recorder, "daily", "r1"), flow(recorder, "sub", "r2"), recorder.span("fit", Kind.ATTEMPT):
        burn(0.05)
    with telling.recorder.span("far", Kind.ATTEMPT, {"flow_run_id": "elsewhere"}):
        burn(0.05)
    telling.recorder.flush()
    found = points(reader)
    assert total(found, e2s_flow="daily", e2s_step="sub / fit") > 0
    assert total(found, e2s_step="far") > 0
    assert all("e2s.flow" not in have for have, _ in found["hw.energy"][1] if have["e2s.step"] == "far")


class Heard:
    """A listener that keeps which threads told it."""

    def __init__(self):
        self.threads = set()

    def used(self, span, joules):
        self.threads.add(threading.current_thread().name)


class Refusing:
    """A listener that fails."""

    def used(self, span, joules):
        raise RuntimeError("no room")


def test_the_measured_thread_tells_nobody(telling):
    heard = Heard()
    telling.recorder._telling = Telling(lambda: heard)
    for _ in range(3):
        with telling.recorder.span("fit", Kind.ATTEMPT):
            burn(0.03)
    give_up = time.monotonic() + 10
    while (telling.recorder._ended or not heard.threads) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert heard.threads == {"e2s-recorder"}


def test_work_that_failed_or_was_cancelled_is_told_too(telling, reader):
    failing = telling.recorder.span("fails", Kind.ATTEMPT)
    failing.run()
    burn(0.05)
    failing.stop(Status.FAILED)
    failed = telling.spans()["fails"]
    assert failed.status == Status.FAILED
    assert total(points(reader), e2s_step="fails") == pytest.approx(failed.energy.total)


def test_a_listener_that_fails_harms_neither_the_work_nor_the_records(telling, recwarn):
    telling.recorder._telling = Telling(Refusing)
    with telling.recorder.span("fit", Kind.ATTEMPT):
        burn(0.05)
    assert telling.spans()["fit"].energy.total > 0
    assert any("no room" in str(one.message) for one in recwarn)


LOADED = """
import sys
from e2s_tasks import span
with span("work"):
    pass
from e2s_tasks.recorder.recorder import process_recorder
process_recorder().flush()
print(any(name.split(".")[0] in ("opentelemetry", "prometheus_client") for name in sys.modules))
"""


@pytest.mark.parametrize(("switch", "loaded"), [("", "False"), ("false", "False"), ("true", "True")])
def test_opentelemetry_is_imported_only_where_it_is_switched_on(tmp_path, monkeypatch, switch, loaded):
    monkeypatch.setenv("E2S_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("E2S_OTEL", switch)
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == loaded


def test_where_it_is_not_installed_a_warning_names_the_remedy_and_the_work_is_measured(tmp_path):
    hidden = "import sys; sys.modules['opentelemetry'] = None\n"
    environment = {"E2S_DATA_DIR": str(tmp_path), "E2S_OTEL": "true", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", hidden + LOADED], capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    assert "pip install 'e2s-tasks[otel]'" in done.stderr
    assert list((tmp_path / "journal").iterdir()) or (tmp_path / "ledger.db").exists()


LATE = """
from e2s_tasks import span
with span("early"):
    sum(range(10**6))
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
set_meter_provider(MeterProvider(metric_readers=[reader]))
with span("late"):
    sum(range(10**6))
from e2s_tasks.recorder.recorder import process_recorder
process_recorder().flush()
scopes = reader.get_metrics_data().resource_metrics[0].scope_metrics
print(sorted({one.attributes["e2s.step"] for one in scopes[0].metrics[0].data.data_points}))
"""


def test_the_users_provider_is_found_though_it_is_made_after_the_first_span(tmp_path, monkeypatch):
    monkeypatch.setenv("E2S_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("E2S_OTEL", "true")
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=60, check=True)
    assert "late" in done.stdout


def test_without_a_provider_of_the_users_nothing_happens(tmp_path):
    assert get_meter("e2s_tasks") is not None
    made = Recorded(tmp_path, otel=True)
    with made.recorder.span("fit", Kind.ATTEMPT):
        burn(0.02)
    assert made.spans()["fit"].energy.total > 0
    made.recorder.close()
