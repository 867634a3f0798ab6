"""`e2s release` and `e2s scheduler` where there is no Prefect, and of DAG runs."""

import sys
from dataclasses import replace

import pytest

from e2s_tasks.core.records import Status
from e2s_tasks.errors import NotFoundError
from e2s_tasks.ledger import Ledger
from e2s_tasks.settings import settings
from tests.reporter.runs import RUN, root

DAG_RUN = "scheduled__2026-01-01T00:00:00+00:00"


@pytest.fixture
def no_prefect(monkeypatch):
    """Prefect is not installed."""
    monkeypatch.setitem(sys.modules, "prefect", None)
    for name in [one for one in sys.modules if one.startswith("e2s_tasks.integrations.prefect")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def a_dag_run(data_dir):
    """A run that lives in Airflow's database alone."""
    run = root(process_id=RUN, attributes={"flow_run_name": DAG_RUN, "dag_run": {}}, status=Status.RUNNING)
    Ledger.open(settings().ledger).ingest([run])
    return run


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["release", "some-run"], "e2s release has flow runs of Prefect start, which is not installed here: pip"),
        (["scheduler", "--once"], "e2s scheduler moves flow runs of Prefect, which is not installed here: pip"),
        (["scheduler"], "e2s scheduler moves flow runs of Prefect, which is not installed here: pip"),
        (["scheduler", "--every", "soon"], "--every='soon' is no duration"),
        (["scheduler", "--every", "soon", "--once"], "--every='soon' is no duration"),
    ],
)
def test_without_prefect_a_command_for_it_says_so_on_one_line(e2s, no_prefect, command, said):
    code, out, err = e2s(*command)
    assert (code, out) == (1, "")
    assert err.startswith(f"e2s: {said}")
    assert err.count("\n") == 1


def test_without_prefect_a_dag_run_is_released_in_airflow(e2s, no_prefect, a_dag_run):
    code, _, err = e2s("release", DAG_RUN)
    assert code == 1
    assert err.startswith(f"e2s: {DAG_RUN} is a run of the DAG flight-delays: clear the waiting task in Airflow")
    assert err.count("\n") == 1


def test_nothing_of_a_dag_run_that_has_ended_waits(e2s, no_prefect, a_dag_run):
    Ledger.open(settings().ledger).ingest([replace(a_dag_run, seq=2, status=Status.FAILED)])
    said = f"e2s: {DAG_RUN} is a run of the DAG flight-delays that has ended, so that nothing of it waits.\n"
    assert e2s("release", DAG_RUN) == (1, "", said)


def test_beside_prefect_a_dag_run_is_released_in_airflow(e2s, a_dag_run, monkeypatch):
    from e2s_tasks.integrations.prefect import service

    def nobody_waits(text):
        raise NotFoundError(f"No run {text!r} waits for a cleaner grid.")

    monkeypatch.setattr(service, "release_run", nobody_waits)
    assert "clear the waiting task in Airflow" in e2s("release", RUN[:8])[2]
    assert e2s("release", "another")[2] == "e2s: No run 'another' waits for a cleaner grid.\n"
