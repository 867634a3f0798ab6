"""Assets are artifacts, in one ledger with those of every other run."""

import pytest

from e2s_tasks.integrations.airflow.assets import of_partition
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.io.places import uri_of
from e2s_tasks.ledger import Ledger, replay
from e2s_tasks.reporter import summarise_run


@pytest.fixture(scope="module")
def ran(airflow):
    """The summaries of a run of each DAG, and the asset events."""
    ids = {}
    made_of = ("makes_raw", "makes_clean", "makes_by_alias", "makes_of_an_alias", "ore", "metal")
    for dag_id in (*made_of, "own_extras", "makes_nothing", "makes_parts", "makes_a_whole", "ledger_is_held"):
        ids[dag_id] = airflow.trigger(dag_id)
        assert airflow.wait(dag_id, ids[dag_id]) == "success"
    ledger = Ledger.open(f"sqlite:///{airflow.home / 'e2s' / 'ledger.db'}")
    replay(airflow.home / "e2s" / "journal", ledger)
    summaries = {name: summarise_run(ledger, dag_run_id(name, run_id)) for name, run_id in ids.items()}
    events = airflow.client.get("/api/v2/assets/events").raise_for_status().json()["asset_events"]
    return summaries, events


def _artifact(summary, end):
    return next(one for one in summary["artifacts"] if one["uri"].endswith(end))


def _of(events, dag_id, name):
    return [one for one in events if (one["source_dag_id"], one["name"]) == (dag_id, name)]


def test_what_another_dag_put_into_an_input_is_in_the_fully_loaded_figure(ran):
    summaries, _ = ran
    raw, clean = _artifact(summaries["makes_raw"], "raw.parquet"), _artifact(summaries["makes_clean"], "clean.parquet")
    assert clean["upstream_runs"] == 1
    assert clean["fully_loaded_j"] == pytest.approx(clean["in_run_j"] + raw["in_run_j"], rel=1e-6)
    assert not clean["fully_loaded_lower_bound"]


def test_a_measured_write_of_an_outlet_is_one_version(ran):
    summaries, _ = ran
    assert [one["uri"].rpartition("/")[2] for one in summaries["makes_raw"]["artifacts"]] == ["raw.parquet"]


def test_an_outlet_that_nothing_measured_wrote_is_a_version_too(ran):
    summaries, _ = ran
    assert {one["uri"] for one in summaries["makes_clean"]["artifacts"]} >= {"asset:/warehouse table"}


def test_an_asset_is_found_by_its_name_too(ran, airflow):
    summaries, _ = ran
    ledger = Ledger.open(f"sqlite:///{airflow.home / 'e2s' / 'ledger.db'}")
    assert ledger.find_artifact("clean") == _artifact(summaries["makes_clean"], "clean.parquet")["uri"]


def test_the_event_of_an_asset_carries_its_energy_to_solution(ran):
    summaries, events = ran
    [extra] = [one["extra"]["e2s"] for one in _of(events, "makes_clean", "clean")]
    clean = _artifact(summaries["makes_clean"], "clean.parquet")
    assert extra["run_id"] == summaries["makes_clean"]["flow_run"]["id"]
    assert extra["version_id"] == clean["version_id"]
    assert extra["fully_loaded_j"] > extra["in_run_j"] > 0
    assert extra["in_run_j"] <= clean["in_run_j"] * 1.001  # the orchestration of the process's end comes on top
    assert extra["lower_bound"] is False
    assert extra["provenance"] in {"measured", "modelled"}


def test_assets_that_a_task_adds_to_an_alias_are_artifacts_and_each_event_tells_what_they_cost(ran):
    summaries, events = ran
    made = {one["uri"]: one for one in summaries["makes_by_alias"]["artifacts"]}
    assert {"asset:/lake/norway", "asset:/lake/sweden"} <= set(made)
    told = [one["extra"] for name in ("lake/norway", "lake/sweden") for one in _of(events, "makes_by_alias", name)]
    assert len(told) == 3  # one of each alias and asset
    assert [one["rows"] for one in told if "rows" in one] == [7]
    ids = {one["version_id"] for one in made.values() if one["uri"].startswith("asset:/lake/")}
    assert {one["e2s"]["version_id"] for one in told} == ids
    assert all(one["e2s"]["in_run_j"] > 0 for one in told)


def test_an_outlet_that_is_named_by_reference_is_the_asset_it_refers_to(ran):
    summaries, events = ran
    again = _artifact(summaries["makes_by_alias"], "clean.parquet")
    assert again["version"] == 2
    [event] = _of(events, "makes_by_alias", "clean")
    assert event["extra"]["e2s"]["version_id"] == again["version_id"]


