"""Before a task with a carbon policy begins: it goes on, or is deferred to a cleaner hour, and holds no process.

A hook that Airflow calls before `execute`, in each process of an attempt. In the first one it decides; a deferral of
its own names a method of which nobody else knows, so that the process that comes after it is told from those that come
after the operator's own deferrals, and does all that the operator does.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.errors import SettingError
from e2s_tasks.recorder.guard import guarded, warn_once

if TYPE_CHECKING:
    from e2s_tasks.integrations.airflow.trigger import CleanerGridTrigger

BEGIN = "e2s_begin_after_waiting"  # the method with which a task goes on that has waited for us
HOUR_HAS_COME = "the_hour_has_come"  # the same of a CarbonIntensitySensor

Hook = Callable[..., Any]


def carbon_gate(policy: CarbonPolicy, then: Hook | None = None) -> "CarbonGate":
    """A `pre_execute` hook for any operator: the task waits for a cleaner grid, as far as the policy allows.

    PythonOperator(..., pre_execute=carbon_gate(CarbonPolicy("GB", max_delay="6h", expected_duration="1h")))

    It waits in the triggerer, once, and keeps its try. A further try, and a task that was cleared, begin at once.
    then: a hook of your own, called after the waiting, each time that Airflow would call it.

    Raises:
        SettingError: the policy is none.
    """
    if not isinstance(policy, CarbonPolicy):
        raise SettingError(
            f"policy={policy!r} is no carbon policy: give for example CarbonPolicy('GB', max_delay='6h')."
        )
    return CarbonGate(policy, then)


@dataclass(frozen=True, slots=True)
class CarbonGate:
    """Holds a task back as its policy says. whole_run: that is the DAG's, and the task one that its run begins with."""

    policy: CarbonPolicy
    then: Hook | None = None
    whole_run: bool = False

    def __call__(self, context: Any) -> None:
        """Return when the task is to begin.

        Raises:
            TaskDeferred: it waits.
        """
        task_instance = context["ti"]
        told = task_instance._ti_context_from_server  # noqa: SLF001 - Airflow has it nowhere else
        if told.next_method == BEGIN:
            teach_operators()
        elif told.next_method is None and not told.task_reschedule_count:  # a sensor that looks again has not arrived
            trigger = self._trigger(task_instance)
            if trigger is not None:
                task_instance.task.defer(trigger=trigger, method_name=BEGIN)
        if self.then is not None:
            _call(self.then, context)

    def _trigger(self, task_instance: Any) -> "CleanerGridTrigger | None":
        """What the task waits in; None where it begins now, as it does whatever goes wrong here."""
        from e2s_tasks.integrations.airflow.arriving import arrive

        try:
            return arrive(task_instance, self.policy, whole_run=self.whole_run).trigger
        except Exception as error:  # noqa: BLE001 - law 5
            warn_once("waiting for a cleaner grid", error, "the task starts now")
            return None


def _call(hook: Hook, context: Any) -> None:
    """Call a user's hook as Airflow calls it; those that tell of assets are generators."""
    if not inspect.isgeneratorfunction(hook):
        hook(context)
        return
    from airflow.sdk.execution_time.callback_runner import create_executable_runner
    from airflow.sdk.execution_time.context import context_get_outlet_events

    create_executable_runner(hook, context_get_outlet_events(context), logger=context["ti"].task.log).run(context)


@guarded
def teach_operators() -> None:
    """Every operator can begin after it has waited: a task that waits goes on even if it loses its hook meanwhile."""
    from airflow.sdk import BaseOperator

    if not hasattr(BaseOperator, BEGIN):
        setattr(BaseOperator, BEGIN, _begin)


def _begin(operator: Any, context: Any, event: Any = None) -> Any:
    """All that the operator does, once its hour has come."""
    from e2s_tasks.integrations.airflow.arriving import begins

    begins(event)
    try:
        return operator.execute(context)
    except Exception:
        _has_applied_what_it_skips(operator)
        raise


def _has_applied_what_it_skips(operator: Any) -> None:
    """A sensor goes on by `resume_execution`, which skips it for all that `execute` raises: also for a look to come."""
    from airflow.sdk import BaseSensorOperator

    if isinstance(operator, BaseSensorOperator):
        operator.soft_fail = operator.never_fail = False
