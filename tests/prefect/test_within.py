"""Programs and workers that a measured task starts, and that use this library themselves, on real Prefect."""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from prefect.settings import PREFECT_API_URL

from e2s_tasks import e2s_flow, e2s_task, span
from e2s_tasks.core.lineage import lineage_of
from e2s_tasks.core.records import Kind
from e2s_tasks.ledger import Ledger
from e2s_tasks.reporter import summarise
from e2s_tasks.settings import settings
from tests.mixes.burning import burn
from tests.mixes.writing import write

WRITE = """
    import sys
    import pandas as pd
    from e2s_tasks import record_outcome
    from e2s_tasks.io import write_parquet
    write_parquet(pd.DataFrame({"a": range(1000)}), sys.argv[1])
    record_outcome(1000, name="row")
"""
FLOW = """
    from e2s_tasks import e2s_flow, span
    with span("before"):
        pass

    @e2s_flow
    def in_a_child():
        with span("inside"):
            pass

    in_a_child()
"""


def start(program, *arguments):
    environment = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value()}
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    subprocess.run(command, env=environment, check=True)


@pytest.fixture
def run(ledger_run):
    """The records of the run of a flow with one task, which does the work."""

    def of(work, **options):
        @e2s_task
        def score():
            burn(0.3)
            work()

        @e2s_flow(**options)
        def scoring():
            score()

        return ledger_run(scoring(return_state=True).state_details.flow_run_id)

    return of


def attempt_of(records):
    (attempt,) = (one for one in records.spans if one.kind == Kind.ATTEMPT)
    return attempt


def listed():
    return [row.name for row in Ledger.open(settings().ledger).runs(limit=None)]


def test_what_a_tasks_program_writes_carries_the_joules_of_its_attempt(run, tmp_path):
    records = run(lambda: start(WRITE, tmp_path / "out.parquet"))
    attempt = attempt_of(records)
    (write,) = (one for one in records.spans if one.kind == Kind.WRITE)
    assert (write.run_id, write.parent_id, write.flow_run_id) == (records.run_id, attempt.id, attempt.flow_run_id)
    assert write.process_id != attempt.process_id
    found = lineage_of(records)
    (version,) = found.versions.values()
    assert ([step.name for step in version.steps], version.reasons) == (["score"], ())
    assert version.in_run_j == pytest.approx(found.energy_j)
    assert version.in_run_j > attempt.energy.total > 0
    assert write.name not in listed()


def test_an_outcome_that_a_tasks_program_tells_counts(run, tmp_path):
    records = run(lambda: start(WRITE, tmp_path / "out.parquet"), solution="scores")
    (outcome,) = records.outcomes
    assert (outcome.span_id, outcome.units, outcome.solution) == (attempt_of(records).id, 1000.0, "scores")
    kpi = summarise(records)["kpis"]["joules_per_row"]
    assert kpi["value"] == pytest.approx(lineage_of(records).energy_j / 1000)


@pytest.mark.slow
def test_a_flow_in_a_tasks_program_is_a_run_of_its_own(run):
    records = run(lambda: start(FLOW))
    assert [one.name for one in records.spans if one.kind == Kind.SPAN] == ["before"]
    assert {"scoring", "in-a-child"} <= set(listed())
    assert "before" not in listed()


def in_pool(method, work, *arguments):
    with ProcessPoolExecutor(1, get_context(method)) as pool:
        pool.submit(work, *arguments).result()


@pytest.mark.parametrize("method", ["spawn", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_what_a_tasks_worker_writes_and_tells_is_its_attempts(run, tmp_path, method):
    records = run(lambda: in_pool(method, write, tmp_path / "out.parquet"), solution="scores")
    attempt = attempt_of(records)
    (written,) = (one for one in records.spans if one.kind == Kind.WRITE)
    assert (written.run_id, written.parent_id) == (records.run_id, attempt.id)
    assert written.process_id != attempt.process_id
    (version,) = lineage_of(records).versions.values()
    assert ([step.name for step in version.steps], version.reasons) == (["score"], ())
    assert version.in_run_j > attempt.energy.total > 0
    assert [(one.span_id, one.units) for one in records.outcomes] == [(attempt.id, 1000.0)]
    assert summarise(records)["kpis"]["joules_per_row"]["value"] == pytest.approx(version.in_run_j / 1000)
    assert written.name not in listed()


def run_a_flow():
    with span("before"):
        pass

    @e2s_flow
    def in_a_worker():
        pass

    in_a_worker()


@pytest.mark.slow
def test_a_flow_in_a_tasks_worker_is_a_run_of_its_own(run, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
    records = run(lambda: in_pool("spawn", run_a_flow))
    assert [one.name for one in records.spans if one.kind == Kind.SPAN] == ["before"]
    assert {"scoring", "in-a-worker"} <= set(listed())
    assert "before" not in listed()
