"""What MLflow is told, before it is told: names that it takes, and no figure where none is known."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric, _validate_tag

from e2s_tasks.core.energy import Energy
from e2s_tasks.core.records import ProcessRecord as Process
from e2s_tasks.core.records import RunRecords, SourceRecord, SpanRecord
from e2s_tasks.core.steps import Step, steps_of
from e2s_tasks.integrations.mlflow import figures, outbox
from e2s_tasks.integrations.mlflow.owners import started
from e2s_tasks.integrations.mlflow.where import Tracking
from e2s_tasks.ledger import this_process
from e2s_tasks.reporter.summary import summarise
from e2s_tasks.reporter.tree import tree
from e2s_tasks.settings import Settings

JOULES = st.none() | st.floats()


def a_step(name="train", energy=None, **more):
    step = Step("t", name, False, "f", "completed", 1, 10.0, 12.5, energy or Energy(cpu=1.0), True, ())
    return replace(step, **more)


def a_run(*spans, sources=()):
    root = SpanRecord("f", 1, "p", "r", "flow", "demo", "completed", 0.0, ended_at=9.0, flow_run_id="r", cpu_j=2.0)
    process = Process("p", "host", "boot", 1, 1, 0.0, "dedicated", [*sources])
    return RunRecords("r", [process], [root, *spans])


def attempt(span_id, parent="f", **more):
    facts = {"flow_run_id": "r", "task_run_id": span_id, "ended_at": 5.0, "cpu_j": 1.0, "kind": "attempt"} | more
    return SpanRecord(
        id=span_id, seq=1, process_id="p", run_id="r", name=span_id, status="completed", started_at=1.0,
        parent_id=parent, **facts,
    )  # fmt: skip


@given(st.lists(st.tuples(st.text(), JOULES), max_size=20))
def test_whatever_steps_are_called_and_used_mlflow_takes_their_names_and_finite_figures(steps):
    told = figures.steps_on_the_run(a_step(name, Energy(cpu=joules)) for name, joules in steps)
    for name, value in told.items():
        _validate_metric(name, value, 0, 0)
        assert len(name) <= 250
        assert math.isfinite(value)


@given(st.text(), JOULES, JOULES)
def test_whatever_a_step_is_called_and_used_its_tags_and_figures_can_be_told(name, cpu, storage):
    step = a_step(name, Energy(cpu=cpu, storage=storage))
    for key, value in figures.known(figures.step_figures(step)).items():
        _validate_metric(key, value, 0, 0)
    for key, value in figures.step_tags(step, "r").items():
        _validate_tag(key, value)


def test_steps_of_one_name_are_added_up_and_names_that_mlflow_cannot_tell_apart_too():
    steps = [a_step("load(1)", Energy(cpu=1.0)), a_step("load(1)", Energy(cpu=2.0)), a_step("load[1]", Energy(cpu=4.0))]
    assert figures.steps_on_the_run(steps) == {"e2s/step/load_1_/energy_j": 7.0, "e2s/step/load_1_/count": 3.0}


def test_a_missing_figure_is_a_tag_and_never_a_metric():
    sources = [SourceRecord("cpu", "model", "modelled"), SourceRecord("gpu", "NVML", "missing")]
    summary = summarise(a_run(sources=sources))
    metrics = figures.known(figures.run_figures(summary))
    tags = figures.run_tags(summary)
    assert metrics["e2s/total_j"] == metrics["e2s/cpu_j"] == 2.0
    assert "e2s/gpu_j" not in metrics
    assert "e2s/gpu_j" in tags["e2s.missing"].split(", ")
    assert "e2s/emissions_g" in tags["e2s.missing"].split(", ")
    assert tags["e2s.lower_bound"] == "true"
    assert tags["e2s.provenance.gpu"] == "missing"


def test_a_device_that_the_host_does_not_have_is_not_missing():
    sources = [SourceRecord("cpu", "RAPL", "measured"), SourceRecord("gpu", "NVML", "missing", absent=True)]
    tags = figures.run_tags(summarise(a_run(sources=sources)))
    assert "e2s/gpu_j" not in tags["e2s.missing"].split(", ")
    assert tags["e2s.provenance.gpu"] == "not present"
    assert tags["e2s.provenance"] == "measured"


@pytest.mark.parametrize(
    ("status", "word"),
    [("completed", "FINISHED"), ("failed", "FAILED"), ("crashed", "FAILED"), ("timed_out", "FAILED"),
     ("cancelled", "KILLED"), ("cached", "FINISHED"), ("running", "RUNNING")],
)  # fmt: skip
def test_mlflow_has_a_word_for_every_ending(status, word):
    assert figures.run_status(status) == word


def owners(*spans):
    run = a_run(*spans)
    return started(run, tree(run.spans, "r"), steps_of(run).of_span)


def test_the_only_run_of_the_flows_own_body_stands_for_the_flow_run_and_that_of_a_step_for_the_step():
    block = attempt("block", kind="span", task_run_id=None, attributes={"mlflow_runs": ["body"]})
    found = owners(block, attempt("a", attributes={"mlflow_runs": ["in-a"]}))
    assert found.parent(None) == "body"
    assert found.parent("around") == "around"
    assert "in-a" in [found.of_step(index) for index in range(2)]
    assert found.all == ["body", "in-a"]


def test_of_several_runs_none_stands_for_the_flow_run_or_the_step():
    block = attempt("block", kind="span", task_run_id=None, attributes={"mlflow_runs": ["one", "two"]})
    found = owners(block, attempt("a", attributes={"mlflow_runs": ["x", "y"]}))
    assert found.parent(None) is None
    assert found.of_step(0) is found.of_step(1) is None
    assert found.all == ["one", "two", "x", "y"]


def test_a_run_waits_from_its_end_on_or_once_its_process_is_gone(tmp_path, monkeypatch):
    options, here = Settings(data_dir=tmp_path), this_process()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    outbox.begun(options, here, "runs")
    outbox.begun(options, replace(here, start_ticks=here.start_ticks + 1), "killed")
    assert [path.name for path in outbox.waiting(options)] == ["killed"]
    assert outbox.ended(options, "runs")
    assert sorted(path.name for path in outbox.waiting(options)) == ["killed", "runs"]
    assert outbox.noted(options, "runs") == Tracking("http://127.0.0.1:9")


def test_without_a_tracking_uri_or_with_never_nothing_waits(tmp_path, monkeypatch):
    options = Settings(data_dir=tmp_path)
    outbox.begun(options, this_process(), "r")
    assert not outbox.ended(options, "r")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr("e2s_tasks.integrations.mlflow.where.settings", lambda: Settings(mlflow="never"))
    assert not outbox.ended(options, "r")
    assert not outbox.folder(options).exists()


def test_a_run_is_taken_by_one_process_at_a_time(tmp_path):
    path = outbox.note(Settings(data_dir=tmp_path), "r", Tracking("http://127.0.0.1:9", around="run"))
    with outbox.taken(path) as first, outbox.taken(path) as second:
        assert first == Tracking("http://127.0.0.1:9", around="run")
        assert second is None
