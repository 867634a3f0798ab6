"""Where an attempt begins and ends in Airflow's runner, which calls no hook there: its functions are wrapped.

The work begins before the templates are rendered, for which the results of others are loaded, and ends once its own
result is kept and its success is about to be reported, or with what the operator raises. That a DAG run is to be
triggered is raised, too, but the attempt goes on: it may wait for that run. How the attempt has ended is known once its
state is reported; Airflow goes on where the report is refused, as that of a task that somebody has marked is. Then come
the callbacks.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from types import ModuleType
from typing import Any

GOES_ON = {"DagRunTriggerException", "DownstreamTasksSkipped"}  # by name, as versions have them in different places
BEFORE = "on_execute_callback"
Args = tuple[Any, ...]
Named = dict[str, Any]
Call = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Follower:
    """What is called of an attempt; none of it raises.

    begins: it is about to begin. succeeds: its work is done, and is about to be reported. ends: its work is over, with
    an error or without; called again where it is over already. reported: how it ended has been, and was taken or not.
    calls_back: such callbacks of it are called inside of what this gives.
    """

    begins: Callable[[Any], None]
    succeeds: Callable[[], None]
    ends: Callable[[BaseException | None], None]
    reported: Callable[[BaseException | None, bool], None]
    calls_back: Callable[[str], AbstractContextManager[Any]]


def watch(follower: Follower) -> None:
    """Have who follows the attempts of this process told from now on. A second call changes nothing."""
    from airflow.sdk.execution_time import task_runner

    for name, around in {**_work(follower), **_end(follower, task_runner)}.items():
        _wrap(task_runner, name, around)


def _work(follower: Follower) -> dict[str, Call]:
    """By name what stands around the functions of the runner that do the work."""

    def prepare(call: Call, args: Args, kwargs: Named) -> Any:
        for one in (*args, *kwargs.values()):
            if hasattr(one, "_ti_context_from_server"):
                follower.begins(one)
        failed = _or_raising(call, args, kwargs, follower.ends)
        if failed is not None:
            follower.ends(None)
        return failed

    def execute(call: Call, args: Args, kwargs: Named) -> Any:
        return _or_raising(call, args, kwargs, lambda error: None if _goes_on(error) else follower.ends(error))

    def succeed(call: Call, args: Args, kwargs: Named) -> Any:
        follower.succeeds()
        return call(*args, **kwargs)

    def fail(call: Call, args: Args, kwargs: Named) -> Any:
        follower.ends(None)
        return call(*args, **kwargs)

    def trigger(call: Call, args: Args, kwargs: Named) -> Any:
        result = _or_raising(call, args, kwargs, follower.ends)
        follower.ends(None)  # it waits in the triggerer, or that run has failed
        return result

    return {
        "_prepare": prepare, "_execute_task": execute, "_handle_current_task_success": succeed,
        "_handle_current_task_failed": fail, "_handle_trigger_dag_run": trigger,
    }  # fmt: skip


def _end(follower: Follower, runner: ModuleType) -> dict[str, Call]:
    """The same of those that report how it has ended, and call back."""
    refused: list[Any] = []  # what was sent last of all that was refused, such as the request for an unknown variable

    def send(call: Call, args: Args, kwargs: Named) -> Any:
        def told(error: BaseException) -> None:
            refused[:] = [error, *args, *kwargs.values()]

        return _or_raising(call, args, kwargs, told)

    def broken(error: BaseException) -> None:
        if refused and refused[0] is error:  # Airflow 3.1 does not go on
            follower.reported(None, False)
        else:
            follower.ends(error)

    def run(call: Call, args: Args, kwargs: Named) -> Any:
        _wrap(type(getattr(runner, "SUPERVISOR_COMMS", None)), "send", send)
        refused.clear()
        found = _or_raising(call, args, kwargs, broken)
        parts = [one for one in found if one is not None] if isinstance(found, tuple) else []  # state, message, error
        error = next((one for one in parts if isinstance(one, BaseException)), None)
        follower.reported(error, not any(one is part for one in refused for part in parts))
        return found

    def call_back(call: Call, args: Args, kwargs: Named) -> Any:
        given = (*args, *kwargs.values())
        kind = next((one for one in given if isinstance(one, str)), BEFORE)
        if kind == BEFORE or not any(getattr(one, kind, None) for one in given):
            return call(*args, **kwargs)
        with follower.calls_back(kind):
            return call(*args, **kwargs)

    return {"run": run, "_run_task_state_change_callbacks": call_back}


def _wrap(of: Any, name: str, around: Call) -> None:
    """Put `around` around a function of a module or class, unless something of ours is; it may not have one."""
    call = getattr(of, name, None)
    if call is None or hasattr(call, "e2s_watches"):
        return

    @wraps(call)
    def watched(*args: Any, **kwargs: Any) -> Any:
        return around(call, args, kwargs)

    watched.e2s_watches = True  # type: ignore[attr-defined]
    setattr(of, name, watched)


def _or_raising(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], told: Callable[[Any], None]) -> Any:
    """What a call gives; what it raises is told first."""
    try:
        return call(*args, **kwargs)
    except BaseException as error:
        told(error)
        raise


def _goes_on(error: BaseException) -> bool:
    return any(cls.__name__ in GOES_ON for cls in type(error).__mro__)
