"""What Prefect's result store writes and loads: a MOVE span with its bytes, which belongs to the task run.

`ResultStore`'s public methods are wrapped, and `ResultRecord`'s, which tell the size of what was serialised anyway. A
version of Prefect without one of them leaves that part unmeasured, as a part of the orchestration.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import prefect.results
from prefect.context import TaskRunContext
from prefect.filesystems import LocalFileSystem

from e2s_tasks.core.records import Kind
from e2s_tasks.core.results import RESULT
from e2s_tasks.io.factors import Medium, movement
from e2s_tasks.io.places import IN_MEMORY, LOCAL
from e2s_tasks.recorder import drive, process_recorder
from e2s_tasks.recorder.guard import guarded, warn_once
from e2s_tasks.recorder.open_span import OpenSpan, current_span
from e2s_tasks.recorder.unmeasured import Unmeasured
from e2s_tasks.settings import switched_on

Method = Callable[..., Any]


@dataclass(slots=True)
class _Bytes:
    """How much has been serialised, or loaded, inside a call of the store. key: of a result that was looked for."""

    size: int = 0
    key: str | None = None


_counted: ContextVar[_Bytes | None] = ContextVar("e2s_result_bytes", default=None)
_looked: ContextVar[_Bytes | None] = ContextVar("e2s_result_looked_for", default=None)
_attempt: ContextVar[OpenSpan | None] = ContextVar("e2s_attempt", default=None)


def attempt_begins(span: OpenSpan | Unmeasured) -> None:
    """The attempt that is made in this context: its result is persisted when its span is over."""
    _attempt.set(span if isinstance(span, OpenSpan) else None)


def file_name(key: str | None) -> str | None:
    """The last part of a result's key, by which an attempt and its cached copies know each other."""
    return None if key is None else key.replace("\\", "/").rpartition("/")[2]


@guarded
def measure_results() -> None:
    """From now on measure Prefect's result store in this process. A second call changes nothing."""
    for name, how in (
        ("persist_result_record", _writing), ("apersist_result_record", _writing_later),
        ("read", _loading), ("aread", _loading_later), ("exists", _looking), ("aexists", _looking_later),
    ):  # fmt: skip
        _replace("ResultStore", name, how)
    for name in ("serialize", "serialize_result", "serialize_metadata"):
        _replace("ResultRecord", name, _serialising)
    for name in ("deserialize", "deserialize_from_result_and_metadata"):
        _replace("ResultRecord", name, _deserialising)


def _replace(of: str, name: str, how: Callable[[Method], Method]) -> None:
    cls = getattr(prefect.results, of, None)
    method = None if cls is None else vars(cls).get(name)
    plain = getattr(method, "__func__", method)
    if not inspect.isfunction(plain) or hasattr(plain, "e2s_measures"):
        return
    ours = how(plain)
    ours.e2s_measures = True  # type: ignore[attr-defined]
    setattr(cls, name, classmethod(ours) if isinstance(method, classmethod) else ours)


# -- how much ---------------------------------------------------------------------------------------------------------


def _serialising(method: Method) -> Method:
    @functools.wraps(method)
    def serialise(self: Any, *args: Any, **kwargs: Any) -> Any:
        counted = _counted.get()
        if counted is None:
            return method(self, *args, **kwargs)
        before = counted.size
        content = method(self, *args, **kwargs)
        counted.size = before + len(content)  # what it is made of is in it
        return content

    return serialise


def _deserialising(method: Method) -> Method:
    @functools.wraps(method)
    def deserialise(cls: Any, *args: Any, **kwargs: Any) -> Any:
        counted = _counted.get()
        if counted is not None:
            counted.size += sum(len(part) for part in (*args, *kwargs.values()) if isinstance(part, bytes))
        return method(cls, *args, **kwargs)

    return deserialise


@contextmanager
def _counting(counted: _Bytes) -> Iterator[None]:
    token = _counted.set(counted)
    try:
        yield
    finally:
        _counted.reset(token)


# -- whose ------------------------------------------------------------------------------------------------------------


def _span(name: str, key: str | None) -> OpenSpan | None:
    """A span for moving the result of that key; None where nothing is measured."""
    try:
        context, outer = TaskRunContext.get(), current_span()
        if key is None or (context is None and outer is None) or not switched_on():
            return None
        facts: dict[str, Any] = {"attributes": {RESULT: file_name(key)}}
        if context is not None:
            facts |= {"task_run_id": str(context.task_run.id), "task_key": context.task_run.task_key}
            if context.task_run.flow_run_id:
                facts["flow_run_id"] = str(context.task_run.flow_run_id)
            if outer is None:
                facts |= _alone(facts)
                if "run_id" not in facts:
                    return None
        span = process_recorder().span(name, Kind.MOVE, facts)
        return span if isinstance(span, OpenSpan) else None
    except Exception as error:  # noqa: BLE001 - law 5
        warn_once("measuring a persisted result", error)
        return None


