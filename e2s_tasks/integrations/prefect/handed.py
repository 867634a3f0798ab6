"""Which results a subflow is handed: Prefect knows them where the flow is called, and tells the flow itself nothing."""

import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from prefect import Flow, State
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.utilities.engine import get_state_for_result

from e2s_tasks.recorder.guard import warn_once

DEEPEST, MOST = 4, 1000  # of nested collections: larger ones are data, through which nobody should go

_handed: ContextVar[tuple[Any, set[str]] | None] = ContextVar("e2s_handed", default=None)


def handing_over(call: Callable[..., Any]) -> Callable[..., Any]:
    """`Flow.__call__`, by which the flow run comes to know the task and flow runs whose results it is called with."""

    @functools.wraps(call)
    def called(self: "Flow[Any, Any]", *args: Any, **kwargs: Any) -> Any:
        if FlowRunContext.get() is None:
            return call(self, *args, **kwargs)
        handed = self, _runs(args, kwargs)
        if self.isasync and not self.isgenerator:
            return _awaited(handed, call, self, args, kwargs)
        token = _handed.set(handed)
        try:
            return call(self, *args, **kwargs)
        finally:
            if not self.isgenerator:  # which begins only later
                _handed.reset(token)

    return called


async def _awaited(handed: Any, call: Any, flow: Any, args: Any, kwargs: Any) -> Any:
    token = _handed.set(handed)
    try:
        return await call(flow, *args, **kwargs)
    finally:
        _handed.reset(token)


def handed_to(flow: Any) -> set[str]:
    """The ids of the task and flow runs whose results the flow, which begins now, was called with."""
    handed = _handed.get()
    if handed is None or handed[0] is not flow:
        return set()
    _handed.set(None)
    return handed[1]


def _runs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> set[str]:
    try:
        given = {name: value for name, value in kwargs.items() if name not in ("return_state", "wait_for")}
        return set(_ids([args, given], 0))
    except Exception as error:  # noqa: BLE001 - law 5
        warn_once("finding what a subflow is handed", error)
        return set()


def _ids(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, PrefectFuture):
        yield str(value.task_run_id)
    elif isinstance(value, State):
        if value.state_details.task_run_id:
            yield str(value.state_details.task_run_id)
    else:
        known = get_state_for_result(value)
        result = known[0].state_details.to_run_result(known[1]) if known else None
        if result is not None:
            yield str(result.id)
        inside = value.values() if isinstance(value, dict) else value
        if isinstance(value, dict | list | tuple | set) and len(value) <= MOST and depth < DEEPEST:
            for one in inside:
                yield from _ids(one, depth + 1)
