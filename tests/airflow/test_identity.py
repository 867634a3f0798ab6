"""The ids under which the ledger knows what Airflow ran."""

import pytest
from airflow.sdk import Asset

from e2s_tasks.integrations.airflow.assets import name_of
from e2s_tasks.integrations.airflow.identity import dag_run_id, task_instance_id
from e2s_tasks.settings import settings


@pytest.fixture
def named(monkeypatch):
    """Sets the name of the Airflow that the test's process belongs to."""

    def name(of):
        if of is None:
            monkeypatch.delenv("E2S_AIRFLOW", raising=False)
        else:
            monkeypatch.setenv("E2S_AIRFLOW", of)
        settings.cache_clear()

    yield name
    settings.cache_clear()


def test_runs_of_the_same_names_in_two_airflows_that_have_names_are_two_runs(named):
    found = set()
    for of in (None, "staging", "production"):
        named(of)
        found |= {dag_run_id("nightly", "scheduled__1"), task_instance_id("nightly", "scheduled__1", "load", -1)}
    assert len(found) == 6


def test_a_task_instance_has_one_id_whether_it_is_told_to_be_unmapped_or_not(named):
    named(None)
    assert task_instance_id("nightly", "one", "load", None) == task_instance_id("nightly", "one", "load", -1)
    assert task_instance_id("nightly", "one", "load", 0) != task_instance_id("nightly", "one", "load", -1)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://lake/forecast", "s3://lake/forecast"),
        ("/lake/forecast.parquet", "file:///lake/forecast.parquet"),
        ("forecast", "asset:/forecast"),
    ],
)
def test_an_asset_is_the_artifact_of_its_address_its_path_or_its_name(uri, name):
    assert name_of(Asset(uri)) == name
