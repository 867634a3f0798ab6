"""Where an attempt's work begins and ends in Airflow's runner, which calls no hook there: its functions are wrapped.

The work begins before the templates are rendered, for which the results of others are loaded, and ends once its own
result is kept and its success is about to be reported, or with what the operator raises. That a DAG run is to be
triggered is raised, too, but the attempt goes on: it may wait for that run.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

GOES_ON = {"DagRunTriggerException", "DownstreamTasksSkipped"}  # by name, as versions have them in different places
Call = Callable[..., Any]


def watch(begins: Callable[[Any], None], succeeds: Callable[[], None], ends: Callable[[Any], None]) -> None:
    """Have these called from now on: with a task instance, before a success is reported, and with the error if any."""
    from airflow.sdk.execution_time import task_runner

    def prepare(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for one in (*args, *kwargs.values()):
            if hasattr(one, "_ti_context_from_server"):
                begins(one)
        failed = _or_raising(call, args, kwargs, ends)
        if failed is not None:
            ends(None)
        return failed

    def execute(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _or_raising(call, args, kwargs, lambda error: None if _goes_on(error) else ends(error))

    def succeed(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        succeeds()
        return call(*args, **kwargs)

    def fail(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        ends(None)
        return call(*args, **kwargs)

    def trigger(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = _or_raising(call, args, kwargs, ends)
        ends(None)  # it waits in the triggerer, or that run has failed
        return result

    around = {
        "_prepare": prepare, "_execute_task": execute, "_handle_current_task_success": succeed,
        "_handle_current_task_failed": fail, "_handle_trigger_dag_run": trigger,
    }  # fmt: skip
    for name, wrapped in around.items():
        call = getattr(task_runner, name, None)
        if call is not None and not hasattr(call, "e2s_watches"):
            setattr(task_runner, name, _wrapping(call, wrapped))


def _wrapping(call: Call, around: Call) -> Call:
    @wraps(call)
    def watched(*args: Any, **kwargs: Any) -> Any:
        return around(call, args, kwargs)

    watched.e2s_watches = True  # type: ignore[attr-defined]
    return watched


def _or_raising(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], told: Callable[[Any], None]) -> Any:
    """What a call gives; what it raises is told first."""
    try:
        return call(*args, **kwargs)
    except BaseException as error:
        told(error)
        raise


def _goes_on(error: BaseException) -> bool:
    return any(cls.__name__ in GOES_ON for cls in type(error).__mro__)
