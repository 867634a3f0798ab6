"""The recorder of a process: opens and ends spans, and writes down what the meter booked on them.

The measured thread only appends a start record; a thread of the recorder's own ticks the meter, splits segments, and
drains what is finished into the journal and from there into the ledger.
"""

import atexit
import os
import threading
import time
from collections import deque
from typing import Any

from e2s_tasks.core.energy import HOST
from e2s_tasks.core.records import Kind, Record, SourceRecord, SpanRecord, Status
from e2s_tasks.io.factors import movement_sources
from e2s_tasks.ledger.journal import Journal, journal_path, this_process
from e2s_tasks.meters.account import Account, Role
from e2s_tasks.meters.children import Children
from e2s_tasks.meters.clocks import host_busy_clock
from e2s_tasks.meters.host_page import host_page
from e2s_tasks.meters.meter import Meter
from e2s_tasks.meters.setup import sources
from e2s_tasks.recorder.delivery import Delivery
from e2s_tasks.recorder.guard import guarded, warn_once
from e2s_tasks.recorder.open_span import CURRENT, STARTS_ON_DISK, OpenSpan, Unmeasured, new_id
from e2s_tasks.settings import Settings, settings

DELIVER_EVERY_S = 10.0
BACKLOG = 1000
ROLES = {Kind.FLOW: Role.FLOW, Kind.ATTEMPT: Role.ATTEMPT}


