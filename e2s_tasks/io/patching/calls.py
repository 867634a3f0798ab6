"""A call of pandas or pyarrow that is measured: the outermost one has the span, those inside it tell it what they know.

The user's call itself is made as it was, with its arguments, result and exceptions.
"""

import inspect
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2s_tasks.core.records import Kind
from e2s_tasks.core.spans import Span, current, recorder, status_of
from e2s_tasks.io.bookkeeping import bookkeeping
from e2s_tasks.io.places import PathLike, Place, place_of


@dataclass(frozen=True, slots=True)
class Target:
    """What a call names: a path or URL, and the file system and options that it gave with it."""

    path: PathLike
    filesystem: Any = None
    storage_options: Any = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return os.fspath(self.path).rstrip("/").rpartition("/")[2]

    @property
    def place(self) -> Place:
        """Where it is."""
        return place_of(self.path, self.filesystem, self.storage_options)


def target_of(source: Any, filesystem: Any = None, storage_options: Any = None) -> Target | None:
    """What a path, or an open file that knows its path, names; None for memory and for what cannot be named."""
    name = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    if not isinstance(name, str | os.PathLike) or not os.fspath(name):
        return None
    if name is not source:
        return Target(name) if Path(name).is_file() else None
    if storage_options is None and isinstance(name, os.PathLike):
        name = os.fspath(name)
    return Target(name, filesystem, storage_options or None)


@dataclass(slots=True)
class Call:
    """A measured call that is going on, and what the calls inside it have told. `told` is theirs to fill."""

    kind: Kind
    span: Span
    told: list[Any] = field(default_factory=list)


_going_on: ContextVar[Call | None] = ContextVar("e2s_patched_call", default=None)


def inside(kind: Kind) -> Call | None:
    """The call of that kind that this one is a part of."""
    call = _going_on.get()
    around = current() if call is not None else None
    return call if call is not None and call.kind is kind and around is call.span else None


def begins(kind: Kind) -> bool:
    """Whether a call made here is measured work of its own: not outside measured work, nor inside what counts it."""
    around = current()
    return around is not None and around.kind not in (kind, Kind.MOVE)


@contextmanager
def measured(kind: Kind, name: str) -> Iterator[Call]:
    """A block that is the call; it raises what the call raises."""
    verb = "read" if kind is Kind.READ else "write"
    with recorder().span(f"{verb} {name}", kind) as span, going_on(Call(kind, span)) as call:
        yield call


@contextmanager
def going_on(call: Call) -> Iterator[Call]:
    """A block in which calls are parts of this one."""
    token = _going_on.set(call)
    try:
        yield call
    finally:
        _going_on.reset(token)


def arguments(of: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
    """The arguments of a call by name, those of `**kwargs` among them; none if it cannot be called like that."""
    try:
        bound = inspect.signature(of).bind(*args, **kwargs).arguments
    except TypeError:  # which the call itself says, too
        return {}
    return {**bound, **bound.get("kwargs", {})}


Batch = Any  # a pyarrow RecordBatch


def in_steps(name: str, batches: Iterator[Batch], note: Callable[[Span, int, int, bool], None]) -> Generator[Batch]:
    """The batches, each made inside one READ span; what the caller does with them is none of it.

    note: tells the span what was read, given rows, bytes in memory, and whether all of it was.
    """
    span = recorder().span(f"read {name}", Kind.READ)
    rows = size = 0
    whole = False
    error: BaseException | None = None
    span.start()
    try:
        while not whole:
            span.resume()
            try:
                batch = next(batches, None)
            finally:
                span.suspend()
            whole = batch is None
            if batch is not None:
                rows, size = rows + batch.num_rows, size + batch.nbytes
                yield batch
    except BaseException as caught:
        error = caught
        raise
    finally:
        if error is None or isinstance(error, GeneratorExit):
            with bookkeeping():
                note(span, rows, size, whole)
        span.end(status_of(error))
