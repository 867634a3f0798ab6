"""Where an attempt begins and ends in Airflow's runner, which calls no hook there: its functions are replaced.

The work begins before the templates are rendered, for which the results of others are loaded, and ends once its own
result is kept and its success is about to be reported, or with what the operator raises. That a DAG run is to be
triggered is raised, too, but the attempt goes on: it may wait for that run. How the attempt has ended is known once its
state is reported; Airflow goes on where the report is refused, as that of a task that somebody has marked is. Then come
the callbacks.

What an operator raises is logged by the runner. So nothing of ours is on the stack between the two: work is followed by
the context manager around it, and by what has returned before one of the runner's functions begins. Where that cannot
be, as around the whole run, frames of ours are taken out of an error before it reaches who logs it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import update_wrapper, wraps
from types import ModuleType, TracebackType
from typing import Any

from e2s_tasks.integrations.airflow.frames import without_ours

GOES_ON = {"DagRunTriggerException", "DownstreamTasksSkipped"}  # by name, as versions have them in different places
BEFORE = "on_execute_callback"
Args = tuple[Any, ...]
Named = dict[str, Any]
Call = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Follower:
    """What is called of an attempt; none of it raises.

    begins: it is about to begin. succeeds: its work is done, and is about to be reported. ends: its work is over, with
    an error or without; called again where it is over already. reported: how it ended has been, and was taken or not;
    with an error while the work goes on, what was not taken was a question of it. calls_back: such callbacks of it are
    called inside of what this gives.
    """

    begins: Callable[[Any], None]
    succeeds: Callable[[], None]
    ends: Callable[[BaseException | None], None]
    reported: Callable[[BaseException | None, bool], None]
    calls_back: Callable[[str], AbstractContextManager[Any]]


def watch(follower: Follower) -> None:
    """Have who follows the attempts of this process told from now on. A second call changes nothing."""
    from airflow.sdk.execution_time import task_runner

    opens, told = task_runner.set_current_context, _told(follower)
    _replace(task_runner, "set_current_context", lambda context: _Work(_Cleared(opens(context)), context, follower))
    locks = getattr(task_runner, "BundleVersionLock", None)  # the whole run is inside of it, and a log of errors around
    if locks is not None:
        _replace(task_runner, "BundleVersionLock", lambda *args, **kwargs: _Cleared(locks(*args, **kwargs)))
    for name, first in told.items():
        call = getattr(task_runner, name, None)
        if call is not None:
            _replace(task_runner, name, Told(call, first))
    for name, around in _end(follower, task_runner).items():
        _wrap(task_runner, name, around)


@dataclass(frozen=True, slots=True)
class _Cleared:
    """A context manager of the runner's, which errors leave without frames of ours."""

    own: AbstractContextManager[Any]

    def __enter__(self) -> Any:
        return self.own.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> Any:
        handled = self.own.__exit__(kind, error, at)
        if error is not None:
            without_ours(error)
        return handled


@dataclass(frozen=True, slots=True)
class _Work:
    """What the runner opens around the rendering of templates and the operator, with both of its ends told."""

    own: AbstractContextManager[Any]
    context: Any
    follower: Follower

    def __enter__(self) -> Any:
        self.follower.begins(self.context.get("ti"))
        return self.own.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> Any:
        if error is not None and not _goes_on(error):
            self.follower.ends(error)
        return self.own.__exit__(kind, error, at)


class Told:
    """A function before which something is called: while Python looks it up, so that it has returned by then."""

    def __init__(self, call: Call, first: Callable[[], None]) -> None:
        update_wrapper(self, call)
        self._call, self._first = call, first

    @property
    def __call__(self) -> Call:
        """The function itself."""
        self._first()
        return self._call

    def __get__(self, of: Any, cls: type[Any]) -> Call:
        """The same of a method."""
        self._first()
        return self._call.__get__(of, cls)  # type: ignore[no-any-return]


def _told(follower: Follower) -> dict[str, Callable[[], None]]:
    """By name what is called before the functions of the runner that come after the work."""

    def ends() -> None:
        follower.ends(None)

    return {
        "_handle_current_task_success": follower.succeeds, "_handle_current_task_failed": ends, "_defer_task": ends,
    }  # fmt: skip


def _end(follower: Follower, runner: ModuleType) -> dict[str, Call]:
    """By name what stands around the functions that report how it has ended, and call back."""
    taken = True  # the latest of what was sent: the last that a run sends is the report

    def sends() -> None:
        nonlocal taken
        taken = False

    def read(call: Call, args: Args, kwargs: Named) -> Any:
        nonlocal taken
        answer = call(*args, **kwargs)
        taken = getattr(answer, "error", None) is None
        return answer

    def run(call: Call, args: Args, kwargs: Named) -> Any:
        nonlocal taken
        comms: Any = type(getattr(runner, "SUPERVISOR_COMMS", None))
        if hasattr(comms, "_read_frame"):  # else there is no supervisor that could refuse
            _replace(comms, "send", Told(comms.send, sends))
            _wrap(comms, "_read_frame", read)
        taken = True
        try:
            found = call(*args, **kwargs)
        except BaseException as error:
            if taken:
                follower.ends(error)
            else:  # Airflow 3.1 does not go on
                follower.reported(error, False)
            raise
        parts = found if isinstance(found, tuple) else ()  # state, message, error
        follower.reported(next((one for one in parts if isinstance(one, BaseException)), None), taken)
        return found

    def call_back(call: Call, args: Args, kwargs: Named) -> Any:
        given = (*args, *kwargs.values())
        kind = next((one for one in given if isinstance(one, str)), BEFORE)
        if kind == BEFORE or not any(getattr(one, kind, None) for one in given):
            return call(*args, **kwargs)
        with follower.calls_back(kind):
            return call(*args, **kwargs)

    return {"run": run, "_run_task_state_change_callbacks": call_back}


def _replace(of: Any, name: str, ours: Any) -> None:
    """Put ours in the place of a function of a module or class, unless that is done."""
    if not hasattr(getattr(of, name), "e2s_watches"):
        ours.e2s_watches = True
        setattr(of, name, ours)


def _wrap(of: Any, name: str, around: Call) -> None:
    """Put `around` around a function of a module or class; it may not have one."""
    call = getattr(of, name, None)
    if call is None:
        return

    @wraps(call)
    def watched(*args: Any, **kwargs: Any) -> Any:
        return around(call, args, kwargs)

    _replace(of, name, watched)


def _goes_on(error: BaseException) -> bool:
    return any(cls.__name__ in GOES_ON for cls in type(error).__mro__)
