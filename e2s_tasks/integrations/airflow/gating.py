"""Which tasks of a DAG with a carbon policy wait, and the hook that has them do so."""

from typing import Any

from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.core.policy_tags import NO_CARBON
from e2s_tasks.errors import SettingError
from e2s_tasks.integrations.airflow import declared
from e2s_tasks.integrations.airflow.gate import CarbonGate


def gate(task: Any) -> None:
    """Put the hook on a task that is to wait: one with a policy of its own, or a first one of a DAG that has one.

    Raises:
        SettingError: the policy cannot be used.
    """
    hook = _hook(task)
    if isinstance(hook, CarbonGate):
        return
    policy, of_run = _policy(task)
    if policy is None:
        return
    gated = CarbonGate(policy, hook, whole_run=of_run)
    if _is_mapped(task):
        task.partial_kwargs["pre_execute"] = gated
    else:
        task._pre_execute_hook = gated  # noqa: SLF001 - where Airflow keeps it


def _policy(task: Any) -> tuple[CarbonPolicy | None, bool]:
    """The policy that holds a task back, and whether it is of the whole run.

    A task that says a part of a policy has one of its own, which is the DAG's in all other parts; these need not be a
    policy without it.
    """
    dag = task.dag
    own, of_dag = declared.ours(declared.param_of(task)), declared.ours(declared.param_of(dag))
    if not declared.waits(declared.told(dag, task)) or NO_CARBON in (dag.tags or ()):
        return None, False
    if own == of_dag or not any(name in own for name in declared.OF_A_POLICY):
        policy = declared.policy(dag.tags or (), declared.told(dag))
        return (policy if is_first(task) else None), True
    try:
        of_run = declared.policy(dag.tags or (), declared.told(dag))
    except SettingError:
        return declared.policy((), declared.told(dag, task)), False  # the DAG's parts may do with the task's
    return declared.policy((), own, of_run), False


def is_first(task: Any) -> bool:
    """Whether a task begins the work of its DAG's run: nothing but sensors and empty tasks comes before it.

    What the run waits for in any case, and tasks that do nothing, have no hour; but after a CarbonIntensitySensor the
    hour has come. A setup task that begins the run waits, so that what it sets up does not stand idle meanwhile; what
    tears down never does.
    """
    if _has_no_hour(task) or getattr(task, "is_teardown", False):
        return False
    seen, pending = set(), [task]
    while pending:
        for before in pending.pop().upstream_list:
            if before.task_id in seen:
                continue
            seen.add(before.task_id)
            if not _has_no_hour(before) or _waits_for_what_follows(before):
                return False
            pending.append(before)
    return True


def _has_no_hour(task: Any) -> bool:
    from airflow.sdk import BaseSensorOperator

    return getattr(task, "inherits_from_empty_operator", False) or _is_of_kind(task, BaseSensorOperator)


def _waits_for_what_follows(task: Any) -> bool:
    from e2s_tasks.integrations.airflow.sensor import CarbonIntensitySensor

    return _is_of_kind(task, CarbonIntensitySensor)


def _is_of_kind(task: Any, operator: type) -> bool:
    kind = task.operator_class if _is_mapped(task) else type(task)
    return isinstance(kind, type) and issubclass(kind, operator)


def _is_mapped(task: Any) -> bool:
    return hasattr(task, "partial_kwargs")


def _hook(task: Any) -> Any:
    return task.partial_kwargs.get("pre_execute") if _is_mapped(task) else getattr(task, "_pre_execute_hook", None)
