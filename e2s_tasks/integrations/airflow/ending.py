"""How an attempt has ended: as its report says if Airflow has taken that, and by what it raised.

Most reports are checked with Airflow when they are made, and refused where somebody has marked or cleared the task
meanwhile. Not so that it failed for good or was skipped, which the supervisor passes on once the process is gone: that
a person has marked it is told by the API server (`runs.marked`). Who was told to stop
and failed may have done so for that reason, or by itself: Airflow is asked whether it still takes it for running.
"""

from typing import Any

from e2s_tasks.core.records import Status
from e2s_tasks.recorder.guard import warn_once

BY_STATE = {
    "success": Status.COMPLETED, "skipped": Status.SKIPPED, "deferred": Status.SUSPENDED,
    "up_for_reschedule": Status.SUSPENDED, "awaiting_input": Status.SUSPENDED,
}  # fmt: skip
BY_EXCEPTION = {  # by name, since Airflow's versions have them in different places
    "AirflowTaskTimeout": Status.TIMED_OUT, "AirflowSensorTimeout": Status.TIMED_OUT,
    "TaskDeferralTimeout": Status.TIMED_OUT,
}  # fmt: skip
CHECKED = "up_for_retry"  # the one failure that Airflow is told of at once
FOR_GOOD = "failed"  # of which a report is never refused
RUNNING = "running"


def ending(task_instance: Any, error: BaseException | str | None, *, stopped: bool, taken: bool) -> Status:
    """The status of an attempt whose state has been reported. stopped: it was told to end, while it worked."""
    state = str(getattr(task_instance.state, "value", task_instance.state))
    if taken and state in BY_STATE:
        return BY_STATE[state]
    if not taken and state != FOR_GOOD:
        return Status.CANCELLED
    if stopped and state != CHECKED and not _goes_on(task_instance):
        return Status.CANCELLED
    names = [cls.__name__ for cls in type(error).__mro__]
    return next((BY_EXCEPTION[name] for name in names if name in BY_EXCEPTION), Status.FAILED)


def _goes_on(here: Any) -> bool:
    """Whether Airflow still takes the task instance for running: nobody has marked or cleared it."""
    index = -1 if here.map_index is None else here.map_index
    asked = {"dag_id": here.dag_id, "map_index": index, "task_ids": [here.task_id], "run_ids": [here.run_id]}
    try:
        states = here.get_task_states(**asked)
    except Exception as error:  # noqa: BLE001 - law 5
        warn_once("asking for the state of a task that was told to stop", error, "it counts as cancelled")
        return False
    name = f"{here.task_id}_{index}" if index >= 0 else here.task_id
    return bool(states.get(here.run_id, {}).get(name) == RUNNING)
