"""A span while its work goes on."""

import asyncio
import os
import time
from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import replace
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.records import Kind, ReadRecord, SpanRecord, Status, VersionRecord
from e2s_tasks.meters.account import Account
from e2s_tasks.recorder.guard import guarded

if TYPE_CHECKING:
    from e2s_tasks.recorder.recorder import SpanRecorder

CURRENT: ContextVar["OpenSpan | None"] = ContextVar("e2s_span", default=None)


_numbers = count()
_process, _seed = "", 0


def _new_process() -> None:
    """A forked child makes ids of its own."""
    global _process, _seed  # noqa: PLW0603
    _process = os.urandom(12).hex()
    _seed = int.from_bytes(os.urandom(4))


_new_process()
os.register_at_fork(after_in_child=_new_process)


def new_id() -> str:
    """A fresh id: a scrambled number, so that its start tells it apart, and random digits of the process.

    New random digits for each would cost 20 microseconds.
    """
    return f"{next(_numbers) * 0x9E3779B1 + _seed & 0xFFFFFFFF:08x}{_process}"


def status_of(error: BaseException | None) -> Status:
    """How a span ended, by the exception that left it."""
    if error is None or isinstance(error, GeneratorExit | StopIteration | StopAsyncIteration):
        return Status.COMPLETED
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return Status.CANCELLED
    if isinstance(error, TimeoutError):
        return Status.TIMED_OUT
    return Status.FAILED if isinstance(error, Exception) else Status.CRASHED


class OpenSpan:
    """An open span. `resume` and `suspend` bracket each stretch in which its work runs on a thread.

    A plain block is one stretch; a coroutine or generator is one stretch per step. What was opened inside and is still
    open (a nested `with span` around an await) is suspended and resumed with it.
    """

    __slots__ = ("_current", "_entered", "_numbers", "_token", "account", "id", "record", "recorder")

    def __init__(self, recorder: "SpanRecorder", record: SpanRecord, account: Account) -> None:
        self.id = record.id
        self.recorder = recorder
        self.record = record
        self.account = account
        self._current: OpenSpan | None = self
        self._entered = [account]
        self._token: Token[OpenSpan | None] | None = None
        self._numbers = count(1)

    def snapshot(self) -> SpanRecord:
        """The record as it stands, under the next sequence number."""
        return replace(self.record, seq=next(self._numbers), attributes=dict(self.record.attributes))

    @guarded
    def resume(self) -> None:
        """The span's work runs on this thread from now on."""
        self._token = CURRENT.set(self._current)
        self.recorder.meter.enter(self._entered)

    @guarded
    def suspend(self) -> None:
        """The span's work has paused, or ended."""
        self._entered = self.recorder.meter.leave(self.account) or [self.account]
        self._current = CURRENT.get()
        token, self._token = self._token, None
        if token is not None:
            try:
                CURRENT.reset(token)
            except ValueError:  # suspended in another context than it was resumed in
                CURRENT.set(None)

    @guarded
    def end(self, status: Status) -> None:
        """The span is over."""
        self.recorder.end(self, status)

    def __enter__(self) -> "OpenSpan":
        self.resume()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.suspend()
        self.end(status_of(error))

    # -- what the work tells of itself (core.spans.Span) ---------------------------------------------------------

    @guarded
    def moved(
        self,
        *,
        bytes_read: int = 0,
        bytes_written: int = 0,
        rows: int | None = None,
        storage_j: float | None = None,
        network_j: float | None = None,
    ) -> None:
        """Add bytes, rows and modelled movement (joules) to the span."""
        record = self.record
        record.bytes_read = (record.bytes_read or 0) + bytes_read
        record.bytes_written = (record.bytes_written or 0) + bytes_written
        if rows is not None:
            record.rows = (record.rows or 0) + rows
        if storage_j is not None:
            record.storage_j = (record.storage_j or 0.0) + storage_j
        if network_j is not None:
            record.network_j = (record.network_j or 0.0) + network_j

    @guarded
    def wrote(
        self,
        uri: str,
        *,
        size: int | None,
        rows: int | None,
        format: str,  # noqa: A002
        schema_digest: str | None = None,
        files: int = 1,
    ) -> None:
        """Record a completed write of `uri`: a new version of that artifact."""
        self.recorder.write(
            VersionRecord(
                id=new_id(), uri=uri, span_id=self.id, run_id=self.record.run_id, created_at=time.time(), bytes=size,
                rows=rows, format=format, schema_digest=schema_digest, files=files,
            )
        )  # fmt: skip

    @guarded
    def read(self, uri: str) -> None:
        """Record that this span read `uri`."""
        self.recorder.write(
            ReadRecord(id=new_id(), uri=uri, span_id=self.id, run_id=self.record.run_id, at=time.time())
        )

    @guarded
    def note(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes (JSON values) to the span."""
        self.record.attributes.update(attributes)


class Unmeasured:
    """Stands in for a span where nothing is measured: takes everything, keeps nothing."""

    id = ""

    def resume(self) -> None:
        """Nothing."""

    def suspend(self) -> None:
        """Nothing."""

    def end(self, status: Status) -> None:
        """Nothing."""

    def __enter__(self) -> "Unmeasured":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def moved(self, **_: Any) -> None:
        """Nothing."""

    def wrote(self, uri: str, **_: Any) -> None:
        """Nothing."""

    def read(self, uri: str) -> None:
        """Nothing."""

    def note(self, attributes: Mapping[str, Any]) -> None:
        """Nothing."""


STARTS_ON_DISK = frozenset({Kind.FLOW, Kind.ATTEMPT})
