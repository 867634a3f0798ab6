"""Fully loaded figures, through any number of runs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2s_tasks.core.lineage import RunGraph, lineage_of
from e2s_tasks.core.upstream import TOO_MANY, Upstream
from tests.lineage import oracle
from tests.lineage.ledgers import connected, ledgers, loading
from tests.lineage.runs import Run


def loaded(runs, version_id):
    """The fully loaded figures of a version."""
    run = next(run for run in runs if any(one.id == version_id for one in run.versions))
    return Upstream(loading(runs)).of(RunGraph(run), version_id)


@settings(max_examples=300)
@given(ledgers())
def test_every_fully_loaded_figure_agrees_with_the_oracle(runs):
    expected = oracle.loaded(runs)
    upstream = Upstream(loading(runs))
    found = {}
    for run in runs:
        graph = RunGraph(run)
        found |= {one.id: upstream.of(graph, one.id).joules.total or 0.0 for one in run.versions}
    assert found == pytest.approx(expected)


@settings(max_examples=100)
@given(ledgers())
def test_in_run_is_never_more_than_fully_loaded(runs):
    for run in runs:
        for one in lineage_of(run).versions.values():
            assert (one.in_run_j or 0.0) <= (loaded(runs, one.version.id).joules.total or 0.0) * (1 + 1e-9) + 1e-9


@settings(max_examples=200)
@given(ledgers(), st.dictionaries(st.sampled_from("abc"), st.sampled_from([1.0, 2.0, 10.0, 1000.0]), min_size=1))
def test_every_amortised_figure_agrees_with_the_oracle_and_is_never_more_than_fully_loaded(runs, uses):
    expected = oracle.amortised(runs, uses)
    for run in runs:
        run.spans[0].attributes["uses"] = uses
    upstream = Upstream(loading(runs))
    for run in runs:
        graph = RunGraph(run)
        for one in run.versions:
            found = upstream.of(graph, one.id)
            assert (found.amortised.total or 0.0) == pytest.approx(expected[one.id])
            assert (found.amortised.total or 0.0) <= (found.joules.total or 0.0) * (1 + 1e-9) + 1e-9


def test_what_feeds_a_version_is_divided_by_its_uses_but_not_what_comes_by_another_way():
    train = Run(flow_j=10.0, run_id="train")
    data = train.write("data", by=train.task("load", 20.0))
    fit = train.task("fit", 180.0)
    train.read(data, by=fit)
    model = train.write("model", by=fit)
    score = Run(flow_j=1.0, run_id="score")
    use = score.task("use", 9.0)
    score.read(model, by=use)
    made = score.write("scores", by=use)
    runs = connected([train.records, score.records])
    assert loaded(runs, made).amortised is None
    train.records.spans[0].attributes["uses"] = {"model": 1000.0}
    assert loaded(runs, made).amortised.total == pytest.approx(10.0 + 0.2 * 1.05)
    assert loaded(runs, model).amortised.total == pytest.approx(210.0)
    score.read(data, by=use)
    runs = connected([train.records, score.records])
    assert loaded(runs, made).amortised.total == pytest.approx(10.0 + (20.0 + 0.18) * 1.05)


def test_all_who_wrote_a_name_are_divided_by_its_uses_once():
    train = Run(run_id="train")
    for name in ("north", "south", "west"):
        models = train.write("x://models", by=train.task(name, 100.0), seen=False)
    train.records.spans[0].attributes["uses"] = {"x://models": 10.0}
    score = Run(run_id="score")
    use = score.task("use", 1.0)
    score.read(models, by=use)
    made = score.write("scores", by=use)
    assert loaded(connected([train.records, score.records]), made).amortised.total == pytest.approx(31.0)


def three_flows():
    """Raw data feeds features, and both feed a forecast; each flow run has orchestration of its own."""
    raw = Run(flow_j=10.0, run_id="raw")
    data = raw.write("raw", by=raw.task("load", 80.0))
    raw.task("check", 20.0)
    features = Run(flow_j=0.0, run_id="features")
    build = features.task("build", 50.0)
    features.read(data, by=build)
    built = features.write("features", by=build)
    forecast = Run(flow_j=6.0, run_id="forecast")
    predict = forecast.task("predict", 30.0)
    forecast.read(built, by=predict)
    forecast.read(data, by=predict)
    made = forecast.write("forecast", by=predict)
    return connected([raw.records, features.records, forecast.records]), made


def test_three_flows_that_feed_each_other_count_each_step_once_and_orchestration_pro_rata():
    runs, made = three_flows()
    found = loaded(runs, made)
    parts = {run_id: part.total for run_id, part in found.by_run.items()}
    assert parts == pytest.approx({"forecast": 36.0, "features": 50.0, "raw": 80.0 + 10.0 * 80 / 100})
    assert found.joules.total == pytest.approx(174.0)
    assert found.reasons == ()


def test_a_reused_result_adds_nothing_to_in_run_and_its_first_cost_to_fully_loaded():
    first = Run(flow_j=2.0, run_id="first")
    first.task("train", 98.0, result_key="k", status="completed", at=0.0)
    second = Run(flow_j=1.0, run_id="second")
    second.task("train", 0.0, result_key="k", status="cached", at=10.0)
    second.task("score", 9.0)
    second.pass_on("train", "score")
    made = second.write("scores", by=second.records.spans[-1].id)
    runs = connected([first.records, second.records])
    assert lineage_of(second.records).versions[made].in_run_j == pytest.approx(10.0)
    assert loaded(runs, made).joules.total == pytest.approx(110.0)


def test_a_reused_result_whose_maker_is_unknown_makes_a_lower_bound_of_fully_loaded_alone():
    run = Run(run_id="late")
    cached = run.task("train", 0.0, result_key="k", status="cached")
    made = run.write("model", by=cached)
    assert not lineage_of(run.records).versions[made].lower_bound
    assert loaded(connected([run.records]), made).reasons == (
        "what the cached result of 'train' once cost is not known",
    )


def test_what_lies_upstream_and_is_external_makes_a_lower_bound_that_names_its_run():
    early = Run(run_id="early")
    load = early.task("load", 5.0)
    early.read(None, by=load)
    data = early.write("data", by=load)
    late = Run(run_id="late")
    use = late.task("use", 7.0)
    late.read(data, by=use)
    made = late.write("made", by=use)
    runs = connected([early.records, late.records])
    assert loaded(runs, made).reasons == ("no measured write explains the input external (run early)",)
    assert loaded(runs, made).joules.total == pytest.approx(12.0)


def test_a_run_that_the_ledger_has_lost_makes_a_lower_bound():
    runs, made = three_flows()
    found = loaded(runs[1:], made)
    assert found.joules.total == pytest.approx(86.0)
    assert any("raw" in reason and "not in the ledger" in reason for reason in found.reasons)


def test_files_that_are_kept_are_inherited_by_the_new_version_alone():
    old = Run(run_id="old")
    first = old.write("set", by=old.task("january", 40.0))
    new = Run(run_id="new")
    append = new.task("february", 10.0)
    both = new.write("set", by=append)
    new.keep(first, of=both)
    report = new.write("report", by=append)
    runs = connected([old.records, new.records])
    assert loaded(runs, both).joules.total == pytest.approx(50.0)
    assert loaded(runs, report).joules.total == pytest.approx(10.0)


def test_what_earlier_runs_wrote_under_a_name_is_replaced_and_the_writers_of_the_last_run_all_count():
    days = []
    for day in range(3):
        run = Run(run_id=f"day{day}")
        for name, joules in (("north", 10.0), ("south", 20.0)):
            table = run.write("x://table", by=run.task(name, joules + day), seen=False)
        days.append(run.records)
    late = Run(run_id="late")
    use = late.task("use", 5.0)
    late.read(table, by=use)
    report = late.write("x://report", by=use, seen=False)
    found = loaded(connected([*days, late.records]), report)
    assert found.joules.total == pytest.approx(12.0 + 22.0 + 5.0)
    assert found.reasons == ()


def test_two_runs_that_feed_each_other_count_every_step_once():
    left, right = Run(run_id="left"), Run(run_id="right")
    a = left.write("a", by=left.task("one", 1.0))
    two = right.task("two", 2.0)
    right.read(a, by=two)
    b = right.write("b", by=two)
    four = left.task("four", 4.0)
    left.read(b, by=four)
    c = left.write("c", by=four)
    runs = connected([left.records, right.records])
    assert loaded(runs, c).joules.total == pytest.approx(7.0)
    assert loaded(runs, b).joules.total == pytest.approx(3.0)


def test_a_chain_of_thousands_of_runs_needs_no_recursion():
    runs, before = [], None
    for number in range(2000):
        run = Run(run_id=f"day{number}")
        task = run.task("add", 1.0)
        if before is not None:
            run.read(before, by=task)
        before = run.write("table", by=task)
        runs.append(run.records)
    assert loaded(connected(runs), before).joules.total == pytest.approx(2000.0)


def test_a_limit_leaves_out_the_farthest_runs_and_makes_a_lower_bound():
    runs, before = [], None
    for number in range(100):
        run = Run(run_id=f"day{number}")
        task = run.task("add", 1.0)
        if before is not None:
            run.read(before, by=task)
        before = run.write("table", by=task)
        runs.append(run.records)
    runs = connected(runs)
    found = Upstream(loading(runs), most_spans=200).of(RunGraph(runs[-1]), before)
    assert 40 < found.joules.total < 100
    assert found.reasons == (TOO_MANY,)
    assert Upstream(loading(runs), most_spans=500).of(RunGraph(runs[-1]), before).reasons == ()


def test_a_data_set_appended_to_and_partly_replaced_is_what_is_kept_and_a_read_what_it_opened():
    files = [["f", 1, 1]]
    runs, versions = [], []
    for number, joules in enumerate([1000.0, 100_000.0, 10.0, 5.0]):  # the last one replaces the second month
        run = Run(run_id=f"month{number}")
        version = run.write("set", by=run.task("add", joules))
        for kept in (versions[0], versions[2]) if number == 3 else versions:
            run.keep(kept, of=version, files=files)
        versions.append(version)
        runs.append(run)
    reader = Run(run_id="reader")
    reports = []
    for number in (0, 2, 3):
        task = reader.task(f"report{number}", 1.0)
        reader.read(versions[number], by=task, files=files)
        reports.append(reader.write(f"report{number}", by=task))
    all_runs = connected([one.records for one in [*runs, reader]])
    found = [loaded(all_runs, one).joules.total for one in [versions[3], *reports]]
    assert found == pytest.approx([1015.0, 1001.0, 11.0, 6.0])
