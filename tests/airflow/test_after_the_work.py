"""What comes after an attempt's work changes nothing of how it ended; what somebody has made void is none."""

import atexit
import os
from contextlib import suppress
from multiprocessing import get_context
from types import SimpleNamespace

import pytest
from daemons import until

from e2s_tasks.core.records import Kind
from e2s_tasks.integrations.airflow import attempts
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.integrations.airflow.runner import _end
from e2s_tasks.ledger import Ledger, replay
from e2s_tasks.reporter import summarise


def _run(airflow, dag_id, run_id):
    ledger = Ledger.open(f"sqlite:///{airflow.home / 'e2s' / 'ledger.db'}")
    replay(airflow.home / "e2s" / "journal", ledger)
    return ledger.run(dag_run_id(dag_id, run_id))


def _attempts(run, name):
    return [one for one in run.spans if one.kind == Kind.ATTEMPT and one.name == name]


@pytest.fixture(scope="module")
def called_back(airflow):
    run_id = airflow.trigger("calls_back")
    assert airflow.wait("calls_back", run_id, 240) == "failed"

    def written():
        run = _run(airflow, "calls_back", run_id)
        return run if any(one.uri.endswith("by_a_callback.parquet") for one in run.versions) else None

    return until(written)


def test_a_success_that_was_made_void_before_its_report_is_none(airflow):
    run_id = airflow.trigger("marked_meanwhile")
    until((airflow.home / "works").exists)
    path = f"/api/v2/dags/marked_meanwhile/dagRuns/{run_id}/taskInstances/is_marked_meanwhile"
    airflow.client.patch(path, json={"new_state": "failed"}).raise_for_status()
    (airflow.home / "marked").touch()
    assert airflow.wait("marked_meanwhile", run_id) == "failed"

    def ended():
        run = _run(airflow, "marked_meanwhile", run_id)
        return run if _attempts(run, "is_marked_meanwhile")[0].status != "running" else None

    run = until(ended)
    assert [one.status for one in _attempts(run, "is_marked_meanwhile")] == ["cancelled"]
    assert run.versions == []
    assert summarise(run)["kpis"]["joules_per_row"]["denominator"] is None


def test_a_failure_that_was_made_void_before_its_report_was_cancelled(airflow):
    run_id = airflow.trigger("marked_and_raises")
    until((airflow.home / "works_and_raises").exists)
    path = f"/api/v2/dags/marked_and_raises/dagRuns/{run_id}/taskInstances/is_marked_and_raises"
    airflow.client.patch(path, json={"new_state": "success"}).raise_for_status()
    (airflow.home / "marked_and_raises").touch()

    def ended():
        (attempt,) = _attempts(_run(airflow, "marked_and_raises", run_id), "is_marked_and_raises")
        return attempt.status if attempt.status != "running" else None

    assert until(ended) == "cancelled"


@pytest.fixture
def comms():
    class Comms:  # as Airflow's
        def send(self, msg):
            if msg.get("unfit"):
                raise RuntimeError(msg)
            if self._read_frame(msg).error:
                raise RuntimeError(msg)

        def _read_frame(self, msg):
            return SimpleNamespace(error={"error": "refused"} if msg["refused"] else None)

    return Comms()


@pytest.mark.parametrize(
    ("report", "taken"), [({"refused": True}, False), ({"refused": False}, True), ({"unfit": True}, False)]
)
def test_only_a_report_that_is_refused_makes_a_success_void(comms, report, taken):
    told = []
    follower = SimpleNamespace(
        ends=lambda error: told.append(("ends", error)),
        reported=lambda error, taken: told.append(("reported", error, taken)),
    )
    run = _end(follower, SimpleNamespace(SUPERVISOR_COMMS=comms))["run"]

    def attempt():
        with suppress(RuntimeError):
            comms.send(msg={"refused": True})  # the request for a variable that is not there
        with suppress(RuntimeError):  # as Airflow 3.2 and 3.3
            comms.send(msg=report)
        return "success", report, None

    assert run(attempt, (), {}) == ("success", report, None)
    assert told == [("reported", None, taken)]


@pytest.mark.parametrize(
    ("refused", "expected"),
    [(True, [("reported", "RuntimeError", False)]), (False, [("ends", "ValueError")])],
)
def test_where_airflow_does_not_go_on_after_a_refusal_it_is_one_all_the_same(comms, refused, expected):
    told = []
    follower = SimpleNamespace(
        ends=lambda error: told.append(("ends", type(error).__name__)),
        reported=lambda error, taken: told.append(("reported", type(error).__name__, taken)),
    )
    run = _end(follower, SimpleNamespace(SUPERVISOR_COMMS=comms))["run"]

    def attempt():  # as Airflow 3.1
        comms.send(msg={"refused": refused})
        raise ValueError

    with pytest.raises((RuntimeError, ValueError)):
        run(attempt, (), {})
    assert told == expected


@pytest.mark.parametrize(("works", "status"), [(True, "failed"), (False, "cancelled")])
def test_a_question_that_is_refused_while_the_work_goes_on_is_no_refused_report(monkeypatch, works, status):
    ended = []
    span = SimpleNamespace(
        note=lambda facts: None, suspend=lambda: None, worked=lambda: None, end=lambda status: ended.append(str(status))
    )
    one = SimpleNamespace(state="running", task_id="t", map_index=-1, dag_id="d", run_id="r")
    monkeypatch.setattr(attempts._here, "attempt", attempts.Attempt(one, span, works=works))
    attempts._end(RuntimeError(), False)
    assert ended == [status]


