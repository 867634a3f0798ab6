"""The recorder of a process: opens and ends spans, and writes down what the meter booked on them.

The measured thread only appends a start record; a thread of the recorder's own ticks the meter, splits segments, and
drains what is finished into the journal and from there into the ledger.
"""

import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from e2s_tasks.core.declared import DECLARED
from e2s_tasks.core.energy import HOST, Provenance
from e2s_tasks.core.records import PROCESS_IO, Kind, Record, SourceRecord, SpanRecord, Status
from e2s_tasks.io.factors import movement_sources
from e2s_tasks.ledger.journal import Journal, ask_first, encode, journal_path, this_process
from e2s_tasks.meters.account import Role
from e2s_tasks.meters.children import Children
from e2s_tasks.meters.clocks import NoBusyClock, host_busy_clock
from e2s_tasks.meters.host_page import host_page
from e2s_tasks.meters.meter import Meter
from e2s_tasks.meters.page import LocalPage, Page
from e2s_tasks.meters.process_io import FRESH_NS, SHARED_NS, ProcessIO
from e2s_tasks.meters.setup import sources
from e2s_tasks.meters.threads import Taker
from e2s_tasks.meters.turn import Turn
from e2s_tasks.recorder import loops
from e2s_tasks.recorder.delivery import Delivery
from e2s_tasks.recorder.guard import guarded, warn_once
from e2s_tasks.recorder.open_span import NO_FACTS, Ids, OpenSpan
from e2s_tasks.recorder.plain import end_line, ending_line, start_line
from e2s_tasks.recorder.starts import OwnThread, watch_starts
from e2s_tasks.recorder.telling import telling
from e2s_tasks.recorder.unmeasured import Unmeasured
from e2s_tasks.settings import Settings, settings
from e2s_tasks.signals import handler_codes

BACKLOG = 2000  # ended spans that are not left to wait for the tick; three times as many take 8 MB
BATCH = 200  # records that are written at once
FIELDS = [(component, f"{component}_j") for component in HOST]
ASYNCIO, LOADED = "asyncio.base_events", sys.modules
MOVE = Kind.MOVE
ATTEMPT, FLOW, SPAN = Role.ATTEMPT, Role.FLOW, Role.SPAN  # spans of other roles are written down when they begin