def test_an_asset_made_of_another_by_its_name_carries_what_that_has_cost(ran):
    summaries, _ = ran
    ore, metal = _artifact(summaries["ore"], "ore"), _artifact(summaries["metal"], "metal")
    assert metal["fully_loaded_j"] == pytest.approx(metal["in_run_j"] + ore["in_run_j"], rel=1e-6)
    assert not metal["fully_loaded_lower_bound"]


def test_the_event_of_an_asset_whose_file_is_not_there_carries_what_its_task_has_cost(ran):
    summaries, events = ran
    [extra] = [one["extra"]["e2s"] for one in _of(events, "makes_nothing", "not there")]
    made = _artifact(summaries["makes_nothing"], "not%20there.parquet")
    assert (extra["version_id"], extra["lower_bound"]) == (made["version_id"], False)
    assert extra["fully_loaded_j"] == extra["in_run_j"] > 0
    assert made["bytes"] is None


def test_what_all_instances_of_a_mapped_task_wrote_under_one_name_goes_into_what_is_made_of_it(ran):
    summaries, _ = ran
    parts, whole = summaries["makes_parts"], _artifact(summaries["makes_a_whole"], "x://whole")
    last = max(parts["artifacts"], key=lambda one: one["version"])
    assert last["in_run_j"] == pytest.approx(last["attributed_j"])
    assert whole["fully_loaded_j"] == pytest.approx(whole["in_run_j"] + last["in_run_j"], rel=1e-6)
    assert not whole["fully_loaded_lower_bound"]
    assert parts["unclaimed_j"] == pytest.approx(0.0)


def test_each_event_of_an_asset_that_many_write_at_once_names_its_own_version(ran):
    summaries, events = ran
    parts = summaries["makes_parts"]["artifacts"]
    told = [one["extra"]["e2s"]["version_id"] for one in _of(events, "makes_parts", "x://parts")]
    assert sorted(told) == sorted(one["version_id"] for one in parts)
    assert len(set(told)) == 6


def test_an_event_of_a_time_when_the_ledger_was_held_names_the_version_that_will_tell_what_it_cost(ran):
    summaries, events = ran
    [made] = summaries["ledger_is_held"]["artifacts"]
    [told] = [one["extra"]["e2s"] for one in _of(events, "ledger_is_held", "x://while the ledger is held")]
    assert told.keys() == {"run_id", "attempt_host_energy_j", "provenance", "version_id"}
    assert told["version_id"] == made["version_id"]
    assert made["in_run_j"] > told["attempt_host_energy_j"] > 0


def test_what_a_task_puts_into_an_event_stays_and_the_rest_carries_what_the_asset_has_cost(ran):
    summaries, events = ran
    names = ("without extra", "with an extra of its own", "handed on")
    bare, own, handed_on = (event["extra"] for name in names for event in _of(events, "own_extras", name))
    assert own == {"e2s": "mine", "rows": 7}
    assert handed_on["rows"] == 7
    run = summaries["own_extras"]["flow_run"]["id"]
    assert {one["e2s"]["run_id"] for one in (bare, handed_on)} == {run}  # and not of what was handed on


def test_what_a_task_puts_into_an_event_costs_no_warning_but_where_ours_would_be(airflow, ran):
    logs = "".join(one.read_text() for one in airflow.home.glob("logs/dag_id=own_extras/**/*.log"))
    assert "tell failed" not in logs
    assert "under extra['e2s'] of asset:/with an extra of its own); what the task has put there stays" in logs


def test_what_is_made_of_an_alias_is_a_lower_bound(ran):
    summaries, _ = ran
    made = _artifact(summaries["makes_of_an_alias"], "stands for")
    assert any("by country" in reason for reason in made["fully_loaded_reasons"]), made


def test_outcomes_and_the_solution_of_a_param_make_kpis(ran):
    summaries, _ = ran
    assert summaries["makes_clean"]["flow_run"]["solution"] == "rows"
    assert "accurate" in str(summaries["makes_clean"]["kpis"])


@pytest.mark.parametrize(
    "name", ["s3://lake/table", "gs://lake/table/", "file:///data/table", "/data/table", "https://host/t", "asset:/t"]
)
def test_partitions_of_an_asset_are_told_apart_from_each_other_and_from_all_of_it(name):
    names = [name, *(of_partition(name, key) for key in ("2026-11-01", "2026-11-30", "a/b?c=d"))]
    assert len({uri_of(one) for one in names}) == 4
    assert all(uri_of(uri_of(one)) == uri_of(one) for one in names)
