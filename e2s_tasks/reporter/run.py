"""The summary of a run as the ledger holds it."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.records import OutcomeRecord, RunRecords, SpanRecord, Status
from e2s_tasks.core.upstream import Upstream
from e2s_tasks.reporter.figures import gaps
from e2s_tasks.reporter.reuse import made_here, repeated
from e2s_tasks.reporter.summary import summarise
from e2s_tasks.reporter.tree import SpanTree, tree

if TYPE_CHECKING:
    from e2s_tasks.ledger import Ledger

MOST_SPANS = 3000  # of earlier runs, which a summary reads in about a fifth of a second


def summarise_run(ledger: "Ledger", run_id: str) -> dict[str, Any]:
    """The summary of the root run `run_id`.

    Raises:
        NotFoundError: the ledger holds no such run.
        LedgerError: the ledger cannot be read.
    """
    return summarise_records(ledger, ledger.run(run_id))


def summarise_records(ledger: "Ledger", run: RunRecords) -> dict[str, Any]:
    """The same of a root run whose records the ledger has given already."""
    producers = Producers(ledger)
    return summarise(run, producers.joules, producers.replayed(run), Upstream(ledger.loader(), MOST_SPANS))


def lower_bounds_among(ledger: "Ledger", run_ids: list[str]) -> set[str]:
    """Those of the root runs of whose energy parts are missing, without loading all of each."""
    return {run.run_id for run in ledger.samples(run_ids) if gaps(run)}


class Producers:
    """The attempts of other runs whose results cached task runs reused."""

    def __init__(self, ledger: "Ledger") -> None:
        self._ledger = ledger
        self._run = lru_cache(maxsize=16)(self._load)
        self._of = lru_cache(maxsize=256)(ledger.producers)
        self._joules: dict[str, float | None] = {}

    def _load(self, run_id: str) -> tuple[RunRecords, SpanTree]:
        run = self._ledger.run(run_id)
        return run, tree(run.spans, run_id)

    def _producer(self, cached: SpanRecord) -> SpanRecord | None:
        """The last one that had ended when the result was reused: what made it anew later was not."""
        for one in reversed(self._of(cached.result_key) if cached.result_key else ()):
            elsewhere = cached.flow_run_id is None or one.flow_run_id != cached.flow_run_id
            if elsewhere and (one.ended_at or 0.0) <= cached.started_at:
                return one
        return None

    def joules(self, cached: SpanRecord) -> float | None:
        """What the attempt that produced the result had used, with everything inside it; None where not known."""
        producer = self._producer(cached)
        if producer is None:
            return None
        if producer.id not in self._joules:
            _, spans = self._run(producer.run_id)
            self._joules[producer.id] = spans.used[producer.id].joules
        return self._joules[producer.id]

    def replayed(self, run: RunRecords) -> list[OutcomeRecord]:
        """The outcomes that those attempts recorded: a cached task run achieves them again, at no cost."""
        here = made_here(run.spans)
        found = []
        for cached in run.spans:
            producer = None if cached.status != Status.CACHED or cached.id in here else self._producer(cached)
            if producer is not None:
                records, spans = self._run(producer.run_id)
                found += repeated(cached, producer, records.outcomes, spans)
        return found