class SpanRecorder:
    """Opens spans, ends them, and keeps their records. One per process; cheap until the first span."""

    def __init__(
        self, options: Settings, meter: Meter | None = None, records: list[SourceRecord] | None = None
    ) -> None:
        policy: str = options.static_policy
        if meter is None:
            chosen = sources(options)
            page = host_page(options.data_dir)
            meter = Meter(chosen.sources, host_busy_clock(), page=page, children=Children(page.processes))
            records, policy = chosen.records, chosen.static_policy
        self.settings = options
        self.meter = meter
        self.process = this_process([*(records or []), *movement_sources()], static_policy=policy)
        self._covered = {record.component for record in records or [] if record.provenance != "missing"}
        self._journal = Journal(journal_path(options.journals, self.process))
        if options.enabled:
            self._journal.append(self.process)
        self._delivery = Delivery(self._journal, self.process.id, options)
        self._open: dict[str, OpenSpan] = {}
        self._ended: deque[OpenSpan] = deque()  # appended to by any thread while another drains it
        self._draining = threading.Lock()
        self._wake = threading.Event()  # drain now, before the tick
        self._resume = threading.Event()  # a span has opened after a time without any
        self._parked = True
        self._thread: threading.Thread | None = None

    # -- opening and ending ---------------------------------------------------------------------------------------

    def span(self, name: str, kind: Kind = Kind.SPAN, **facts: Any) -> "OpenSpan | Unmeasured":
        """A span around a block, on this thread or in this coroutine. facts: further fields of its SpanRecord."""
        return self.begin(name, kind, **facts)

    def begin(self, name: str, kind: Kind, **facts: Any) -> "OpenSpan | Unmeasured":
        """A span that has begun but runs on no thread yet (`resume` it). Never raises."""
        if not self.settings.enabled:
            return Unmeasured()
        try:
            return self._begin(name, kind, facts)
        except Exception as error:  # noqa: BLE001 - law 5
            warn_once("opening a span", error)
            return Unmeasured()

    def _begin(self, name: str, kind: Kind, facts: dict[str, Any]) -> OpenSpan:
        parent = CURRENT.get()
        span_id = new_id()
        if parent is not None:
            facts.setdefault("parent_id", parent.id)
            facts["run_id"] = parent.record.run_id
            facts.setdefault("flow_run_id", parent.record.flow_run_id)
            facts.setdefault("solution", parent.record.solution)
        run_id = facts.pop("run_id", None) or facts.get("flow_run_id") or span_id
        record = SpanRecord(
            id=span_id, seq=0, process_id=self.process.id, run_id=run_id, kind=kind, name=name,
            status=Status.RUNNING, started_at=time.time(), **facts,
        )  # fmt: skip
        local = parent is not None and parent.recorder is self
        span = OpenSpan(self, record, Account(ROLES.get(kind, Role.SPAN), parent.account if local and parent else None))
        if kind in STARTS_ON_DISK:
            self._journal.append(record)
        self._open[span_id] = span
        self.meter.open(span.account)
        if self._parked:
            self._unpark()
        return span

    def end(self, span: OpenSpan, status: Status) -> None:
        """The span is over; its energy is settled and written down by the recorder's own thread."""
        self.meter.close(span.account)
        span.record.ended_at = time.time()
        span.record.status = status
        if span.record.kind in STARTS_ON_DISK:
            self._journal.append(span.snapshot())
        self._ended.append(span)
        self._open.pop(span.id, None)
        if span.account.parent is None and span.record.kind == Kind.ATTEMPT:
            self._write_down()  # its flow runs in another process, which may read the journal next
        elif len(self._ended) >= BACKLOG and not self._wake.is_set():
            self._wake.set()

    @guarded
    def _write_down(self) -> None:
        self.drain(force=True)

    @guarded
    def write(self, record: Record) -> None:
        """Append a record to the journal."""
        self._journal.append(record)

    # -- draining -------------------------------------------------------------------------------------------------

    def _unpark(self) -> None:
        self._parked = False
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="e2s-recorder", daemon=True)
            self._thread.start()
        self._resume.set()

    def _run(self) -> None:
        self.meter.own_thread()
        delivered = time.monotonic()
        while True:
            self._resume.wait()
            self._wake.wait(self.settings.tick_s)
            self._wake.clear()
            due = time.monotonic() - delivered >= DELIVER_EVERY_S
            self._work(deliver=due)
            if due:
                delivered = time.monotonic()
            self._park()

    def _park(self) -> None:
        """Sleep until the next span opens; one that opened meanwhile has seen `_parked` or is seen here."""
        if not self.meter.active and not self._ended:
            self._resume.clear()
            self._parked = True
            if self.meter.active:
                self._unpark()

    @guarded
    def _work(self, *, deliver: bool) -> None:
        self.meter.tick()
        self.drain()
        if deliver:
            self._delivery.deliver()

    def drain(self, *, force: bool = False) -> None:
        """Settle the meter and write down what ended, and how far the open attempts have come."""
        with self._draining:
            self.meter.settle(force=force)
            waiting = []
            for span in self._take_ended():
                if span.account.ends_in is None or span.account.ends_in <= self.meter.settled:
                    self._journal.append(self._account_for(span))
                else:
                    waiting.append(span)
            self._ended.extendleft(reversed(waiting))
            for span in list(self._open.values()):
                self._journal.append(self._account_for(span))

    def _take_ended(self) -> list[OpenSpan]:
        return [self._ended.popleft() for _ in range(len(self._ended))]

    def _account_for(self, span: OpenSpan) -> SpanRecord:
        """The span's record with what its account shows now, one sequence number on."""
        account, record = span.account, span.record
        record.cpu_ns = account.cpu_ns
        record.shared_cpu_ns = account.shared_ns
        for component in HOST:
            known = component in self._covered and (component in account.joules or component not in account.gaps)
            setattr(record, f"{component}_j", account.joules.get(component, 0.0) if known else None)
        if account.gaps:
            record.attributes["gaps"] = sorted(account.gaps)
        if account.parent is None:
            record.other_j, record.idle_j = account.other_j, account.idle_j
        return span.snapshot()

    @property
    def delivered(self) -> bool:
        """Whether the last delivery to the ledger succeeded; if not, a warning has said why."""
        return self._delivery.complete

    @guarded
    def flush(self) -> None:
        """Everything that ended is settled, in the journal, and in the ledger if that answers."""
        self.meter.tick()
        self.drain(force=True)
        self._delivery.deliver()

    @guarded
    def close(self) -> None:
        """Flush, and remove the journal if all of it reached the ledger and no span is open."""
        if self.settings.enabled:
            self.flush()
        self.meter.release()
        if not self._open and self._delivery.complete:
            self._delivery.remove_journal()


_recorder: SpanRecorder | None = None
_creating = threading.Lock()


def process_recorder() -> SpanRecorder:
    """The recorder of this process, made at the first call."""
    global _recorder  # noqa: PLW0603
    if _recorder is None:
        with _creating:
            if _recorder is None:
                _recorder = SpanRecorder(settings())
                atexit.register(_recorder.close)
    return _recorder


def _forget() -> None:
    """A forked child starts with a recorder of its own."""
    global _recorder, _creating
    if _recorder is not None:
        atexit.unregister(_recorder.close)
    _recorder, _creating = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
