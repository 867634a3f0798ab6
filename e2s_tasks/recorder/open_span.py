"""A span while its work goes on: it is the meter's account of that work, and what the work tells of itself."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from itertools import count
from json import dumps
from types import TracebackType
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.records import Kind, ReadRecord, SpanRecord, Status, VersionRecord
from e2s_tasks.core.remote import REMOTE, with_entry
from e2s_tasks.core.spans import File, look_here, status_of
from e2s_tasks.meters.account import Account, Role
from e2s_tasks.recorder.guard import guarded, warn_once
from e2s_tasks.recorder.leaving import ending
from e2s_tasks.recorder.starter import Starter, starter

if TYPE_CHECKING:
    from e2s_tasks.recorder.recorder import SpanRecorder

CURRENT: ContextVar["OpenSpan | None"] = ContextVar("e2s_span", default=None)
ROLES = dict.fromkeys(Kind, Role.SPAN) | {
    Kind.FLOW: Role.FLOW, Kind.ORCHESTRATION: Role.FLOW, Kind.ATTEMPT: Role.ATTEMPT, Kind.WAIT: Role.WAIT
}  # fmt: skip
PLAIN, PLAIN_ROLE = Kind.SPAN, Role.SPAN
NO_FACTS: Mapping[str, Any] = {}
COMPLETED, FAILED, RUNNING = Status.COMPLETED, Status.FAILED, Status.RUNNING  # found more quickly than on the class

_numbers = count()


class Ids:
    """The ids of a process: a scrambled number, so that the start of an id tells it apart, and the process's mark.

    New random digits for each would cost 20 microseconds.
    """

    def __init__(self) -> None:
        self._mark = os.urandom(12).hex()
        self._seed = int.from_bytes(os.urandom(4))

    def of(self, number: int) -> str:
        """The id for a number, the same whenever it is asked for."""
        return f"{number * 0x9E3779B1 + self._seed & 0xFFFFFFFF:08x}{self._mark}"


def new_id() -> str:
    """A fresh id."""
    return _ids.of(next(_numbers))


def _new_process() -> None:
    """A forked child makes ids of its own."""
    global _ids  # noqa: PLW0603
    _ids = Ids()


_ids = Ids()
os.register_at_fork(after_in_child=_new_process)


class OpenSpan(Account):
    """A span. `run` and `stop` bracket work that stays on one thread, as `with` does.

    A coroutine or generator is a `start`, a `resume` and `suspend` around each step, and an `end`. What was opened
    inside a step and is still open (a nested `with span` around an await) is suspended and resumed with it. Its record
    is made when it is first asked for, which for a short span is after its end, on the recorder's thread.
    """

    status = RUNNING
    started_at = 0.0
    _id: str | None = None
    known_run_id: str | None = None
    heritage: dict[str, Any] | None = None
    _heritage_text: str | None = None
    _notes: dict[str, Any] | None = None
    _record: SpanRecord | None = None
    _token: Token["OpenSpan | None"] | None = None
    _depth = 0
    io_since: Any = None  # of a root span: what the process had moved when it began, and when it ended
    io_until: Any = None
    held: Callable[[], Any] | None = None  # what the `with` block holds that is to end it, while there is one
    _again = 0  # how often it is entered beyond the first time
    told = False  # whether the recorder knows that it has ended
    announced = False  # whether its beginning was written down before the tick, as attempts' and flow runs' always is
    made: Mapping[str, str] = NO_FACTS  # by URI the latest version that it and what is inside it wrote
    starter: Starter | None = None  # of an outermost span of this process: the span of another one that it belongs to
    parent: "OpenSpan | None"

    def __init__(self, recorder: "SpanRecorder", name: str, kind: Kind, facts: Mapping[str, Any] = NO_FACTS) -> None:
        self.recorder: SpanRecorder = recorder
        outer = around = CURRENT.get() or current_span()
        if outer is not None and outer.held is not None and outer.is_left:
            outer = around = _end_left(outer)
        if outer is not None and outer.closed_ns:  # what is still open around it pays
            around = current_span()
            outer = around if outer.told else outer
        self.outer = outer
        role = PLAIN_ROLE if kind is PLAIN else ROLES[kind]  # hashing a kind takes longer
        if around is None or around.recorder is recorder:
            Account.__init__(self, role, around)
        else:  # it was opened before a fork: it has no account in this process, and holds the idle power in its own
            Account.__init__(self, role)
            self.holder = False
        if outer is None and role is PLAIN_ROLE:
            facts = self._given_by_starter(facts)
        self.name, self.kind, self.given = name, kind, facts
        self._number = next(_numbers)

    def _given_by_starter(self, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """The facts, with what it has from the span that started this process; an orchestrator's know their run."""
        found = starter(self.recorder.settings)
        if found is None or "flow_run_id" in facts or "run_id" in facts:
            return facts
        self.starter, self.holder = found, False  # the idle power is held by that span, or what is around it
        return {**found.facts, **facts}

    @property
    def id(self) -> str:
        """The span's id."""
        if self._id is None:
            self._id = self.recorder.ids.of(self._number)
        return self._id

    @property
    def record(self) -> SpanRecord:
        """What is written down of the span; the one object for its whole life."""
        if self._record is None:
            with self.recorder.describing:
                if self._record is None:
                    self._versions = count(1)
                    self._record = self._describe()
        return self._record

    @property
    def run_id(self) -> str:
        """The root run that the span belongs to. Iterative, as all here: spans may lie in each other at any depth."""
        if self.known_run_id is None:
            top = self
            while top.known_run_id is None and top.outer is not None:
                top = top.outer
            self.known_run_id = top.known_run_id or top.given.get("run_id") or top.given.get("flow_run_id") or top.id
        return self.known_run_id

    @property
    def work_began_at(self) -> float:
        """When the work around it began: its outermost task, else the outermost span, as also where that is a retry."""
        around, task = self, self if self.kind == Kind.ATTEMPT else None
        while around.outer is not None:
            around = around.outer
            task = around if around.kind == Kind.ATTEMPT else task
        if around.starter is not None:
            return around.starter.began_at
        return around.started_at if task is None or task.given.get("attempt", 1) > 1 else task.started_at

    def _describe(self) -> SpanRecord:
        """Its record, with what is known of the span so far."""
        fields = {
            **(self.outer.handed_down() if self.outer is not None else {}), **self.given,
            "id": self.id, "run_id": self.run_id, "process_id": self.recorder.process.id, "kind": self.kind,
            "name": self.name, "seq": 0, "status": self.status, "started_at": self.started_at,
            "attributes": {**self.attributes},
        }  # fmt: skip
        return SpanRecord(**fields)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What it was given, what its process declares if it is an outermost one, and what was noted, so far."""
        given: Mapping[str, Any] = self.given.get("attributes", NO_FACTS)
        declared = self.recorder.declared if self.outer is None else None
        return {**given, **(declared or {}), **(self._notes or {})} if declared or self._notes else given

    def handed_down(self) -> dict[str, Any]:
        """What the spans inside have from this one."""
        lacking: list[OpenSpan] = []
        around: OpenSpan | None = self
        while around is not None and around.heritage is None:
            lacking.append(around)
            around = around.outer
        found = around.heritage or {} if around is not None else {}
        for span in reversed(lacking):
            found = span.heritage = span.handing_down(found)
        return found

    def handing_down(self, above: Mapping[str, Any]) -> dict[str, Any]:
        """The same, given what it has from the span around it."""
        known = self._record
        return {
            "parent_id": self.id,
            "flow_run_id": self.given.get("flow_run_id", above.get("flow_run_id")),
            "solution": known.solution if known else self.given.get("solution", above.get("solution")),
            "stage": known.stage if known else self.given.get("stage", above.get("stage")),
        }

    def handed_down_text(self) -> str:
        """The same and the run, as the inside of a JSON object with a comma at its end."""
        if self._heritage_text is None:
            fields = {"run_id": self.run_id, **self.handed_down()}
            given = {name: value for name, value in fields.items() if value is not None}
            self._heritage_text = f"{dumps(given)[1:-1]},"
        return self._heritage_text

    @property
    def described(self) -> bool:
        """Whether its record has been made."""
        return self._record is not None

    def as_it_stands(self) -> SpanRecord:
        """The record with the span's present state, under the next sequence number; to be written down at once."""
        record = self.record
        record.started_at, record.status, record.seq = self.started_at, self.status, next(self._versions)
        if self.ends_in is not None:  # by the clock that no change of the wall clock moves
            record.ended_at = self.started_at + (self.closed_ns - self.opened_ns) * 1e-9
        return record

    # -- work that stays on one thread ----------------------------------------------------------------------------

    def __enter__(self) -> "OpenSpan":
        try:
            if self.started_at:
                return self._enter_again()
            recorder = self.recorder
            if self.held is not None and self.held() is None:  # somebody has just looked whether there is an `__exit__`
                self.held = None
            self.started_at = time.time()
            recorder.begun(self)
            self._token = CURRENT.set(self)
            recorder.meter.begin(self)
        except BaseException as error:  # noqa: BLE001 - law 5
            left = self.recorder.unfinished
            left.append(self)  # where there is no room on the stack for a call of ours
            self._struck("opening a span", error)
            if self in left:  # it goes on
                left.remove(self)
        return self

    run = __enter__  # the span begins, and its work runs on this thread

    @ending
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
        status: Status | None = None,
    ) -> None:  # fmt: skip
        """The span, which ran on this thread, is over; nothing if it is already. status: how, if no error says it."""
        try:
            if self._again or self.told:
                self._again = max(0, self._again - 1)
                return
            current = CURRENT.get()
            if current is not self:
                _end_left(current, self)
                current = CURRENT.get()
            recorder = self.recorder
            recorder.meter.finish(self)
            self.status = status or (COMPLETED if error is None else status_of(error))
            self.held = None
            if current is self and self._token is not None:  # else it ends in the middle of another one
                self._give_back(self._token)
            recorder.ended(self)
            if recorder.unfinished:
                recorder.finish_left()
        except BaseException as struck:  # noqa: BLE001 - law 5
            self.status = status or status_of(error)
            self.recorder.unfinished.append(self)
            self._struck("ending a span", struck)

    def stop(self, status: Status) -> None:
        """The same, where no `with` does it."""
        OpenSpan.__exit__(self, None, None, None, status)

    @property
    def is_left(self) -> bool:
        """Whether its `with` block was left without its end, see `leaving`."""
        return self.held is not None and self.held() is None and not self.told

    def _enter_again(self) -> "OpenSpan":
        """A span that has begun goes on as it is; a block that it is entered for once more is not measured by it."""
        self._again += 1
        warn_once("entering a span", RuntimeError(f"{self.name!r} was entered before: each block needs a new span"))
        return self

    def _struck(self, what: str, error: BaseException) -> None:
        """Warn of an error of ours; where it is the user's, as a signal handler raises it, the span is over."""
        try:
            warn_once(what, error)
        except BaseException:
            self.recorder.meter.finish(self)
            if self._token is not None and CURRENT.get() is self:
                self._give_back(self._token)
            self.status = status_of(error)
            self.recorder.ended(self)
            raise

    # -- work in steps ---------------------------------------------------------------------------------------------

    @guarded
    def start(self) -> None:
        """The span begins, on no thread yet."""
        self.started_at = time.time()
        self.recorder.begun(self)
        self._current: OpenSpan | None = self
        self._entered: list[Account] = [self]
        self.recorder.meter.open(self)

    @guarded
    def resume(self) -> None:
        """The span's work runs on this thread from now on."""
        self._token = CURRENT.set(self._current)
        self._depth = self.recorder.meter.enter(self._entered)

    @guarded
    def suspend(self) -> None:
        """The span's work has paused, or ended."""
        self._entered = self.recorder.meter.leave(self._depth) or [self]
        self._current = CURRENT.get()
        if self._token is not None:
            self._give_back(self._token)

    @guarded
    def worked(self) -> None:
        """The work of the span, suspended, is over; `end` says later how. Killed until then, it has crashed."""
        self.recorder.meter.close(self)
        self.recorder.worked(self)

    @guarded
    def end(self, status: Status) -> None:
        """The span, suspended, is over; nothing if it is already."""
        if self.told:
            return
        _end_left(self._current, self)
        if not self.closed_ns:
            self.recorder.meter.close(self)
        self.status = status
        self.recorder.ended(self)

    def _give_back(self, token: Token["OpenSpan | None"]) -> None:
        self._token = None
        try:
            CURRENT.reset(token)
        except ValueError:  # ended, or suspended, in another context than it began in
            CURRENT.set(self.outer)

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
    def used_elsewhere(self, entry: Mapping[str, Any]) -> None:
        """Add energy that the span's work used elsewhere: an entry of `core.remote`."""
        with self.recorder.describing:  # threads of one span may tell of it at the same time
            record = self.record
            record.attributes[REMOTE] = with_entry(record.attributes.get(REMOTE, []), entry)
            if entry["joules"] is not None:
                record.remote_j = (record.remote_j or 0.0) + entry["joules"]

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
        content_digest: str | None = None,
        written: list[File] | None = None,
        to: Callable[[VersionRecord], None] | None = None,
    ) -> None:
        """Record a completed write of `uri`: a new version of that artifact, with the files that this write made.

        to: takes the record instead of the journal.
        """
        record = VersionRecord(
            id=new_id(), uri=uri, span_id=self.id, run_id=self.record.run_id, created_at=time.time(), bytes=size,
            rows=rows, format=format, schema_digest=schema_digest, files=files,
            content_digest=content_digest, written=written,
        )  # fmt: skip
        around: OpenSpan | None = self
        while around is not None:
            around.__dict__.setdefault("made", {})[uri] = record.id  # at once, whatever other threads write
            around = around.outer
        if to is None:
            self.recorder.write(record, self)
        else:
            to(record)

    @guarded
    def read(self, uri: str, *, files: list[File] | None = None) -> None:
        """Record that this span read `uri`, and which files of it; a READ or MOVE span opened it at its start."""
        at = self.started_at if self.kind in (Kind.READ, Kind.MOVE) else time.time()
        self.recorder.write(
            ReadRecord(id=new_id(), uri=uri, span_id=self.id, run_id=self.record.run_id, at=at, files=files), self
        )

    @guarded
    def note(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes (JSON values) to the span."""
        if self._record is None:
            self._notes = {**(self._notes or {}), **attributes}
        else:
            self._record.attributes.update(attributes)


_started_by = threading.local()


def thread_belongs_to(span: OpenSpan | None) -> OpenSpan | None:
    """The calling thread was started by the work of a span, or does a piece of it; returns whose it was."""
    before: OpenSpan | None = getattr(_started_by, "span", None)
    _started_by.span = span
    return before


def current_span() -> OpenSpan | None:
    """The span that the calling code runs in: its own, else the one that started its thread, while that is open."""
    return _open(CURRENT.get()) or _open(getattr(_started_by, "span", None))


def _end_left(span: OpenSpan | None, until: OpenSpan | None = None) -> OpenSpan | None:
    """End what blocks have left without its end, from the innermost one on; returns what they were in."""
    while span is not None and span is not until and span.is_left:
        span.stop(FAILED)
        span = span.outer
    return span


def _open(span: OpenSpan | None) -> OpenSpan | None:
    """The span, or what is still open around it."""
    while span is not None and span.closed_ns:
        span = span.outer
    return span


look_here(current_span)