def test_what_a_callback_writes_has_cost_what_its_own_task_did(called_back):
    summary = summarise(called_back)
    (row,) = [one for one in summary["artifacts"] if one["uri"].endswith("by_a_callback.parquet")]
    (attempt,) = _attempts(called_back, "tells_of_it")
    (callback,) = [
        one for one in called_back.spans if one.parent_id == attempt.id and one.name == "on_success_callback"
    ]
    assert callback.cpu_ns > 0.25e9
    (step,) = [one for one in summary["steps"] if one["name"] == "tells_of_it"]
    assert step["inclusive_j"] >= attempt.joules + callback.joules
    around = sum(one["inclusive_j"] for one in summary["steps"] if one["kind"] == "orchestration")
    whole = summary["energy_j"]["total"]
    assert row["in_run_j"] == pytest.approx(step["inclusive_j"] * whole / (whole - around), rel=1e-6)


def test_who_dies_in_a_callback_had_succeeded(called_back):
    (attempt,) = _attempts(called_back, "dies_afterwards")
    assert attempt.status == "completed"
    assert [one.uri for one in called_back.versions if one.span_id == attempt.id] == ["asset:/of who died"]


def test_only_what_callbacks_of_attempts_that_succeeded_count_is_an_outcome(called_back):
    assert [one.status for one in _attempts(called_back, "fails")] == ["failed", "failed"]
    assert summarise(called_back)["kpis"]["joules_per_row"]["denominator"] == 3


@pytest.fixture(scope="module")
def exited(airflow):
    run_id = airflow.trigger("exits")
    assert airflow.wait("exits", run_id) == "failed"  # by the one that fails

    def ended():
        run = _run(airflow, "exits", run_id)
        own = [one for one in run.spans if not one.is_of_no_process]
        return (run, run_id) if len(own) == 6 and all(one.ended_at for one in own) else None

    return until(ended)


def test_a_callback_that_exits_loses_nothing_since_its_process_ends_in_order(exited):
    run, _ = exited
    assert [one.cpu_ns > 0.45e9 for one in run.spans if one.name.endswith("_callback")] == [True, True]
    assert [one.status for one in run.spans if one.kind == Kind.ORCHESTRATION] == ["completed", "completed"]
    assert [one for one in run.spans if "killed" in one.attributes] == []
    assert summarise(run)["cut_short"] == {}


def test_a_callback_that_exits_changes_nothing_of_how_its_attempt_ended(exited):
    run, _ = exited
    assert {one.name: one.status for one in run.spans if one.kind == Kind.ATTEMPT} == {
        "exits_afterwards": "completed",
        "fails_and_exits": "failed",
    }
    assert [one.uri for one in run.versions] == ["asset:/of who exited"]
    assert summarise(run)["kpis"]["joules_per_row"]["denominator"] == 2


def test_the_exit_code_of_a_callback_that_exits_is_its_own(airflow, exited):
    _, run_id = exited
    states = {one["task_id"]: one["state"] for one in airflow.task_instances("exits", run_id)}
    assert states == {"exits_afterwards": "success", "fails_and_exits": "failed"}
    logs = list((airflow.home / "logs" / "dag_id=exits").rglob("attempt=1.log"))
    assert len(logs) == 2
    until(lambda: all('"exit_code":7' in log.read_text() for log in logs))


def test_who_skips_has_skipped_if_its_process_ends_in_order(airflow):
    run_id = airflow.trigger("skips")
    airflow.wait("skips", run_id)
    states = {one["task_id"]: one["state"] for one in airflow.task_instances("skips", run_id)}
    assert states == {"skips": "skipped", "skips_and_exits": "failed", "skips_and_dies": "failed"}

    def ended():
        run = _run(airflow, "skips", run_id)
        found = {one.name: str(one.status) for one in run.spans if one.kind == Kind.ATTEMPT}
        return found if "running" not in found.values() else None

    assert until(ended) == {"skips": "skipped", "skips_and_exits": "failed", "skips_and_dies": "crashed"}


def _exits_before_its_attempt():
    attempts._open_around("d", "r")
    atexit._run_exitfuncs()  # as Airflow's processes do, and then leave what multiprocessing would run
    os._exit(0)


def test_a_process_that_exits_before_its_attempt_began_is_all_there(tmp_path, monkeypatch):
    monkeypatch.setenv("E2S_DATA_DIR", str(tmp_path))
    process = get_context("spawn").Process(target=_exits_before_its_attempt)
    process.start()
    process.join()
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    replay(tmp_path / "journal", ledger)
    (span,) = ledger.run(dag_run_id("d", "r")).spans
    assert (span.kind, span.status, span.attributes.get("killed")) == ("orchestration", "completed", None)


def test_a_forked_child_leaves_to_its_parent_what_goes_on_there(monkeypatch):
    monkeypatch.setattr(attempts._here, "around", object())
    child = os.fork()
    if not child:
        os._exit(attempts._here.around is not None)
    assert os.waitpid(child, 0)[1] == 0
    assert attempts._here.around is not None
