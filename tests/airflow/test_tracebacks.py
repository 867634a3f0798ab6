"""What Airflow logs of an error is as it is without us."""

import json
from pathlib import Path

import pytest

import e2s_tasks
from e2s_tasks.core.records import Kind
from e2s_tasks.integrations.airflow.frames import without_ours
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.ledger import Ledger, replay

OURS = Path(e2s_tasks.__file__).parent


@pytest.fixture(scope="module")
def raising(airflow):
    run_id = airflow.trigger("raising")
    assert airflow.wait("raising", run_id, 240) == "failed"
    return run_id


def _errors(airflow):
    """Of each task the errors in its logs, with the files of their frames."""
    found = {}
    for log in airflow.home.glob("logs/dag_id=raising/*/task_id=*/**/*.log"):
        task = next(part.removeprefix("task_id=") for part in log.parts if part.startswith("task_id="))
        told = [json.loads(line) for line in log.read_text().splitlines()]
        found.setdefault(task, []).extend(error for one in told for error in one.get("error_detail", []))
    return found


def test_no_frame_of_ours_is_in_what_airflow_logs_of_an_error(airflow, raising):
    found = _errors(airflow)
    assert {task for task, errors in found.items() if errors} >= {
        "raises", "raises_from", "takes_long", "fails_for_good", "has_no_such_program", "reads_no_file", "picks",
        "returns_what_cannot_be_kept", "tells_what_cannot_be_sent", "is_followed_by_an_error", "triggers_none",
        "cannot_be_deferred", "cannot_be_rendered", "asks_for_long", "fails_to_stop",
    }  # fmt: skip
    files = {task: [frame["filename"] for one in errors for frame in one["frames"]] for task, errors in found.items()}
    assert all(files[task] for task in found if found[task])
    ours = {task: [file for file in told if OURS in Path(file).parents] for task, told in files.items()}
    assert {task: told for task, told in ours.items() if told} == {}


def test_an_attempt_whose_report_cannot_be_sent_is_no_success(airflow, raising):
    ledger = Ledger.open(f"sqlite:///{airflow.home / 'e2s' / 'ledger.db'}")
    replay(airflow.home / "e2s" / "journal", ledger)
    run = ledger.run(dag_run_id("raising", raising))
    ended = {one.name: one.status for one in run.spans if one.kind == Kind.ATTEMPT}
    names = ("tells_what_cannot_be_sent", "triggers_none", "cannot_be_deferred", "takes_long", "skips", "picks")
    assert [ended[name] for name in names] == ["cancelled", "failed", "failed", "timed_out", "skipped", "failed"]


CALLS = """
def calls(what):
    return what()
"""


def _by(module):
    """A function of that module that calls what it is given."""
    names = {"__name__": module}
    exec(CALLS, names)
    return names["calls"]


def _modules(error):
    entries, trace = [], error.__traceback__
    while trace is not None:
        entries.append(trace.tb_frame.f_globals["__name__"])
        trace = trace.tb_next
    return entries


def test_frames_of_ours_are_cut_out_of_an_error_and_of_what_it_came_from():
    ours, users = _by("e2s_tasks.recorder.starts"), _by("users")

    def fails():
        raise ValueError

    def fails_from():
        try:
            ours(lambda: users(fails))
        except ValueError as error:
            raise KeyError from error

    with pytest.raises(KeyError) as caught:
        ours(lambda: users(fails_from))
    without_ours(caught.value)
    assert {"users"} == set(_modules(caught.value)) - {__name__}
    assert {"users"} == set(_modules(caught.value.__cause__)) - {__name__}


def test_the_frame_in_which_an_error_began_stays_whose_it_may_be():
    with pytest.raises(TypeError) as caught:
        _by("e2s_tasks.integrations.airflow.gate")(None)
    without_ours(caught.value)
    assert _modules(caught.value)[-1] == "e2s_tasks.integrations.airflow.gate"
