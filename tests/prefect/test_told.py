"""Stages, outcomes counted from results, and remote work, told to `@e2s_task` and `@e2s_flow`, on a real server."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from prefect import task
from prefect.futures import wait
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from e2s_tasks import e2s_flow, e2s_task, record_energy, record_outcome, span
from e2s_tasks.errors import SettingError
from e2s_tasks.io import read_parquet, write_parquet
from e2s_tasks.recorder.guard import MeteringWarning, _warned
from e2s_tasks.reporter import summarise


def run_id_of(state):
    return state.state_details.flow_run_id


@e2s_task(units=len, unit="row", stage="data preparation")
def load(rows):
    with span("parse"):
        return list(range(rows))


@e2s_task(
    outcome=lambda hits: {"units": 10, "accurate": hits, "quality": {"accuracy": hits / 10}, "name": "prediction"}
)
async def score(hits):
    await asyncio.sleep(0)
    return hits


@e2s_task
def plain():
    return 1


def outcomes(run):
    return {one.name: (one.units, one.accurate, one.quality) for one in run.outcomes}


def stages(run):
    return {one.name: one.stage for one in run.spans}


def test_outcomes_are_counted_from_results_and_stages_are_inherited(ledger_run):
    @e2s_flow(solution="s", stage="Inference")
    def scoring():
        load(7)
        plain()
        return asyncio.run(score(8))

    run = ledger_run(run_id_of(scoring(return_state=True)))
    assert outcomes(run) == {"row": (7.0, None, {}), "prediction": (10.0, 8.0, {"accuracy": 0.8})}
    assert stages(run) == {
        "scoring": "inference", "load": "data_preparation", "parse": "data_preparation", "plain": "inference",
        "score": "inference",
    }  # fmt: skip
    summary = summarise(run)
    assert summary["kpis"]["joules_per_accurate_prediction"]["denominator"] == 8.0
    assert {row["stage"] for row in summary["stages"]} == {"data_preparation", "inference"}
    assert sum(row["energy_j"] for row in summary["stages"]) == pytest.approx(summary["energy_j"]["total"])


def test_a_subflow_may_have_a_stage_of_its_own(ledger_run):
    @e2s_flow(stage="training")
    def fitting():
        plain()

    @e2s_flow
    def whole():
        with span("look", stage="evaluation"):
            plain.with_options(name="inside")()
        fitting()

    run = ledger_run(run_id_of(whole(return_state=True)))
    assert stages(run) == {
        "whole": None, "look": "evaluation", "inside": "evaluation", "fitting": "training", "plain": "training",
    }  # fmt: skip


def test_a_retried_task_counts_the_outcome_of_the_attempt_that_succeeded(ledger_run):
    tries = []

    @e2s_task(units=len, retries=1, retry_delay_seconds=0)
    def flaky():
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("the first attempt fails")
        return "abc"

    @e2s_flow
    def retrying():
        flaky()

    run = ledger_run(run_id_of(retrying(return_state=True)))
    assert [one.units for one in run.outcomes] == [3.0]


def test_a_cached_task_run_repeats_the_outcome_that_was_counted(ledger_run):
    from prefect.tasks import task_input_hash

    @e2s_task(units=len, unit="row", cache_key_fn=task_input_hash, persist_result=True)
    def make(text):
        return text

    text = str(uuid4())  # results outlive a test run

    @e2s_flow
    def caching():
        make(text)
        make(text)

    run = ledger_run(run_id_of(caching(return_state=True)))
    assert summarise(run)["kpis"]["joules_per_row"]["denominator"] == 72.0


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"units": lambda _: 1 / 0}, "ZeroDivisionError"),
        ({"outcome": lambda _: {"unit": 3}}, "a mapping with units"),
        ({"outcome": lambda _: {"units": 3, "accurate": 5}}, "exceeds units"),
        ({"units": lambda _: "many"}, "units='many'"),
    ],
)
def test_an_outcome_that_cannot_be_found_costs_a_warning_and_never_the_task(ledger_run, how, said):
    @e2s_task(**how)
    def work():
        return "the result"

    @e2s_flow
    def working():
        return work()

    with pytest.warns(MeteringWarning, match=said):
        state = working(return_state=True)
    _warned.clear()
    assert state.result() == "the result"
    run = ledger_run(run_id_of(state))
    assert run.outcomes == []
    assert {one.status for one in run.spans} == {"completed"}


def test_an_outcome_function_may_say_that_there_is_none(ledger_run):
    @e2s_flow(outcome=lambda result: result)
    def working(result):
        return result

    assert ledger_run(run_id_of(working(None, return_state=True))).outcomes == []
    (one,) = ledger_run(run_id_of(working(3, return_state=True))).outcomes
    assert (one.name, one.units) == ("unit", 3.0)


def test_what_was_told_outlives_with_options_and_can_be_told_anew(ledger_run):
    @e2s_flow
    def working():
        load.with_options(name="a", retries=1)(3)
        load.with_options(name="b", units=None, unit=None, stage="maintenance")(3)
        e2s_task(load, name="c", unit="line")(4)

    run = ledger_run(run_id_of(working(return_state=True)))
    assert [stages(run)[name] for name in "abc"] == ["data_preparation", "maintenance", "data_preparation"]
    assert outcomes(run) == {"row": (3.0, None, {}), "line": (4.0, None, {})}


def test_an_existing_task_is_told_too(ledger_run):
    @task
    def existing():
        return [1, 2]

    @e2s_flow
    def working():
        e2s_task(existing, units=len, stage="training")()

    run = ledger_run(run_id_of(working(return_state=True)))
    assert (outcomes(run), stages(run)["existing"]) == ({"unit": (2.0, None, {})}, "training")


@pytest.mark.parametrize("runner", [ThreadPoolTaskRunner, pytest.param(ProcessPoolTaskRunner, marks=pytest.mark.slow)])
def test_stages_and_outcomes_hold_under_task_runners(ledger_run, runner):
    @e2s_flow(stage="training", task_runner=runner(max_workers=2))
    def working():
        wait([load.submit(3), plain.submit()])

    run = ledger_run(run_id_of(working(return_state=True)))
    assert outcomes(run) == {"row": (3.0, None, {})}
    rows = {row["stage"]: row["energy_j"] for row in summarise(run)["stages"]}
    assert set(rows) == {"data_preparation", "training"}  # the plain task's are the flow's, wherever it ran


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stage": "deployment"}, "data_preparation, training, evaluation, inference, maintenance"),
        ({"units": 3}, "units=3"),
        ({"units": len, "outcome": len}, "pass one"),
        ({"unit": "row"}, "units=len"),
        ({"units": len, "unit": " "}, "unit=' '"),
        ({"remote": 3}, "remote=3"),
    ],
)
@pytest.mark.parametrize("decorate", [e2s_task, e2s_flow])
def test_what_cannot_be_told_is_refused_where_it_is_told(decorate, options, said):
    with pytest.raises(SettingError) as caught:
        decorate(**options)(lambda: 1)
    assert said in str(caught.value)


def test_a_generator_records_its_outcome_itself():
    def items():
        yield 1

    with pytest.raises(SettingError, match="call record_outcome"):
        e2s_task(units=len)(items)


def test_a_flow_declares_its_products_their_weights_and_uses_by_the_parameters_of_the_call(ledger_run, tmp_path):
    import pandas as pd

    @e2s_task(uses={f"{tmp_path}/{{day}}/model": 4})
    def train(day):
        write_parquet(pd.DataFrame({"x": [1] * 5}), tmp_path / day / "model")

    @e2s_task
    def score(day):
        read_parquet(tmp_path / day / "model")
        write_parquet(pd.DataFrame({"x": [1] * 1000}), tmp_path / day / "scores")

    products = [f"{tmp_path}/{{day}}/model", lambda day: tmp_path / day / "scores", "never/{day}"]

    @e2s_flow(products=products, weight={f"{tmp_path}/{{day}}/model": 3, f"{tmp_path}/{{day}}/scores": 1})
    def daily(day):
        train(day)
        score(day)

    (tmp_path / "monday").mkdir()
    summary = summarise(ledger_run(run_id_of(daily("monday", return_state=True))))
    model, scores = summary["artifacts"]
    assert (model["final"], scores["final"], summary["attributed_by"]) == (True, True, "declared weight")
    assert summary["not_made"] == [Path("never/monday").absolute().as_uri()]
    assert model["attributed_j"] == pytest.approx(model["in_run_j"] * 3 / 4)
    assert model["amortised_j"] == model["fully_loaded_j"]
    assert scores["amortised_j"] == pytest.approx(scores["fully_loaded_j"] - model["fully_loaded_j"] * 3 / 4)


@pytest.mark.parametrize(
    ("measured", "options", "said"),
    [
        (e2s_flow, {"weight": "size"}, "weight='size': give one of 'bytes', 'rows', 'equal'"),
        (e2s_flow, {"weight": {"a": -1}}, "weight={'a': -1}: give a number from 0 on"),
        (e2s_flow, {"uses": {"a": 0.5}}, "uses={'a': 0.5}: give a number from 1 on"),
        (e2s_task, {"uses": "model"}, "uses='model': give a number for each version"),
        (e2s_flow, {"products": ["{when}"]}, "'{when}' names 'when', which is no parameter"),
        (e2s_task, {"products": ["a"]}, "is for a flow: give it to @e2s_flow"),
        (e2s_task, {"weight": "rows"}, "weight='rows' is for a flow"),
    ],
)
def test_what_cannot_be_declared_of_products_is_named(measured, options, said):
    with pytest.raises(SettingError) as caught:
        measured(**options)(lambda: None)
    assert said in str(caught.value)


def test_declared_remote_work_bounds_what_is_made_of_it_until_its_energy_is_told(ledger_run, tmp_path):
    import pandas as pd

    @e2s_task(remote="BigQuery")
    def query(tell):
        if tell:
            record_energy(50.0, source="BigQuery", range=(25.0, 200.0))
        return pd.DataFrame({"x": [1]})

    @e2s_task
    def save(frame, path):
        write_parquet(frame, path)
        record_outcome(units=len(frame))

    @e2s_flow
    def working(tell):
        save(query(tell), tmp_path / "made.parquet")

    unknown = summarise(ledger_run(run_id_of(working(False, return_state=True))))
    assert any("'query'" in why and why.endswith("BigQuery") for why in unknown["artifacts"][0]["reasons"])
    assert unknown["kpis"]["joules_per_unit"]["lower_bound"]
    told = summarise(ledger_run(run_id_of(working(True, return_state=True))))
    assert told["artifacts"][0]["reasons"] == []
    assert told["energy_j"]["remote"] == 50.0
    assert told["energy_j_range"]["remote"] == [25.0, 200.0]
    assert told["artifacts"][0]["in_run_j"] == pytest.approx(told["energy_j"]["total"])
