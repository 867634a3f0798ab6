"""An external meter as an energy source: a thread of its own asks the server, measured work only notes the time.

Samples come late. The energy of a segment is read off the curve between samples; of the part that is newer than the
last sample it is estimated with the mean power of the last few, and what the estimate was off by is put right in the
next segments. So all that the meter counted is booked, once. What was never put right is told with each reading, so
that a run that rests on it is not called measured. Where the server is silent for too long there is a gap.
"""

import contextlib
import threading
import time
from collections import deque
from typing import Any

from e2s_tasks.core.attribution import Reading
from e2s_tasks.core.records import SourceRecord
from e2s_tasks.meters.curve import Curve
from e2s_tasks.meters.external import ExternalMeter
from e2s_tasks.meters.profile import Profile
from e2s_tasks.meters.prometheus import MeterError, ask, client
from e2s_tasks.meters.samples import CounterSamples, GaugeSamples, Samples
from e2s_tasks.meters.source import warn

# Power between two samples of a gauge is unknown: a burst of a tenth of a second is seen or missed.
GAUGE_RANGE = (0.8, 1.2)
PARK_S = 10.0
WAIT_S = 5.0


class ExternalSource:
    """The joules of one external meter. meters: how many share its component (and its modelled idle power)."""

    def __init__(
        self, meter: ExternalMeter, host: Profile, attributed: float = 1.0, meters: int = 1, tick_s: float = 1.0
    ) -> None:
        self.meter = meter
        self.problem = self.fix = ""
        self.records = _records(meter, host, meters)
        self._component = "cpu" if meter.component == "host" else meter.component
        self._idle_w = _idle_w(meter, host, meters)
        self._attributed = attributed
        self._patience_ns = int(meter.patience_s * 1e9)
        self._curve = Curve()
        self._curve.reach_ns = self._patience_ns
        self._samples: Samples = (
            CounterSamples(self._curve, int((meter.poll_s + meter.timeout_s) * 1e9), self._patience_ns, meter.wraps_j)
            if meter.kind == "counter"
            else GaugeSamples(self._curve, self._patience_ns)
        )
        self._lock = threading.Lock()  # of the curve: never taken by read()
        self._estimated: deque[tuple[int, int, float]] = deque()  # from, to, joules that were booked
        self._owed_j = 0.0
        self._estimated_j = 0.0  # estimated, less what was put right, since it was told last
        self._park_ns = int((PARK_S + 3 * tick_s) * 1e9)
        self._read_ns = 0
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._http: Any = None
        self._answered_s = time.monotonic()
        self._warned = False
        self._closed = False

    # -- what the meter of the process asks ---------------------------------------------------------------------------

    def read(self) -> int | None:
        """The time (monotonic ns): the server is never asked here. Begins the asking thread at the first call."""
        now = self._read_ns = time.monotonic_ns()
        if not self._wake.is_set():
            with contextlib.suppress(RuntimeError):  # no thread can be started (any more): a gap
                self._begin()
        return now

    def ready(self, mark: int | None) -> bool:
        """Whether the samples reach up to a mark, or have been waited for long enough: worth settling now."""
        if mark is None or time.monotonic_ns() - mark > min(WAIT_S * 1e9, self._patience_ns):
            return True
        with self._lock:
            end = self._curve.end
        return end is not None and end >= mark

    def reading(self, before: int | None, after: int | None, duration_s: float, busy_s: float) -> Reading:  # noqa: ARG002
        """Joules between two marks, with what earlier estimates owe; a gap where the meter does not tell them."""
        if before is None or after is None:
            return Reading(self._component, None)
        with self._lock:
            joules = self._joules(before, after)
        if joules is None:
            return Reading(self._component, None)
        estimated, self._estimated_j = self._estimated_j, 0.0
        if self._component == "gpu":
            return Reading("gpu", joules, joules, "gpu", 1.0, estimated=estimated)
        background_to = "dram" if self._component == "dram" else "static"
        idle = self._idle_w * duration_s
        return Reading(self._component, joules, idle, background_to, self._attributed, estimated=estimated)

    # -- from the curve -----------------------------------------------------------------------------------------------

    def _joules(self, begin: int, end: int) -> float | None:
        self._put_right()
        self._curve.forget(min(begin, self._estimated[0][0]) if self._estimated else begin)
        joules = self._curve_joules(begin, end)
        if joules is None:
            return None
        joules, self._owed_j = joules + self._owed_j, 0.0
        if joules < 0:  # an estimate was too high by more than this segment used: the next ones bear the rest
            joules, self._owed_j = 0.0, joules
        return joules

    def _curve_joules(self, begin: int, end: int) -> float | None:
        known = self._curve.end
        if known is None:  # not one stretch is known yet: booked when it is
            self._estimate(begin, end, 0.0)
            return None
        power = self._curve.power_w
        if end > known and (power is None or end - known > self._patience_ns):
            return None
        past = self._past(begin, min(end, known)) if begin < known else 0.0
        if past is None or power is None or end <= known:
            return past
        begin = max(begin, known)
        joules = power * (end - begin) * 1e-9
        self._estimate(begin, end, joules)
        return past + joules

    def _past(self, begin: int, end: int) -> float | None:
        """Joules up to a time that the curve reaches."""
        joules = self._curve.energy(begin, end)
        if joules is not None:
            self._estimated_j += self._curve.supposed(begin, end) or 0.0
        return joules

    def _estimate(self, begin: int, end: int, joules: float) -> None:
        self._estimated_j += joules
        if self._estimated and self._estimated[-1][1] == begin:
            since, _, booked = self._estimated.pop()
            begin, joules = since, booked + joules
        self._estimated.append((begin, end, joules))

    def _put_right(self) -> None:
        """Owe what the samples that came since say of earlier estimates, the oldest first."""
        known = self._curve.end
        while self._estimated:
            begin, end, booked = self._estimated[0]
            if known is None or known <= begin:
                if time.monotonic_ns() - end <= self._patience_ns:
                    return
                self._estimated.popleft()
                continue
            self._estimated.popleft()
            upto = min(end, known)
            part = booked * (upto - begin) / (end - begin) if end > begin else booked
            truth = self._past(begin, upto)
            if truth is not None:
                self._owed_j += truth - part
                self._estimated_j -= part
            if upto < end:
                self._estimated.appendleft((upto, end, booked - part))
                return

    # -- the asking thread --------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._wake.set()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name=f"e2s-meter-{self.meter.name}", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            began = time.monotonic()
            self.poll()
            if time.monotonic_ns() - self._read_ns > self._park_ns:
                self._park()
            else:
                time.sleep(max(0.01, self.meter.poll_s - (time.monotonic() - began)))

    def close(self) -> None:
        """Ask no more."""
        self._closed = True

    def poll(self) -> float | None:
        """Ask the server once: joules or watts; None where that goes wrong, and `problem` says why."""
        try:
            self._http = self._http or client(self.meter)
            value = ask(self._http, self.meter)
        except Exception as error:  # noqa: BLE001 - law 5: a meter that fails is a gap
            self.problem = str(error) or type(error).__name__
            self.fix = error.fix if isinstance(error, MeterError) else ""
            self._failed()
            return None
        self.problem, self._answered_s = "", time.monotonic()
        with self._lock:
            self._samples.add(time.monotonic_ns(), value)
        return value

    def _failed(self) -> None:
        """Say once that the meter has been silent for so long that its energy is missing."""
        if time.monotonic() - self._answered_s > self.meter.patience_s and not self._warned:
            self._warned = True
            warn(f"external meter {self.meter.name}: {self.problem}. Its energy is missing meanwhile.")

    def _park(self) -> None:
        """Nothing is measured: ask no more until the next reading, and then begin anew."""
        with self._lock:
            self._samples.clear()
            self._curve.clear()
            self._estimated, self._owed_j, self._estimated_j = deque(), 0.0, 0.0
        self._wake.clear()
        if time.monotonic_ns() - self._read_ns <= self._park_ns:  # it came in between
            self._wake.set()


