"""The benchmarks run, and what does not depend on the machine's speed holds in them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def rows(name):
    """The rows of a benchmark's quick run, by what they say."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("E2S_")}
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return {row["what"]: row for row in json.loads(done.stdout)["rows"]}


def figure(found, start):
    """The figure of the row that begins so."""
    return next(row["figure"] for what, row in found.items() if what.startswith(start))


@pytest.mark.slow
def test_what_the_sources_counted_is_booked_once_in_every_process_and_after_a_kill():
    found = rows("conservation")
    assert figure(found, "spans + other + idle") < 0.01  # parts per million
    assert figure(found, "CPU joules") < 15
    assert figure(found, "idle power") < 101
    assert figure(found, "the killed process") > -0.05


@pytest.mark.slow
def test_the_cpu_time_of_coroutines_and_child_processes_is_what_they_burned():
    for what, row in rows("cpu_time").items():
        if what != "a grandchild that has ended":
            assert row["figure"] < 20, row


@pytest.mark.slow
def test_four_concurrent_tasks_are_counted_once():
    for what, row in rows("overcount").items():
        assert row["figure"] < 25, what


@pytest.mark.slow
def test_a_task_is_given_the_joules_that_a_known_machine_drew_for_it():
    found = rows("accuracy")
    assert figure(found, "3 long tasks") < 10
    assert figure(found, "30 tasks of 30 ms, nanosecond clock") < 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "span_cost", "contention", "startup", "idle", "many_spans", "parquet", "prefect_task", "kpis", "lineage",
        "report", "exporter", "summary_page",
    ],
)  # fmt: skip
def test_the_benchmark_runs_and_prints_its_rows(name):
    found = rows(name)
    assert len(found) >= 3
    assert all(row["figure"] > -1000 for row in found.values())
    if name == "many_spans":
        assert figure(found, "spans that the ledger has") == 2000


PLANNING = ["lets_wait_awhile", "no_api", "interruptible", "capacity", "latest_start", "issued_forecasts"]


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANNING)
def test_a_planning_benchmark_meets_its_goals_on_a_part_of_the_real_years(name):
    if not (FOLDER.parent.parent / "shared" / "data" / "carbon_intensity").is_dir():
        pytest.skip("the carbon intensities of ../shared/data are not here")
    found = rows(name)
    assert len(found) >= 2
    # A month or two zones are not the year: goals that speak of all of it are not asked of a part.
    for what, row in found.items():
        if row["goal"] is not None and row["unit"] != "s" and "median" not in what and "worst" not in what:
            assert row["figure"] >= row["goal"] if row["least"] else row["figure"] <= row["goal"], row
