"""The callable that takes the place of a task's or flow's function, and measures each call of it.

It keeps the function's name, signature, annotations and code, so that Prefect sees no difference: the same task key,
cache keys, parameter validation and source. It is pickled by reference, so that it works under every task runner.
"""

import functools
import inspect
import time
from collections.abc import Callable
from typing import Any, Protocol

from e2s_tasks.core.records import Status
from e2s_tasks.core.spans import status_of
from e2s_tasks.core.steps import RETURNED
from e2s_tasks.recorder import drive, drive_async_generator, drive_generator
from e2s_tasks.recorder.open_span import OpenSpan
from e2s_tasks.recorder.unmeasured import Unmeasured

Begin = Callable[[str], OpenSpan | Unmeasured]


class Beside(Protocol):
    """What is recorded beside a measured call. Never raises an Exception, and is pickled with the function."""

    def begun(self, span: OpenSpan | Unmeasured, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The call has begun, inside its span."""

    def succeeded(
        self, span: OpenSpan | Unmeasured, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """The call has returned its result (None for a generator), inside its span."""

    def ended(self, span: OpenSpan | Unmeasured) -> None:
        """The span of a call that succeeded is over; not called for generators."""


class Before(Protocol):
    """What may hold a measured call back, inside its span. Pickled with the function."""

    def wait(self, span: OpenSpan | Unmeasured) -> None:
        """Return when the call is to go on."""

    async def wait_async(self, span: OpenSpan | Unmeasured) -> None:
        """As `wait`, for a coroutine."""


class MeasuredFunction:
    """A function whose every call is a span; `begin` opens it, given its name, in the orchestrator's context."""

    __wrapped__: Callable[..., Any]
    __name__: str

    def __init__(
        self, fn: Callable[..., Any], begin: Begin, beside: Beside | None = None, before: Before | None = None
    ) -> None:
        functools.update_wrapper(self, fn)
        self.begin = begin
        self.beside = beside
        self.before = before
        self._name = name_of(fn)
        self._in_steps = next((measured for is_one, measured in _IN_STEPS if is_one(fn)), None)

    def __getattr__(self, name: str) -> Any:
        """Whatever else a function has: Prefect hashes its `__code__`, pydantic resolves names in its `__globals__`."""
        if name == "__wrapped__":  # not there yet, while it is unpickled
            raise AttributeError(name)
        if name == "__signature__":
            return self._signature()
        return getattr(self.__wrapped__, name)

    def _signature(self) -> inspect.Signature:
        """The function's signature, found once: Prefect asks for it many times in a task run."""
        try:
            found = self.__dict__["__signature__"] = inspect.signature(self.__wrapped__)
        except (TypeError, ValueError):
            raise AttributeError("__signature__") from None
        return found

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: a signature's annotations need not be."""
        return {name: value for name, value in vars(self).items() if name != "__signature__"}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's own result, coroutine or generator, measured."""
        fn = self.__wrapped__
        if self._in_steps is not None:
            return self._in_steps(self, args, kwargs)
        started = time.monotonic()
        span, beside = self.begin(self._name), self.beside
        span.run()
        try:
            if self.before is not None:
                self.before.wait(span)
            if beside is not None:
                beside.begun(span, args, kwargs)
            result = fn(*args, **kwargs)
            if beside is not None:
                beside.succeeded(span, args, kwargs, result)
            if result is not None:
                _note_result(span)
            span.stop(Status.COMPLETED)
        except BaseException as error:  # the user's, or what a signal handler raises as `stop` is called
            span.stop(_Ending(started)(error))
            raise
        if beside is not None:
            beside.ended(span)
        return result

    def _generator(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        span, beside = self.begin(self._name), self.beside
        work = self.__wrapped__(*args, **kwargs)

        def told() -> Any:
            if self.before is not None:
                self.before.wait(span)
            if beside is not None:
                beside.begun(span, args, kwargs)
            result = yield from work
            if beside is not None:
                beside.succeeded(span, args, kwargs, None)
            return result

        alone = beside is None and self.before is None
        return drive_generator(span, work if alone else told(), _Ending(time.monotonic()))

    def _async_generator(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        span, beside = self.begin(self._name), self.beside
        work = self.__wrapped__(*args, **kwargs)

        async def told() -> Any:
            if self.before is not None:
                await self.before.wait_async(span)
            if beside is not None:
                beside.begun(span, args, kwargs)
            async for item in work:
                yield item
            if beside is not None:
                beside.succeeded(span, args, kwargs, None)

        alone = beside is None and self.before is None
        return drive_async_generator(span, work if alone else told(), _Ending(time.monotonic()))

    async def _coroutine(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        span, beside = self.begin(self._name), self.beside

        async def noted() -> Any:
            if self.before is not None:
                await self.before.wait_async(span)
            if beside is not None:
                beside.begun(span, args, kwargs)
            result = await self.__wrapped__(*args, **kwargs)
            if result is not None:
                _note_result(span)
            if beside is not None:
                beside.succeeded(span, args, kwargs, result)
            return result

        result = await drive(span, noted(), _Ending(time.monotonic()))
        if beside is not None:
            beside.ended(span)
        return result


# How a call of each kind of function is measured that works step by step.
_IN_STEPS: list[tuple[Callable[[Any], bool], Callable[..., Any]]] = [
    (inspect.iscoroutinefunction, MeasuredFunction._coroutine),  # noqa: SLF001 - of this module
    (inspect.isasyncgenfunction, MeasuredFunction._async_generator),  # noqa: SLF001
    (inspect.isgeneratorfunction, MeasuredFunction._generator),  # noqa: SLF001
]


def name_of(fn: Any) -> str:
    """What a function is called; an object that is called has the name of its class, a partial that of its function."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return str(getattr(fn, "__name__", type(fn).__name__))


def original(fn: Any) -> Any:
    """The function that a MeasuredFunction measures, bound to the same object; any other as it is."""
    if not isinstance(fn, MeasuredFunction):
        return fn
    plain = fn.__wrapped__
    for bound in ("__prefect_self__", "__prefect_cls__"):  # where Prefect notes whose method it is
        if bound in vars(fn):
            setattr(plain, bound, vars(fn)[bound])
    return plain


def _note_result(span: OpenSpan | Unmeasured) -> None:
    """A result may be handed on by ways that nobody sees, which makes later figures lower bounds: lineage asks this."""
    span.note({RETURNED: True})


class _Ending:
    """How a call ended: Prefect's time-outs arrive as a cancellation, its SIGTERM as an exception of its own."""

    def __init__(self, started: float) -> None:
        self._started = started

    def __call__(self, error: BaseException) -> Status:
        from prefect.context import FlowRunContext, TaskRunContext
        from prefect.exceptions import Abort, Pause, TerminationSignal

        if isinstance(error, Pause):
            return Status.SUSPENDED
        if isinstance(error, Abort):  # as our gate raises it, where the run was cancelled while it waited
            return Status.CANCELLED
        if isinstance(error, TerminationSignal):
            return Status.CRASHED
        if isinstance(error, StopIteration | StopAsyncIteration):  # which ends an iterator well, and no task
            return Status.FAILED
        status = status_of(error)
        if status is Status.CANCELLED:
            task_run, flow_run = TaskRunContext.get(), FlowRunContext.get()
            owner = task_run.task if task_run else flow_run.flow if flow_run else None
            limit = owner.timeout_seconds if owner is not None else None
            # Prefect's clock starts a little before the call does, more so on a busy host.
            if limit is not None and time.monotonic() - self._started >= 0.9 * limit - 0.05:
                return Status.TIMED_OUT
        return status
