"""What this process gets by XCom, seen where Airflow fetches it: for arguments and templates, and at a task's own wish.

Airflow's methods are wrapped, whatever kind they are of, and pass on what they are called with; that nothing was found
is no pull.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from e2s_tasks.recorder.guard import guarded

NO_INDEX = -1
ALL = (None, None, None)
NOT_ASKED = -1  # for how many results there are: Airflow can tell
GET_ONE = {"get_one", "aget_one"}
GET_ALL = {"get_all", "aget_all"}
Part = tuple[int | None, int | None, int | None]


@dataclass(frozen=True, slots=True)
class Pull:
    """Results of a task that were found.

    index: of the instance whose result it is; None where no instance was asked for, but a part of the list of the
    results that are there, as a slice tells it. count: how many are there; None where only the backend knows.
    earlier: results in runs before the one that was named may be among them.
    """

    dag_id: str
    run_id: str
    task_id: str
    key: str | None
    index: int | None = None
    part: Part = ALL
    count: int | None = None
    earlier: bool = False


@dataclass(slots=True)
class Process:
    """What this process has pulled, and in how many expansions it is: these pick from the lists that they resolve."""

    pulls: set[Pull] = field(default_factory=set)
    expansions: int = 0


_here = Process()


def taken() -> set[Pull]:
    """What was pulled since the last call."""
    pulls, _here.pulls = _here.pulls, set()
    return pulls.copy()  # a thread of the task's may still add to the other


@guarded
def watch() -> None:
    """From now on what this process pulls is noted."""
    from airflow.sdk.definitions._internal.expandinput import DictOfListsExpandInput, ListOfDictsExpandInput
    from airflow.sdk.definitions.xcom_arg import PlainXComArg
    from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence
    from airflow.sdk.execution_time.xcom import XCom

    for cls in XCom.__mro__:  # a backend may have methods of its own
        for name in vars(cls).keys() & (GET_ONE | GET_ALL):
            _wrap(cls, name, _telling(_one_found if name in GET_ONE else _all_found))
    _wrap(LazyXComSequence, "__getitem__", _telling(_items_found))
    _wrap(PlainXComArg, "resolve", _telling(_handed_whole))
    for cls in (DictOfListsExpandInput, ListOfDictsExpandInput):
        _wrap(cls, "resolve", _expanding)


def _wrap(cls: type[Any], name: str, watching: Callable[[Any], Any]) -> None:
    """Put what `watching` makes of a method in its place, unless that is done; it stays a method of the same kind."""
    attribute = vars(cls)[name]
    kind = type(attribute) if isinstance(attribute, staticmethod | classmethod) else None
    method = attribute if kind is None else attribute.__func__
    if callable(method) and not hasattr(method, "e2s_watches"):
        watched: Any = wraps(method)(watching(method))
        watched.e2s_watches = True
        setattr(cls, name, watched if kind is None else kind(watched))


def _telling(note: Callable[..., None]) -> Callable[[Any], Any]:
    """Makes of a method one that tells `note` what it was called with, and what it has returned."""

    def watching(method: Any) -> Any:
        def watched(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            note(method, args, kwargs, result)
            return result

        async def watched_async(*args: Any, **kwargs: Any) -> Any:
            result = await method(*args, **kwargs)
            note(method, args, kwargs, result)
            return result

        return watched_async if inspect.iscoroutinefunction(method) else watched

    return watching


def _expanding(method: Any) -> Any:
    def watched(*args: Any, **kwargs: Any) -> Any:
        _here.expansions += 1
        try:
            return method(*args, **kwargs)
        finally:
            _here.expansions -= 1

    return watched


@guarded
def _one_found(method: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
    if result is not None:
        told = _told(method, args, kwargs)
        index = told.get("map_index")
        _note(told, index=NO_INDEX if index is None else index)


@guarded
def _all_found(method: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
    listed = isinstance(result, list)  # no more is asked of what a backend returns
    if result is not None and not (listed and not result):
        _note(_told(method, args, kwargs), count=len(result) if listed else None)


def _told(method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by their names."""
    bound = inspect.signature(method).bind(*args, **kwargs)
    bound.apply_defaults()
    told = dict(bound.arguments)
    for name, parameter in bound.signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            told |= told.pop(name)
    return told


def _note(told: dict[str, Any], **found: Any) -> None:
    of: dict[str, Any] = {name: told.get(name) for name in ("dag_id", "run_id", "task_id")}
    if None not in of.values():  # else they are passed on to a method that names them
        earlier = bool(told.get("include_prior_dates"))
        _here.pulls.add(Pull(**of, key=told.get("key"), **found, earlier=earlier))


@guarded
def _items_found(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
    sequence, key = (*args, *kwargs.values())
    if not isinstance(key, slice):
        _note_listed(sequence, (key, key + 1 or None, None))
    elif result:
        _note_listed(sequence, (key.start, key.stop, key.step))


@guarded
def _handed_whole(_: Any, __: Any, ___: Any, result: Any) -> None:
    """A list of all results is handed over, to be read or not; one that an expansion picks from is not."""
    from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence

    if isinstance(result, LazyXComSequence) and not _here.expansions:
        _note_listed(result, ALL)


def _note_listed(sequence: Any, part: Part) -> None:
    argument, here = sequence._xcom_arg, sequence._ti  # noqa: SLF001 - Airflow tells nobody else
    told = {
        "dag_id": argument.operator.dag_id,
        "run_id": here.run_id,
        "task_id": argument.operator.task_id,
        "key": argument.key,
    }
    count = sequence._len  # noqa: SLF001 - what Airflow has asked for
    _note(told, part=part, count=NOT_ASKED if count is None else count)