class SpanRecorder:
    """Opens spans, ends them, and keeps their records. One per process; cheap until the first span."""

    def __init__(
        self, options: Settings, meter: Meter | None = None, records: list[SourceRecord] | None = None
    ) -> None:
        policy: str = options.static_policy
        page: Page = LocalPage()
        if meter is None:
            page = host_page(options.data_dir) if options.enabled else LocalPage()  # else its starter measures it
            chosen = sources(options, measured=lambda: set(page.processes()))
            meter = Meter(chosen.sources, host_busy_clock(), page=page, children=Children(page.processes))
            records, policy = chosen.records, chosen.static_policy
        self.settings = options
        self.meter = meter
        self.ids = Ids()
        self.process = this_process([*(records or []), *movement_sources(options)], static_policy=policy)
        declared = options.declared.to_dict()
        self.declared = {DECLARED: declared} if declared else None  # an attribute of each outermost span
        self.describing = threading.RLock()  # describing a span asks for the one around it
        self._covered = {record.component for record in records or [] if record.provenance != "missing"}
        self._journal = Journal(journal_path(options.journals, self.process))
        if options.enabled:
            self._journal.append(self.process)
        self._io = ProcessIO(page.processes, lambda: self._journal.appended)
        self._delivery = Delivery(
            self._journal, self.process.id, options, own_thread=self.meter.own_thread, own_work=self._io.own_work,
            meanwhile=self._tick_if_due,
        )  # fmt: skip
        self._ticked = 0.0
        self._telling = telling(options)
        self._ended: deque[OpenSpan] = deque()  # appended to by any thread while another drains it
        self._later: deque[Record] = deque()
        self.unfinished: list[OpenSpan] = []  # that could not be ended, as deep in a recursion
        self._draining = Turn(SpanRecorder.drain.__code__.co_filename)
        self._takers = threading.local()
        self._wake = threading.Event()  # drain now, before the tick
        self._resume = threading.Event()  # a span has opened after a time without any
        self._parked = True
        self._left_behind = False
        self._thread: threading.Thread | None = None

    # -- opening and ending ---------------------------------------------------------------------------------------

    def span(self, name: str, kind: Kind = Kind.SPAN, facts: Mapping[str, Any] = NO_FACTS) -> "OpenSpan | Unmeasured":
        """A span that has not begun. facts: further fields of its SpanRecord. Never raises."""
        if self.settings.enabled:
            try:
                return OpenSpan(self, name if type(name) is str else str(name), kind, facts)
            except Exception as error:  # noqa: BLE001 - law 5
                warn_once("opening a span", error)
        return Unmeasured()

    def begun(self, span: OpenSpan) -> None:
        """The span is about to begin."""
        if not loops.watching and ASYNCIO in LOADED:
            loops.watch(_meter_of_process)
        if span.role is not SPAN and not self._left_behind:
            self._journal.append_lines([start_line(span)])
        if self._parked:
            self._unpark()
        if span.parent is None:
            span.io_since = self._io.now(SHARED_NS if self.meter.active else FRESH_NS)

    def ended(self, span: OpenSpan) -> None:
        """The span is over; its energy is settled and written down by the recorder's own thread."""
        if self._left_behind:
            return
        outermost = span.parent is None
        if outermost:
            span.io_until = self._io.now(SHARED_NS if self.meter.active else FRESH_NS)
        self._ended.append(span)
        span.told = True
        if span.role is not SPAN or span.announced:
            self._journal.append_lines([ending_line(span)])
        if outermost and (span.role is ATTEMPT or span.kind is MOVE):
            self._write_down()  # its flow runs in another process, which may read the journal next
        elif outermost and span.role is FLOW:
            self._delivery.hurry()  # while the orchestrator ends the run, which is told of next
            self._wake.set()
        waiting = len(self._ended)
        if waiting >= BACKLOG:
            if not self._wake.is_set():
                self._wake.set()
            if waiting > 3 * BACKLOG:
                time.sleep(0)  # so that the recorder's thread gets a turn, and memory stays flat

    @guarded
    def finish_left(self) -> None:
        """End the spans that could not be ended when they should have been; those that cannot be yet stay."""
        while self.unfinished:
            span = self.unfinished[-1]
            if not span.told:
                self.meter.abandon(span)
                span.status = Status.FAILED if span.status is Status.RUNNING else span.status
                self.ended(span)
            if span in self.unfinished:
                self.unfinished.remove(span)

    @guarded
    def _write_down(self) -> None:
        """Write down what has ended; where that goes on already, the recorder's thread does it again at once."""
        if not self._drain(force=True, wait=False):
            self._wake.set()

    @guarded
    def write(self, record: Record, of: OpenSpan | None = None) -> None:
        """Append a record to the journal, after the beginnings of the span that it is of and of those around it."""
        if self._left_behind:
            process_recorder().write(record)
            return
        self._journal.append_lines(self._beginnings(of))
        self._journal.append(record)

    def write_later(self, record: Record) -> None:
        """The same with what ends next: for what says nothing of a span that a kill cuts short."""
        self._later.append(record)

    def announce(self, span: OpenSpan) -> None:
        """Write down that a span has begun, since other processes are about to tell of it."""
        if not self._left_behind:
            self._journal.append_lines(self._beginnings(span))

    def _beginnings(self, span: OpenSpan | None) -> list[bytes]:
        """The lines that say so, of spans that wait for the tick: else a kill would leave what is of an unknown run."""
        lines: list[bytes] = []
        while span is not None and span.recorder is self and span.role is SPAN and not span.announced:
            span.announced = True
            lines.append(start_line(span))
            span = span.outer
        return lines[::-1]

    def leave_behind(self) -> None:
        """The process was forked: the spans that were open belong to its parent, and go on there."""
        self._left_behind, self._parked = True, False
        self.meter = Meter([], NoBusyClock())
        self.describing = threading.RLock()  # describing a span asks for the one around it

    # -- draining -------------------------------------------------------------------------------------------------

    def _unpark(self) -> None:
        if sys.is_finalizing():  # a finalizer's span: no thread can start any more
            return
        self._parked = False
        if self._thread is None or not self._thread.is_alive():
            self._thread = OwnThread(target=self._run, name="e2s-recorder", daemon=True)
            self._thread.start()
        self._resume.set()

    def _run(self) -> None:
        self.meter.own_thread()
        while not self._left_behind:
            self._resume.wait()
            self._wake.wait(self.settings.tick_s)
            self._wake.clear()
            self._work()
            self._park()

    def _park(self) -> None:
        """Sleep until the next span opens; one that opened meanwhile has seen `_parked` or is seen here."""
        if not self.meter.active and not self._ended:
            self._resume.clear()
            self._parked = True
            if self.meter.active:
                self._unpark()

    def _tick(self) -> None:
        self._ticked = time.monotonic()
        handler_codes()  # to know them later on
        self.unfinished += [one for one in self._open_spans() if one.is_left]
        self.meter.tick()
        self.drain()

    @guarded
    def _tick_if_due(self) -> None:
        """So that a long delivery leaves a kill no more than a tick to lose."""
        if time.monotonic() - self._ticked >= self.settings.tick_s:
            self._tick()

    @guarded
    def _work(self) -> None:
        self._tick()
        self._tell()
        if self._delivery.due:
            self._delivery.deliver(wait=False)

    def drain(self, *, force: bool = False) -> None:
        """Settle the meter and write down what ended, and how far the open spans have come."""
        self._drain(force=force, wait=True)

    def _drain(self, *, force: bool, wait: bool) -> bool:
        """The same, or without waiting for its turn only what ended; whether it was this thread's turn."""
        taker = self._taker()
        wait = wait and not self.meter.is_in_turn  # of which a signal handler's flow ends: who drains may wait for it
        inside = self._draining.take(taker, wait=wait)
        if inside is None:
            return False
        try:
            if not inside:  # else a signal handler's span has ended in the middle of it
                if self.unfinished:
                    self.finish_left()
                self.meter.settle(force=force)
                self._write_ended()
                if wait:
                    self._write_open()
        finally:
            self._draining.give(taker, inside=inside)
        return True

    def _write_open(self) -> None:
        still_open = self._open_spans()
        for span in still_open:
            span.announced = True
            if span.parent is None:
                self._tell_io(span, self._io.now())
        self._journal.append(*[self._account_for(span) for span in still_open])

    def _open_spans(self) -> list[OpenSpan]:
        return [span for span in self.meter.open_accounts if isinstance(span, OpenSpan)]

    def _taker(self) -> Taker:
        try:
            return self._takers.taker  # type: ignore[no-any-return]
        except AttributeError:
            taker = self._takers.taker = Taker()
            return taker

    def _write_ended(self) -> None:
        self._journal.append(*[self._later.popleft() for _ in range(len(self._later))])
        lines: list[bytes] = []
        waiting = []
        for span in self._take_ended():
            if (span.ends_in is not None and span.ends_in <= self.meter.settled) or not span.closed_ns:
                if span.parent is None:
                    self._tell_io(span, span.io_until)
                lines.append(self._line(span))
                if self._telling is not None:
                    self._telling.ended(span)
                if len(lines) >= BATCH:
                    self._journal.append_lines(lines)
                    lines = []
            else:
                waiting.append(span)
        self._journal.append_lines(lines)
        self._ended.extendleft(reversed(waiting))

    @guarded
    def _tell_io(self, span: OpenSpan, until: Any) -> None:
        """Note in a root span of the process what the process moved while it was open; nothing if nobody looked."""
        if until is not None and until is not span.io_since:
            span.note({PROCESS_IO: [span.io_since or until, until]})

    def _line(self, span: OpenSpan) -> bytes:
        """The span's line in the journal; without its notes where these cannot be written, of which a warning tells."""
        try:
            return end_line(span, self._covered) or encode(self._account_for(span))
        except (TypeError, ValueError, RecursionError) as error:
            warn_once(f"writing down the notes of the span {span.name!r}", error)
            span.record.attributes.clear()
            return encode(self._account_for(span))

    def _take_ended(self) -> list[OpenSpan]:
        return [self._ended.popleft() for _ in range(len(self._ended))]

    def _account_for(self, span: OpenSpan) -> SpanRecord:
        """The span's record with what its account shows now, one sequence number on."""
        record, joules, gaps = span.record, span.joules, span.gaps
        record.cpu_ns, record.shared_cpu_ns = span.cpu_ns, span.shared_ns
        for component, field in FIELDS:
            known = component in self._covered and (component in joules or component not in gaps)
            setattr(record, field, joules.get(component, 0.0) if known else None)
        if gaps:
            record.attributes["gaps"] = sorted(gaps)
        if span.parent is None:
            record.other_j, record.idle_j = span.other_j, span.idle_j
            record.attributes.pop("estimated", None)
            if span.estimates and span.estimated:
                record.attributes["estimated"] = span.estimated
        return span.as_it_stands()

    @guarded
    def worked(self, span: OpenSpan) -> None:
        """The span's work is over: settle and write down what it used, whose end is told later."""
        self._settle_now()
        self.write(self._account_for(span))

    def _settle_now(self) -> None:
        self.meter.tick()
        self.meter.settle(force=True)

    def host_energy(self, span: OpenSpan) -> tuple[float, Provenance]:
        """The host energy (J) of a span that sums up, with all inside it, settled at once, and what it rests on."""
        self._settle_now()
        worth = {one.provenance for one in self.process.sources if one.component in span.joules}
        return span.inclusive_j, Provenance.MEASURED if worth == {Provenance.MEASURED} else Provenance.MODELLED

    @guarded
    def _tell(self) -> None:
        """Tell who listens in this process what has been used since the last time."""
        if self._telling is not None:
            self._telling.tell(self._open_spans())

    @property
    def delivered(self) -> bool:
        """Whether the last delivery to the ledger succeeded; if not, a warning has said why."""
        return self._delivery.complete

    @guarded
    def write_down(self) -> None:
        """Everything that ended is settled and in the journal, with how far the open spans have come."""
        if self.settings.enabled and not self._left_behind:
            self.meter.tick()
            self.drain(force=True)
            self._tell()

    @guarded
    def flush(self) -> None:
        """The same, and in the ledger if that answers."""
        self.write_down()
        self._delivery.deliver()

    @guarded
    def close(self) -> None:
        """Settle and write down everything; deliver it unless that is better left to whoever reads the ledger next."""
        if self._left_behind or not self.settings.enabled:
            return
        self.write_down()
        self.meter.release()
        if self._delivery.at_exit:
            self._delivery.deliver()
            if not self.meter.active and self._delivery.complete:
                self._delivery.remove_journal()
            self.meter.release()  # again: delivering was this process's own work, too


