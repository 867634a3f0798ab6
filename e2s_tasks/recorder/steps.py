"""Coroutines and generators, measured step by step: a suspended one uses no CPU energy."""

from collections.abc import AsyncGenerator, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

from e2s_tasks.core.records import Status
from e2s_tasks.recorder.open_span import OpenSpan, Unmeasured, status_of

T = TypeVar("T")
AnySpan = OpenSpan | Unmeasured


@coroutine
def _steps(span: AnySpan, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Drive a coroutine by hand, so that each `send` and `throw` is one stretch of its span."""
    value: Any = None
    error: BaseException | None = None
    while True:
        span.resume()
        try:
            awaited = work.send(value) if error is None else work.throw(error)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        finally:
            span.suspend()
        try:
            value, error = (yield awaited), None
        except GeneratorExit:
            span.resume()
            try:
                work.close()
            finally:
                span.suspend()
            raise
        except BaseException as thrown:  # noqa: BLE001 - everything thrown in belongs to the driven coroutine
            value, error = None, thrown


async def drive(span: AnySpan, work: Coroutine[Any, Any, T], status: Any = status_of) -> T:
    """The coroutine's result, measured; `status` maps the exception that leaves it to how the span ended."""
    try:
        result = await _steps(span, work)
    except BaseException as error:
        span.end(status(error))
        raise
    span.end(Status.COMPLETED)
    return result


def drive_generator(span: AnySpan, work: Generator[Any, Any, T], status: Any = status_of) -> Generator[Any, Any, T]:
    """The generator, measured per `next`, `send` and `throw`."""
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
            except GeneratorExit:
                span.resume()
                try:
                    work.close()
                finally:
                    span.suspend()
                raise
            except BaseException as error:  # noqa: BLE001 - it belongs to the driven generator
                value, thrown = None, error
    except BaseException as error:
        span.end(status(error))
        raise


async def drive_async_generator(
    span: AnySpan, work: AsyncGenerator[T, Any], status: Any = status_of
) -> AsyncGenerator[T, Any]:
    """The asynchronous generator, measured per step of each `asend` and `athrow`."""
    value: Any = None
    thrown: BaseException | None = None
    try:
        while True:
            try:
                step = work.asend(value) if thrown is None else work.athrow(thrown)
                item = await _steps(span, _as_coroutine(step))
            except StopAsyncIteration:
                span.end(Status.COMPLETED)
                return
            try:
                value, thrown = (yield item), None
            except GeneratorExit:
                await _steps(span, _as_coroutine(work.aclose()))
                raise
            except BaseException as error:  # noqa: BLE001 - it belongs to the driven generator
                value, thrown = None, error
    except BaseException as error:
        span.end(status(error))
        raise


async def _as_coroutine(awaitable: Any) -> Any:
    return await awaitable
