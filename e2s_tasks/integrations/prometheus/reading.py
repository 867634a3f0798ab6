"""Reads the ledger for the exporter: all runs once, afterwards those alone that were written to."""

import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from e2s_tasks.core.emissions import RUNG, TIMELESS
from e2s_tasks.core.energy import COMPONENTS
from e2s_tasks.core.kpi import Kpi
from e2s_tasks.core.records import DecisionRecord, Status
from e2s_tasks.integrations.labels import Names
from e2s_tasks.integrations.prometheus import metrics
from e2s_tasks.integrations.prometheus.metrics import Metric
from e2s_tasks.integrations.prometheus.state import State
from e2s_tasks.integrations.prometheus.totals import Totals
from e2s_tasks.ledger import Ledger
from e2s_tasks.ledger.query import chunks
from e2s_tasks.reporter.period import kpis_of_run
from e2s_tasks.reporter.run import Producers
from e2s_tasks.reporter.tally import Tally, tally

if TYPE_CHECKING:
    from e2s_tasks.ledger.changes import Changes

ENDED = (Status.COMPLETED, Status.FAILED, Status.CRASHED, Status.CANCELLED, Status.TIMED_OUT)
AT_ONCE = 200  # runs that are held as records together
Sample = tuple[Metric, tuple[str, ...], float]
Flow = tuple[str, str]  # with its solution, as labels