_recorder: SpanRecorder | None = None
_creating = threading.RLock()
_is_being_created = False


def process_recorder() -> SpanRecorder:
    """The recorder of this process, made at the first call.

    Settings that cannot be used cost one warning and all measuring, never the work.
    """
    if _recorder is None:
        with _creating:
            if _is_being_created:  # a signal handler's span, or a finalizer's, in the middle of it
                return _nothing_measured()
            if _recorder is None:
                _create()
    return _recorder  # type: ignore[return-value] # made by now


def _create() -> None:
    global _recorder, _is_being_created  # noqa: PLW0603
    _is_being_created = True
    try:
        _recorder = SpanRecorder(settings())
    except Exception as error:  # noqa: BLE001 - law 5
        warn_once("setting up (nothing is measured)", error)
        _recorder = _nothing_measured()
        return
    finally:
        _is_being_created = False
    _close_at_exit(_recorder)
    ask_first(_recorder.write_down)
    if _recorder.settings.enabled and _recorder.settings.patch_io:
        _patch_io()
    watch_starts(lambda: _recorder.meter if _recorder is not None else None)


def _nothing_measured() -> SpanRecorder:
    return SpanRecorder(Settings(enabled=False), Meter([], NoBusyClock()))


@guarded
def _patch_io() -> None:
    from e2s_tasks.io.patching import patch

    patch()


def _meter_of_process() -> Meter | None:
    return _recorder.meter if _recorder is not None else None


def _close_at_exit(recorder: SpanRecorder) -> None:
    multiprocessing = sys.modules.get("multiprocessing.util")
    if multiprocessing is not None and sys.modules["multiprocessing.process"].parent_process() is not None:
        multiprocessing.Finalize(recorder, recorder.close, exitpriority=0)  # such a child skips atexit
    else:
        atexit.register(recorder.close)


def _forget() -> None:
    """A forked child starts with a recorder of its own."""
    global _recorder, _creating
    if _recorder is not None:
        atexit.unregister(_recorder.close)
        _recorder.leave_behind()
    _recorder, _creating, _is_being_created = None, threading.RLock(), False


os.register_at_fork(after_in_child=_forget)
