"""An attempt has ended as what its report says, unless somebody has made that void."""

from types import SimpleNamespace

import pytest

from e2s_tasks.core.records import Status
from e2s_tasks.integrations.airflow.ending import ending


class AirflowTaskTimeout(BaseException):
    """As Airflow's, which its versions have in different places."""


def here(state, known=None, map_index=-1):
    """A task instance that has reported a state, and what Airflow knows of the states of its task."""

    def states(**asked):
        if known is None:
            raise ConnectionError(asked)
        return {"r": known}

    return SimpleNamespace(
        state=state, dag_id="d", run_id="r", task_id="t", map_index=map_index, get_task_states=states
    )


@pytest.mark.parametrize(("error", "status"), [(ValueError(), Status.FAILED), (AirflowTaskTimeout(), Status.TIMED_OUT)])
def test_who_was_told_to_stop_and_failed_by_itself_has_failed(error, status):
    assert ending(here("up_for_retry"), error, stopped=True, taken=True) is status
    assert ending(here("failed", {"t": "running"}), error, stopped=True, taken=True) is status
    mapped = here("failed", {"t_0": "success", "t_1": "running"}, map_index=1)
    assert ending(mapped, error, stopped=True, taken=True) is status


@pytest.mark.parametrize("known", [{"t": "failed"}, {"t": "restarting"}, {"t": "skipped"}, {"t": None}, {}])
def test_who_was_told_to_stop_since_somebody_marked_it_was_cancelled(known):
    assert ending(here("failed", known), ValueError(), stopped=True, taken=True) is Status.CANCELLED


def test_who_was_told_to_stop_and_whose_report_is_refused_was_cancelled():
    assert ending(here("up_for_retry"), ValueError(), stopped=True, taken=False) is Status.CANCELLED
    assert ending(here("success"), None, stopped=False, taken=False) is Status.CANCELLED


@pytest.mark.parametrize("state", ["up_for_retry", "deferred", "up_for_reschedule", "skipped", "running"])
def test_whose_report_is_refused_was_cancelled_whatever_it_raised(state):
    assert ending(here(state), ValueError(), stopped=False, taken=False) is Status.CANCELLED


def test_who_failed_for_good_has_failed_though_its_report_could_not_be_sent():
    assert ending(here("failed"), ValueError(), stopped=False, taken=False) is Status.FAILED


def test_who_was_told_to_stop_counts_as_cancelled_where_airflow_does_not_answer():
    with pytest.warns(UserWarning, match="it counts as cancelled"):
        assert ending(here("failed"), ValueError(), stopped=True, taken=True) is Status.CANCELLED


def test_airflow_is_asked_nothing_of_who_was_not_told_to_stop():
    assert ending(here("failed"), ValueError(), stopped=False, taken=True) is Status.FAILED


def test_who_was_told_to_stop_and_succeeded_all_the_same_has_succeeded():
    assert ending(here("success"), None, stopped=True, taken=True) is Status.COMPLETED
