"""The decision for a task, or for the DAG run that it begins, at the moment at which it would start."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.core.policy_tags import tags_of
from e2s_tasks.core.records import HELD_BACK, OF_RUN, OF_STEP, WAITS, DecisionRecord, from_dict
from e2s_tasks.errors import E2SError, PolicyError
from e2s_tasks.integrations.airflow import attempts, declared, following
from e2s_tasks.integrations.airflow.active import is_active
from e2s_tasks.integrations.airflow.connections import with_keys
from e2s_tasks.integrations.airflow.identity import dag_run_id, task_instance_id
from e2s_tasks.integrations.airflow.ready import ready_at
from e2s_tasks.recorder import process_recorder
from e2s_tasks.recorder.guard import guarded, warn_once
from e2s_tasks.settings import Settings, settings

if TYPE_CHECKING:
    from e2s_tasks.integrations.airflow.trigger import CleanerGridTrigger
    from e2s_tasks.ledger.learned import Learned
    from e2s_tasks.scheduler import Decision
    from e2s_tasks.scheduler.again import Arrival


class Arrived(NamedTuple):
    """What was decided, unless it is a further try, which begins at once; and what the task waits in, if it does."""

    decision: "Decision | None" = None
    trigger: "CleanerGridTrigger | None" = None


def arrive(
    task_instance: Any, policy: CarbonPolicy, *, whole_run: bool = False, held_back: Sequence[str] = ()
) -> Arrived:
    """The decision for the first try of a task, which is written down for its DAG run.

    The policy is of the task; whole_run: of all that its run does; held_back: of these tasks that come after it. Then
    what is learned is of the run too.
    """
    options = settings()
    if not options.enabled or task_instance.try_number > 1:
        return Arrived()
    from e2s_tasks.scheduler.again import Arrival, lesson_of, spread

    options, now = with_keys(options), datetime.now(UTC)
    lesson = None
    if policy.expected_duration is None:
        lesson = lesson_of(task_instance.dag_id, options, None if whole_run or held_back else task_instance.task_id)
    arrival = Arrival(now, scheduled=True, ready=ready_at(task_instance, now, options))
    found = _decide(policy, arrival, options, lesson)
    last = _last_start(task_instance, found)
    if last is not None and found.start is not None and found.start > last:
        found = _decide(policy, replace(arrival, latest=last), options, lesson)
        found = replace(found, reason=f"{found.reason}; later the DAG run's own dagrun_timeout would end it")
    found = spread(found, _step(task_instance))
    why_not = _why_not(task_instance, found, options)
    found.plan.update({OF_STEP: _step(task_instance), OF_RUN: whole_run, WAITS: why_not is None})
    if held_back:
        found.plan[HELD_BACK] = list(held_back)
    elif whole_run:
        found.plan.update(following.written_down(task_instance.task))
    _write(found, task_instance)
    if why_not is not None:
        _log(task_instance, f"e2s: the task starts now: {why_not.removeprefix('start now: ')} ({found.source})")
        return Arrived(found)
    _log(task_instance, f"e2s: the task waits for a cleaner grid: {found.reason} ({found.source})")
    trigger = _trigger(task_instance, policy, found, lesson)
    attempts.only_waits()
    return Arrived(found, trigger)


def _decide(policy: CarbonPolicy, arrival: "Arrival", options: Settings, lesson: "Learned | None") -> "Decision":
    from e2s_tasks import scheduler
    from e2s_tasks.scheduler.again import decide_again

    now = arrival.at
    try:
        return decide_again(policy, now, arrival, options, lesson)
    except PolicyError as error:
        return scheduler.not_planned_by(policy, scheduler.intensity_now(policy.zone, now, options), str(error))
    except E2SError as error:  # a broken trace, or a zone that nobody knows
        warn_once("looking at the grid", error, "the task starts now")
        return scheduler.not_planned_by(policy, scheduler.average_now(policy.zone, now, str(error)), str(error))


def _why_not(task_instance: Any, found: "Decision", options: Settings) -> str | None:
    """Why the task does not wait; None where it does."""
    # Airflow fails a task that goes on before its scheduler has seen the process that deferred it end
    if found.start is None or found.start <= found.at:
        return found.reason
    if found.start - found.at < timedelta(seconds=options.least_wait_s):
        return (
            f"less than {options.least_wait_s:g} s (E2S_LEAST_WAIT_S) are not waited for; else it would {found.reason}"
        )
    if options.wait == "never":
        return f"E2S_WAIT=never; else it would {found.reason}"
    if _is_a_test():
        return f"`airflow dags test` would wait itself; else it would {found.reason}"
    dag, dag_run = _dag_and_run(task_instance)
    if not declared.waits(declared.told_in_a_run(dag, task_instance.task, dag_run.conf)):
        return f"the run, or the task, says that it does not wait; else it would {found.reason}"
    return None


def _last_start(task_instance: Any, found: "Decision") -> datetime | None:
    """When it must start at the latest for its DAG run not to be timed out meanwhile; None where that never is."""
    from e2s_tasks.scheduler.again import RESERVE, RESERVED

    dag, dag_run = _dag_and_run(task_instance)
    limit = getattr(dag, "dagrun_timeout", None)
    if limit is None or dag_run.start_date is None or found.start is None or found.end is None:
        return None
    last: datetime = dag_run.start_date + limit - (found.end - found.start) - min(RESERVE, limit * RESERVED)
    return last


def _dag_and_run(task_instance: Any) -> tuple[Any, Any]:
    return task_instance.task.dag, task_instance._ti_context_from_server.dag_run  # noqa: SLF001


def _is_a_test() -> bool:
    """Whether the task runs in the process of a command, as in `airflow dags test`, which waits for each trigger."""
    from airflow.sdk.execution_time import task_runner

    return type(getattr(task_runner, "SUPERVISOR_COMMS", None)).__name__ == "InProcessSupervisorComms"


def _trigger(
    task_instance: Any, policy: CarbonPolicy, found: "Decision", lesson: "Learned | None"
) -> "CleanerGridTrigger":
    from e2s_tasks.integrations.airflow.trigger import CleanerGridTrigger

    assert found.start is not None  # noqa: S101 - only such decisions make a task wait
    latest, last = found.plan["latest_start"], _last_start(task_instance, found)
    return CleanerGridTrigger(
        start=found.start.timestamp(),
        latest=latest if last is None else min(latest, last.timestamp()),
        arrived=found.at.timestamp(),
        policy=tags_of(policy),
        run=dag_run_id(task_instance.dag_id, task_instance.run_id),
        step=_step(task_instance),
        whole_run=found.plan[OF_RUN],
        lesson=asdict(lesson) if lesson is not None else None,
    )


def record_of(found: "Decision", run: str, step: str) -> DecisionRecord:
    """The decision for a task instance as it is written down; the same one always gets the same id."""
    from e2s_tasks import scheduler

    mine = uuid5(NAMESPACE_URL, f"e2s:decision:{run}:{step}:{found.at.timestamp()}").hex
    return replace(scheduler.to_record(found, run), id=mine)


@guarded
def _write(found: "Decision", task_instance: Any) -> None:
    if is_active():
        run = dag_run_id(task_instance.dag_id, task_instance.run_id)
        process_recorder().write(record_of(found, run, _step(task_instance)))


@guarded
def begins(event: Any) -> None:
    """A task goes on after it has waited: if its hour was moved meanwhile, that is written down."""
    moved = event.get("decision") if isinstance(event, dict) else None
    if moved is not None and is_active():
        process_recorder().write(from_dict(moved))


@guarded
def _log(task_instance: Any, text: str) -> None:
    task_instance.task.log.info(text)


def _step(task_instance: Any) -> str:
    one = task_instance
    return task_instance_id(one.dag_id, one.run_id, one.task_id, one.map_index)