def _alone(facts: dict[str, Any]) -> dict[str, Any]:
    """The run of a result that is moved where no span is open: in a worker process, or outside any flow."""
    attempt = _attempt.get()
    if attempt is not None and attempt.record.task_run_id == facts["task_run_id"]:
        return {"run_id": attempt.run_id}
    return {"run_id": facts["flow_run_id"]} if "flow_run_id" in facts else {}


@guarded
def _note(span: OpenSpan, store: Any, counted: _Bytes, *, written: bool) -> None:
    energy = movement(_medium(store.result_storage), counted.size)
    size = {"bytes_written" if written else "bytes_read": counted.size}
    span.moved(**size, storage_j=energy.storage, network_j=energy.network)


def _medium(storage: Any) -> Medium | None:
    """What a storage block's bytes travel over."""
    if isinstance(storage, LocalFileSystem):
        return "storage"
    scheme, separator, _ = str(getattr(storage, "basepath", "")).partition("://")
    if separator and scheme in IN_MEMORY:
        return None
    return "storage" if separator and scheme in LOCAL else "network"


# -- the store --------------------------------------------------------------------------------------------------------


def _key_written(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    record = kwargs.get("result_record", args[0] if args else None)
    return getattr(getattr(record, "metadata", None), "storage_key", None)


def _key_read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    key = kwargs.get("key", args[0] if args else None)
    return key if isinstance(key, str) else None


def _writing(method: Method) -> Method:
    @functools.wraps(method)
    def persist(self: Any, *args: Any, **kwargs: Any) -> Any:
        span = _span("write result", _key_written(args, kwargs))
        if span is None:
            return method(self, *args, **kwargs)
        counted = _Bytes()
        with span, _counting(counted):
            result = method(self, *args, **kwargs)
            _note(span, self, counted, written=True)
        return result

    return persist


def _writing_later(method: Method) -> Method:
    @functools.wraps(method)
    async def persist(self: Any, *args: Any, **kwargs: Any) -> Any:
        span = _span("write result", _key_written(args, kwargs))
        if span is None:
            return await method(self, *args, **kwargs)

        async def work() -> Any:
            counted = _Bytes()
            with _counting(counted):
                result = await method(self, *args, **kwargs)
            _note(span, self, counted, written=True)
            return result

        return await drive(span, work())

    return persist


def _loading(method: Method) -> Method:
    @functools.wraps(method)
    def read(self: Any, *args: Any, **kwargs: Any) -> Any:
        key = _key_read(args, kwargs)
        span = _span("load result", key)
        if span is None:
            return method(self, *args, **kwargs)
        counted = _found(key)
        with span, _counting(counted):
            record = method(self, *args, **kwargs)
            _note(span, self, counted, written=False)
        return record

    return read


def _loading_later(method: Method) -> Method:
    @functools.wraps(method)
    async def read(self: Any, *args: Any, **kwargs: Any) -> Any:
        key = _key_read(args, kwargs)
        span = _span("load result", key)
        if span is None:
            return await method(self, *args, **kwargs)

        async def work() -> Any:
            counted = _found(key)
            with _counting(counted):
                record = await method(self, *args, **kwargs)
            _note(span, self, counted, written=False)
            return record

        return await drive(span, work())

    return read


def _found(key: str | None) -> _Bytes:
    """A count that begins with what was read to see whether the result is there: Prefect reads all of it."""
    looked = _looked.get()
    if looked is None or looked.key != key:
        return _Bytes()
    _looked.set(None)
    return looked


def _looking(method: Method) -> Method:
    @functools.wraps(method)
    def exists(self: Any, *args: Any, **kwargs: Any) -> Any:
        counted = _Bytes(key=_key_read(args, kwargs))
        with _counting(counted):
            found = method(self, *args, **kwargs)
        _looked.set(counted if found else None)
        return found

    return exists


def _looking_later(method: Method) -> Method:
    @functools.wraps(method)
    async def exists(self: Any, *args: Any, **kwargs: Any) -> Any:
        counted = _Bytes(key=_key_read(args, kwargs))
        with _counting(counted):
            found = await method(self, *args, **kwargs)
        _looked.set(counted if found else None)
        return found

    return exists
