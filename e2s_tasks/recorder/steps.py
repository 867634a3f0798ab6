"""Coroutines and generators, measured step by step: a suspended one uses no CPU energy."""

import sys
from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import Any, Protocol, TypeVar

from e2s_tasks.core.records import Status
from e2s_tasks.core.spans import status_of
from e2s_tasks.recorder.open_span import OpenSpan
from e2s_tasks.recorder.unmeasured import Unmeasured

T = TypeVar("T")
AnySpan = OpenSpan | Unmeasured


class Owner(Protocol):
    """Who a stretch of work belongs to."""

    def resume(self) -> None:
        """The work runs on this thread from now on."""

    def suspend(self) -> None:
        """The work has paused, or ended."""


class Steps(Coroutine[Any, Any, Any]):
    """A coroutine whose every `send` and `throw` is one stretch of its owner; else it looks like the one it drives."""

    __slots__ = ("_owner", "_work")

    def __init__(self, owner: Owner, work: Any) -> None:
        self._owner = owner
        self._work = work

    def send(self, value: Any) -> Any:
        """The next step."""
        self._owner.resume()
        try:
            return self._work.send(value)
        finally:
            self._owner.suspend()

    def throw(self, *error: Any) -> Any:
        """The next step, with an exception."""
        self._owner.resume()
        try:
            return self._work.throw(*error)
        finally:
            self._owner.suspend()

    def close(self) -> None:
        """The last step."""
        self._owner.resume()
        try:
            self._work.close()
        finally:
            self._owner.suspend()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self  # it has all that `await` asks of an iterator

    def __iter__(self) -> "Steps":
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._work, name)

    def __repr__(self) -> str:
        return repr(self._work)


async def drive(span: AnySpan, work: Coroutine[Any, Any, T], status: Any = status_of) -> T:
    """The coroutine's result, measured; `status` maps the exception that leaves it to how the span ended."""
    span.start()
    try:
        result: T = await Steps(span, work)
        span.end(Status.COMPLETED)
    except BaseException as error:
        span.end(status(error))
        raise
    return result


def drive_generator(span: AnySpan, work: Generator[Any, Any, T], status: Any = status_of) -> Generator[Any, Any, T]:
    """The generator, measured per `next`, `send` and `throw`."""
    span.start()
    value: Any = None
    thrown: BaseException | None = None
    try:
        while True:
            span.resume()
            try:
                item = work.send(value) if thrown is None else work.throw(thrown)
            except StopIteration as stop:
                span.suspend()
                span.end(Status.COMPLETED)
                return stop.value  # type: ignore[no-any-return]
            except BaseException:
                span.suspend()
                raise
            span.suspend()
            try:
                value, thrown = (yield item), None
            except BaseException as error:  # noqa: BLE001 - it belongs to the driven generator, GeneratorExit too
                value, thrown = None, error
    except BaseException as error:
        span.end(status(error))
        raise


async def drive_async_generator(
    span: AnySpan, work: AsyncGenerator[T, Any], status: Any = status_of
) -> AsyncGenerator[T, Any]:
    """The asynchronous generator, measured per step of each `asend` and `athrow`."""
    span.start()
    try:
        step: Any = _first_step(work)
        while True:
            try:
                item = await Steps(span, _as_coroutine(step))
            except StopAsyncIteration:
                span.end(Status.COMPLETED)
                return
            try:
                step = work.asend((yield item))
            except BaseException as error:  # noqa: BLE001 - it belongs to the driven generator, GeneratorExit too
                step = work.athrow(error)
    except BaseException as error:
        span.end(status(error))
        raise


def _first_step(work: AsyncGenerator[Any, Any]) -> Any:
    """The first step, of which no loop learns: at its end it would close the generator beside what drives it."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return work.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)


async def _as_coroutine(awaitable: Any) -> Any:
    return await awaitable