class Reading:
    """The sums over a ledger's runs, and the last run of each flow, as far as it has been read.

    known: what an exporter had shown of this ledger before. The ledger is opened anew each time, with what waits in
    this host's journals.
    """

    def __init__(self, most_steps: int, known: State | None = None) -> None:
        self._most, self._known = most_steps, known or State()
        self._until: int | None = None
        self._seen: dict[str, int] = {}
        self.runs_read = 0
        self._begin(self._known)

    def _begin(self, known: State) -> None:
        self.names = Names(self._most, known.names)
        self.totals = Totals(known.floors)
        self._last: dict[Flow, Tally] = {}
        self._last_kpis: dict[Flow, list[Kpi]] = {}
        self._forecasts: dict[tuple[str, str], DecisionRecord] = {}

    @property
    def complete(self) -> bool:
        """Whether all runs have been read once."""
        return self._until is not None

    def refresh(self) -> bool:
        """Read what is new; whether anything was.

        Raises:
            LedgerError: the ledger cannot be read; what was read so far stays.
        """
        ledger = Ledger.open()
        try:
            changes = ledger.changes(self._until)
            if self._until is None or changes.until < self._until:  # another ledger under the same address
                self._read_all(ledger, changes)
                return True
            return self._read_new(ledger, changes)
        finally:
            ledger.close()

    def _read_all(self, ledger: Ledger, changes: "Changes") -> None:
        roots = ledger.root_runs()
        same = not self.complete and self._known.is_of(changes.until, roots)
        self._begin(self._known if same else State())
        self._until, self._seen = None, {}
        self._take(ledger, roots)
        self._until = changes.until

    def _read_new(self, ledger: Ledger, changes: "Changes") -> bool:
        new = [run_id for run_id, number in changes.runs.items() if self._seen.get(run_id) != number]
        if new:
            root_of = ledger.root_runs(new)
            for run_id in new:
                if root_of[run_id] != run_id:  # the same, until it was known who had started it
                    self.totals.put(run_id, ())
            self._take(ledger, dict.fromkeys(root_of.values()))
        self._until = changes.until
        self._seen = {run_id: number for run_id, number in changes.runs.items() if number >= changes.until}
        return bool(new)

    def _take(self, ledger: Ledger, run_ids: Collection[str]) -> None:
        producers = Producers(ledger)
        fresh: set[Flow] = set()
        for chunk in chunks(run_ids, AT_ONCE):
            for run in ledger.spent(chunk):
                for part in {one.run_id for one in run.spans} - {run.run_id}:
                    self.totals.put(part, ())  # what had been a run of its own, until that one was written down
                found = tally(run, producers.joules)
                self.totals.put(run.run_id, self._parts(found))
                self.runs_read += 1
                fresh |= self._keep_last(found)
        for flow in fresh:
            kpis = kpis_of_run(ledger, self._last[flow].run_id)
            self._last_kpis[flow] = [one for one in kpis if one.value is not None]

    def _parts(self, run: Tally) -> Iterator[Sample]:
        flow = self.names.of("flow", run.flow)
        for step, component, provenance, joules in run.by_component():
            yield metrics.ENERGY, (flow, self.names.step(flow, step), component, provenance), joules
        solution = self.names.of("solution", run.solution)
        for stage, known in run.stages.items():
            if known is not None:
                yield metrics.STAGES, (solution, stage), known
        if run.emissions_g is not None:
            yield metrics.EMISSIONS, (flow, self.names.of("signal", run.signal)), run.emissions_g
        elif run.status != Status.RUNNING:
            yield metrics.UNKNOWN, (flow,), 1
        for metric, figure in (
            (metrics.FAILED, run.unsuccessful_j),
            (metrics.WAITING, run.waiting_j),
            (metrics.REUSED, run.cached_j),
            (metrics.AVOIDED, run.avoided_g or 0.0),
        ):
            if figure is not None:
                yield metric, (flow,), figure
        # 0 where there is none, for `delta` does not see a series begin with its first
        for component in COMPONENTS:
            yield metrics.GAPS, (flow, component), run.gaps.get(component, 0)
        for status in {*ENDED, run.status}:
            yield metrics.RUNS, (flow, status), int(status == run.status)

    def _keep_last(self, run: Tally) -> set[Flow]:
        """Note the run if it is its flow's last completed one, and what it expected of the grid."""
        plan = run.forecast
        if plan is not None and plan.plan.get("slots") and plan.plan.get(RUNG) not in TIMELESS:
            key = (self.names.of("zone", plan.zone), self.names.of("signal", plan.signal))
            if key not in self._forecasts or self._forecasts[key].at <= plan.at:
                self._forecasts[key] = plan
        flow = self.names.of("flow", run.flow), self.names.of("solution", run.solution)
        before = self._last.get(flow)
        if run.status != Status.COMPLETED or (before is not None and before.started_at > run.started_at):
            return set()
        self._last[flow] = run
        return {flow}

    def samples(self) -> Iterator[Sample]:
        """Every series of the ledger with its value."""
        yield from self.totals.values()
        for labels, run in self._last.items():
            length = None if run.ended_at is None else run.ended_at - run.started_at
            for metric, figure in (
                (metrics.LAST_ENERGY, run.total_j),
                (metrics.LAST_EMISSIONS, run.emissions_g),
                (metrics.LAST_LENGTH, length),
                (metrics.LAST_END, run.ended_at),
                (metrics.LAST_LOWER_BOUND, int(bool(run.gaps))),
            ):
                if figure is not None:
                    yield metric, labels, figure
            for kpi in self._last_kpis.get(labels, ()):
                yield from self._of_kpi(labels, kpi)
        now = time.time()
        for key, decision in self._forecasts.items():
            for begin, end, intensity in decision.plan["slots"]:
                if begin <= now < end:
                    yield metrics.FORECAST, key, intensity
                    break

    def _of_kpi(self, labels: Flow, kpi: Kpi) -> Iterator[Sample]:
        name = self.names.of("kpi", kpi.name)
        yield metrics.KPI, (*labels, name, self.names.of("unit", kpi.unit)), kpi.value or 0.0
        yield metrics.KPI_BOUND, (*labels, name), int(kpi.lower_bound) - int(kpi.upper_bound)

    def state(self) -> State:
        """What to remember over a restart."""
        return State(self._until or 0, self.totals.some(), self.names.known, self.totals.floors())
