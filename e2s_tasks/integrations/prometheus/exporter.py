"""The exporter: a collector for prometheus_client, and the service that answers scrapes."""

import logging
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from e2s_tasks.integrations.prometheus import metrics
from e2s_tasks.integrations.prometheus.metrics import COUNTER
from e2s_tasks.integrations.prometheus.reading import Reading, Sample
from e2s_tasks.integrations.prometheus.state import Memory
from e2s_tasks.settings import Settings

LEAST_S = 1.0  # the ledger is not read again before; nor before it has been left alone for as long as reading took
_log = logging.getLogger(__name__)


class Exporter(Collector):
    """Reads what is new at each scrape. A ledger that cannot be read leaves the last figures, and says so.

    remembers: whether what counters have shown is kept for the next start.
    """

    def __init__(self, options: Settings, *, remembers: bool = True) -> None:
        self._memory = Memory(options.data_dir, options.ledger)
        self._reading = Reading(options.exporter_steps, self._memory.read())
        self._remembers = remembers
        self._turn = threading.Lock()
        self._errors = 0
        self._up = True
        self._took_s = self._read_at = self._rest_s = 0.0
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def read(self) -> None:
        """Read what is new, unless that has just been done.

        Raises:
            E2SError: the ledger cannot be read.
        """
        with self._turn:
            if time.time() - self._read_at >= self._rest_s:
                self._read()

    def _read(self) -> None:
        begun, again = time.perf_counter(), self.complete
        try:
            new = self._reading.refresh()
        except Exception:
            self._errors += 1
            self._up = False
            raise
        self._up = True
        self._took_s, self._read_at = time.perf_counter() - begun, time.time()
        self._rest_s = max(LEAST_S, self._took_s) if again else LEAST_S
        if new and self._remembers:
            self._memory.write(self._reading.state())

    @property
    def complete(self) -> bool:
        """Whether the ledger has been read once."""
        return self._reading.complete

    @property
    def runs(self) -> int:
        """How many runs are counted."""
        return len(self._reading.totals)

    def describe(self) -> list[Metric]:
        """Nothing: what is registered is not read for that."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics; until the ledger has been read once, only what the exporter tells of itself."""
        samples: list[Sample] = []
        if self.complete:
            try:
                self.read()
            except Exception as error:  # noqa: BLE001 - whatever it is, a scrape gets the older figures
                _log.warning("e2s: the ledger cannot be read, older figures are shown: %s", error)
            with self._turn:
                samples += self._reading.samples()
        yield from _families([*self._own(), *samples])

    def _own(self) -> Iterator[Sample]:
        yield metrics.BUILD, (version("e2s-tasks"),), 1
        yield metrics.LEDGER_UP, (), int(self._up)
        yield metrics.READY, (), int(self.complete)
        yield metrics.ERRORS, (), self._errors
        yield metrics.READ, (), self._reading.runs_read
        yield metrics.OVERFLOW, (), self._reading.names.beyond
        if self._read_at:
            yield metrics.TOOK, (), self._took_s
            yield metrics.READ_AT, (), self._read_at


def _families(samples: list[Sample]) -> Iterator[Metric]:
    found: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for metric, labels, value in samples:
        family = found.get(metric.name)
        if family is None:
            made = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
            family = found[metric.name] = made(metric.name, metric.text, labels=metric.labels)
        family.add_metric(labels, value)
    yield from found.values()