def _idle_w(meter: ExternalMeter, host: Profile, meters: int) -> float:
    if meter.idle_w is not None:
        return meter.idle_w
    modelled = {"cpu": host.cpu_idle_w, "dram": host.dram_w, "gpu": 0.0, "host": host.cpu_idle_w + host.dram_w}
    return modelled[meter.component] / meters


def _records(meter: ExternalMeter, host: Profile, meters: int) -> list[SourceRecord]:
    """What the meter covers: its component; the idle part of it; what a meter of the whole host replaces."""
    component = "cpu" if meter.component == "host" else meter.component
    detail = f"{meter.query} at {meter.place}"
    measured = meter.kind == "counter"
    low, high = (1.0, 1.0) if measured else GAUGE_RANGE
    if not measured:
        detail += f": power each {meter.poll_s:g} s, integrated"
    if meter.component == "host":
        detail += "; the whole machine, its power supply and fans included"
    found = [SourceRecord(component, meter.name, "measured" if measured else "modelled", low, high, detail)]
    if component == "cpu":
        idle_low, idle_high = host.idle_range if meter.idle_w is None else (0.8, 1.2)
        source = host.idle_source if meter.idle_w is None else f"idle_w of {meter.name}"
        watts = _idle_w(meter, host, meters)
        detail = f"idle part of {meter.name}: {watts:.3g} W ({source})"
        found.append(SourceRecord("static", "idle power model", "modelled", idle_low, idle_high, detail))
    if meter.component == "host":
        found += [
            SourceRecord(one, meter.name, "missing", detail=f"counted in cpu by {meter.name}", absent=True)
            for one in ("dram", "gpu")
        ]
    return found
