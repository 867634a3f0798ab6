"""Energy of work that measured work sets off elsewhere, stages, and declared inputs, as they are recorded."""

from contextvars import copy_context
from threading import Thread

import numpy as np
import pytest

from e2s_tasks import record_energy, span
from e2s_tasks.core.records import PROCESS_IO
from e2s_tasks.errors import SettingError
from e2s_tasks.recorder.guard import MeteringWarning, _warned
from tests.recorder.conftest import Recorded


def test_energy_from_elsewhere_is_the_current_spans_and_keeps_what_was_said_of_it(recorded):
    with span("outer"), span("query"):
        record_energy(100.0, source="BigQuery", range=(50, 400))
        record_energy(20.0, source="BigQuery", range=(10, 80))
        record_energy(joules=3, source="LLM", provenance="measured", where="eu-west-1")
    query = recorded.spans()["query"]
    assert query.remote_j == pytest.approx(123.0)
    assert query.energy.movement == pytest.approx(123.0)
    assert query.attributes["remote"] == [
        {"source": "BigQuery", "where": "remote", "provenance": "modelled", "calls": 2, "joules": 120.0, "low": 60.0,
         "high": 480.0},
        {"source": "LLM", "where": "eu-west-1", "provenance": "measured", "calls": 1, "joules": 3.0, "low": 3.0,
         "high": 3.0},
    ]  # fmt: skip
    assert recorded.spans()["outer"].remote_j is None


def test_a_range_in_single_precision_holds_the_figure_that_it_was_made_of(recorded):
    low, high = np.float64(np.float32(0.3)), np.float64(np.float32(0.7))
    assert low > 0.3
    assert high < 0.7
    with span("query"):
        record_energy(0.3, source="LLM", range=(low, 1))
        record_energy(0.7, source="LLM", range=(0, high))
        with pytest.raises(SettingError, match="give low <= joules <= high"):
            record_energy(0.3, source="LLM", range=(0.30001, 1))
    (entry,) = recorded.spans()["query"].attributes["remote"]
    assert (entry["joules"], entry["low"], entry["high"]) == (1.0, 0.3, 1.7)


def test_work_whose_energy_nobody_knows_is_missing_and_not_0(recorded):
    with span("query"):
        record_energy(None, source="BigQuery")
    query = recorded.spans()["query"]
    assert query.remote_j is None
    assert [(one["source"], one["joules"]) for one in query.attributes["remote"]] == [("BigQuery", None)]


def test_many_threads_of_one_span_lose_no_call(recorded):
    with span("query"):
        calls = [copy_context() for _ in range(8)]
        threads = [Thread(target=context.run, args=(lambda: [record_energy(1.0, source="LLM") for _ in range(200)],))
                   for context in calls]  # fmt: skip
        [one.start() for one in threads]
        [one.join() for one in threads]
    query = recorded.spans()["query"]
    assert query.remote_j == 1600.0
    assert query.attributes["remote"][0]["calls"] == 1600


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"joules": -1.0}, "joules=-1.0"),
        ({"joules": float("nan")}, "joules=nan"),
        ({"joules": float("inf")}, "joules=inf"),
        ({"joules": True}, "joules=True"),
        ({"joules": 1e308}, "joules=1e+308"),
        ({"joules": "3"}, "joules='3'"),
        ({"joules": 5.0, "range": (6.0, 7.0)}, "low <= joules <= high"),
        ({"joules": 5.0, "range": (6.0, 4.0)}, "low <= joules <= high"),
        ({"joules": 5.0, "range": (float("nan"), 6.0)}, "two numbers"),
        ({"joules": 5.0, "range": (4.0,)}, "two numbers"),
        ({"joules": None, "range": (4.0, 5.0)}, "needs a figure"),
        ({"joules": 5.0, "provenance": "guessed"}, "'measured' or 'modelled'"),
        ({"joules": 5.0, "source": " "}, "name who did the work"),
    ],
)
def test_what_cannot_be_energy_is_refused_with_its_value(recorded, arguments, said):
    with span("query"), pytest.raises(SettingError) as caught:
        record_energy(**({"source": "LLM"} | arguments))
    assert said in str(caught.value)
    assert recorded.spans()["query"].remote_j is None


def test_outside_measured_work_it_costs_one_warning(recorded):
    _warned.clear()
    with pytest.warns(MeteringWarning, match="record_energy"):
        record_energy(1.0, source="LLM")


def test_a_stage_holds_for_the_spans_inside_until_they_say_otherwise(recorded):
    with span("before"):
        pass
    with span("train", stage="Training"):
        with span("fit"), span("step"):
            pass
        with span("score", stage="evaluation"), span("read"):
            pass
    stages = {name: one.stage for name, one in recorded.spans().items()}
    assert stages == {
        "before": None, "train": "training", "fit": "training", "step": "training", "score": "evaluation",
        "read": "evaluation",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["data preparation", "Data-Preparation", "DATA_PREPARATION", " data  preparation "])
def test_a_stage_may_be_written_in_many_ways(recorded, text):
    with span("p", stage=text):
        pass
    assert recorded.spans()["p"].stage == "data_preparation"


@pytest.mark.parametrize("text", ["", "deployment", "train"])
def test_a_stage_that_does_not_exist_is_refused_with_those_that_do(recorded, text):
    with pytest.raises(SettingError, match="data_preparation, training, evaluation, inference, maintenance"):
        span("p", stage=text)


def test_declared_inputs_are_written_down_with_the_outermost_span_only(tmp_path, monkeypatch):
    from e2s_tasks.core import spans

    made = Recorded(tmp_path, pue=1.2, tariff="0.25 eur", embodied_kg=1000, lifetime_years=4)
    monkeypatch.setattr(spans, "factory", lambda: made.recorder)
    with span("outer") as outer:
        outer.note({"mine": 1})
        with span("inner"):
            pass
    found = made.spans()
    made.recorder.close()
    assert found["inner"].attributes == {}
    found["outer"].attributes.pop(PROCESS_IO, None)  # where a reading was taken in between
    assert found["outer"].attributes == {
        "mine": 1,
        "declared": {"pue": 1.2, "tariff": 0.25, "currency": "EUR", "embodied_kg": 1000.0, "lifetime_years": 4.0},
    }
