"""The ledger: takes records in, idempotently, and answers questions about runs and artifacts."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from e2s_tasks.core.records import DecisionRecord, Kind, Record, RunRecords, SpanRecord, Status, VersionRecord
from e2s_tasks.errors import LedgerBusyError
from e2s_tasks.ledger import artifacts as of_artifacts
from e2s_tasks.ledger import changes, finding, glances, journal, replaying, runs
from e2s_tasks.ledger.engine import BUSY_TIMEOUT_S, connect, kept_open, reporting, writing
from e2s_tasks.ledger.glances import RunRow
from e2s_tasks.ledger.inserting import get_ready, latest, write
from e2s_tasks.ledger.learned import Learned, latest_policy, latest_zone, learned, learned_step
from e2s_tasks.ledger.origins import Origins, read_from, root_runs
from e2s_tasks.ledger.period import in_brief, in_period, samples
from e2s_tasks.ledger.query import chunks
from e2s_tasks.ledger.tables import delivery, span
from e2s_tasks.settings import settings

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from e2s_tasks.ledger.export import Exported
    from e2s_tasks.ledger.frames import Texts, To
    from e2s_tasks.ledger.retention import Pruned
    from e2s_tasks.ledger.times import Moment

AT_ONCE = 200  # runs that are read together
READERS_PATIENCE_S = 2.0  # readers need no lock, so that what is there can be shown at once
_log = logging.getLogger(__name__)


class Ledger:
    """What every measured process recorded. Every method raises LedgerError when the database does not answer.

    is_behind: the newest records wait in this host's journals, as another process held the lock when it was opened.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self.is_behind = False

    @classmethod
    def open(cls, url: str | None = None, patience_s: float = BUSY_TIMEOUT_S) -> "Ledger":
        """The ledger at a SQLAlchemy URL, made at its first use.

        Without a URL it is the configured one (E2S_LEDGER_URL, else that in E2S_DATA_DIR), and takes in what the
        measured processes of this host still keep in their journals, so that crashed runs show, and what this process
        has measured up to now. While another process holds its lock the journals wait, and what is there can be read,
        with a warning.

        patience_s: how long a lock that somebody else holds is waited for, in seconds.

        Raises:
            LedgerError: it cannot be opened; the message names the URL (without its password) and the remedy.
        """
        if url is not None:
            return cls(connect(url, patience_s))
        options = settings()
        ledger = cls(connect(options.ledger, patience_s))
        journal.hold_nothing_back()
        try:
            replaying.replay(options.journals, cls(connect(options.ledger, min(patience_s, READERS_PATIENCE_S))))
        except LedgerBusyError:
            ledger.is_behind = True
            _log.warning("e2s: the newest records wait, and are not shown: another process holds the ledger's lock.")
        return ledger

    @property
    def url(self) -> str:
        """By which it can be opened anew, with its password."""
        return self._engine.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Give its connections back; the next use opens new ones."""
        self._engine.dispose()

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Quicker for several uses one after another: see `engine.kept_open`."""
        with kept_open(self._engine):
            yield

    def ingest(self, records: Iterable[Record], delivered: tuple[str, int] | None = None) -> None:
        """Keep the records, all or none. Idempotent: a span is replaced by a higher `seq` only, others never change.

        delivered: the process whose journal they are from, and how far (bytes) that is taken in with them.
        """
        rows = latest(records)
        if rows:
            get_ready(self._engine.dialect.name, rows)
            with reporting(self._engine, "cannot be written"), writing(self._engine) as connection:
                write(connection, rows, delivered)

    def delivered(self, process_id: str) -> int:
        """How far (bytes) the journal of a process has been taken in."""
        with self._reading() as connection:
            found = connection.execute(sa.select(delivery.c.position).where(delivery.c.process_id == process_id))
            return int(found.scalar() or 0)

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with reporting(self._engine, "cannot be read"), self._engine.connect() as connection:
            yield connection

    def runs(self, limit: int | None = 20, since: float | None = None) -> list[RunRow]:
        """Root runs, newest first: those that started at or after `since` (epoch seconds), `limit` at most."""
        with self._reading() as connection:
            return glances.latest(connection, limit, since)

    def known_runs(self, run_ids: Sequence[str]) -> list[RunRow]:
        """Those of these root runs that the ledger has, at a glance, in the order given."""
        with self._reading() as connection:
            return glances.known(connection, run_ids)

    def changes(self, since: int | None) -> changes.Changes:
        """The runs that were written to since an earlier answer's `until`; None: none, only that number."""
        with self._reading() as connection:
            return changes.since(connection, since)

    def root_runs(self, run_ids: Iterable[str] | None = None) -> dict[str, str]:
        """The root run that each run id belongs to; None: all root runs, the oldest first."""
        with self._reading() as connection:
            if run_ids is not None:
                return root_runs(connection, run_ids)
            found = connection.execute(glances.roots().order_by(span.c.started_at, span.c.run_id)).scalars()
            return {run_id: run_id for run_id in found}

    def spent(self, run_ids: Iterable[str]) -> list[RunRecords]:
        """What tells the energy and emissions of root runs: their spans, processes and decisions, without the rest."""
        with self._reading() as connection:
            return runs.records_of(connection, run_ids, None, runs.SPENT)

    def runs_of(self, solution: str, since: float | None = None) -> Iterator[RunRecords]:
        """The root runs of a solution that started at or after `since` (epoch seconds), the oldest first.

        Their versions have no numbers.

        Raises:
            NotFoundError: no run of that solution is known, at any time; `suggestions` holds near matches.
        """
        origins = Origins()
        with self._reading() as connection:
            for chunk in chunks(finding.of_solution(connection, solution, since), AT_ONCE):
                yield from runs.records_of(connection, chunk, origins)

    def period(self, since: float) -> list[str]:
        """The ids of the root runs that started at or after `since` (epoch seconds), the oldest first."""
        with self._reading() as connection:
            return in_period(connection, since)

    def in_brief(self, run_ids: Iterable[str]) -> Iterator[RunRecords]:
        """Root runs as sums need them: their processes, decisions and spans; of these no bytes, rows and CPU times."""
        with self._reading() as connection:
            yield from in_brief(connection, run_ids)

    def samples(self, run_ids: list[str]) -> Iterator[RunRecords]:
        """Of each root run its processes, and spans enough to say whether parts of its energy are missing."""
        with self._reading() as connection:
            yield from samples(connection, run_ids)

    def run(self, run_id: str) -> RunRecords:
        """Everything known of one root run, with the flow runs that belong to it.

        Raises:
            NotFoundError: no span of such a run is known.
        """
        with self._reading() as connection:
            return runs.records(connection, run_id)

    def loader(self) -> Callable[[Collection[str], int], list[RunRecords]]:
        """Loads many root runs at once, as far as there are any, and so many others that they probably read from."""
        origins = Origins()
        known: set[str] = set()

        def load(run_ids: Collection[str], ahead: int) -> list[RunRecords]:
            with self._reading() as connection:
                others = read_from(connection, run_ids, ahead) - known if ahead else set()
                known.update(run_ids, others)
                return runs.records_of(connection, [*run_ids, *others.difference(run_ids)], origins)

        return load

    def as_written(self, run_id: str) -> RunRecords:
        """The spans and processes of one root run alone, and without the parents that `run` finds for spans.

        Raises:
            NotFoundError: no span of such a run is known.
        """
        with self._reading() as connection:
            return runs.as_written(connection, run_id)

    def marks(self, run_id: str) -> list[SpanRecord]:
        """What others than their processes have told of how attempts of a run ended (`Kind.MARK`)."""
        return [one for one in self.as_written(run_id).spans if one.kind == Kind.MARK]

    def find_run(self, text: str | None = None) -> str:
        """The root run of a run id, the unique start of one, or a flow run's name; None: the latest root run.

        Raises:
            NotFoundError: there is none, or several; `suggestions` holds near matches.
        """
        with self._reading() as connection:
            return finding.find(connection, text)

    def learned(self, flow: str) -> Learned | None:
        """What the latest completed runs of a flow teach of its length and energy; None while there are too few."""
        with self._reading() as connection:
            return learned(connection, flow)

    def learned_step(self, flow: str, step: str) -> Learned | None:
        """What the latest completed attempts of a flow's step teach, see `ledger.learned`."""
        with self._reading() as connection:
            return learned_step(connection, flow, step)

    def latest_policy(self, flow: str) -> dict[str, Any] | None:
        """The carbon policy of the flow's latest run that had one, as its decision holds it; None without one.

        Raises:
            NotFoundError: no flow of that name has run.
        """
        with self._reading() as connection:
            return latest_policy(connection, flow)

    def latest_zone(self, flow: str) -> str | None:
        """The grid zone that the flow's latest run with one looked at, with a policy or without; None without one."""
        with self._reading() as connection:
            return latest_zone(connection, flow)

    def step_decisions(self, run_id: str, step: str) -> list[DecisionRecord]:
        """The decisions for one step of a root run, the earliest first."""
        with self._reading() as connection:
            return runs.step_decisions(connection, run_id, step)

    def ended(self, run_id: str, task_keys: Iterable[str]) -> float | None:
        """When the last attempt of these tasks in a root run ended (epoch seconds); None where none is known to."""
        with self._reading() as connection:
            return runs.ended(connection, run_id, task_keys)

    def root_run(self, run_id: str) -> str:
        """The root run that a run id belongs to: itself, or that of the flow run whose process recorded under it."""
        with self._reading() as connection:
            return root_runs(connection, [run_id])[run_id]

    def version_numbers(self, version_ids: Iterable[str]) -> dict[str, int]:
        """The number of each version: its rank, 1 the first, among the versions of its URI."""
        with self._reading() as connection:
            return of_artifacts.numbers(connection, version_ids)

    def versions(self, uri: str) -> list[VersionRecord]:
        """The versions of an artifact, the first one first."""
        with self._reading() as connection:
            return of_artifacts.versions(connection, uri)

    def find_artifact(self, text: str) -> str:
        """The URI of an artifact named by its URI or path, else by the end of either or as an orchestrator calls it.

        Raises:
            NotFoundError: there is none, or several; `suggestions` holds these, or near matches.
        """
        with self._reading() as connection:
            return of_artifacts.find(connection, text)

    def artifacts_ending(self, text: str) -> list[str]:
        """The URIs that end in this, as they are or as the paths that they name; the one written last is the first."""
        with self._reading() as connection:
            return of_artifacts.ending(connection, text)

    def latest_version(self, uri: str, before: float | None = None) -> VersionRecord | None:
        """The last version, at the time `before`, of the URI or of a data set that holds it; None: external."""
        with self._reading() as connection:
            return of_artifacts.latest_version(connection, uri, before)

    def producers(self, result_key: str) -> list[SpanRecord]:
        """The completed attempts that produced a persisted result, the one that ended last at the end."""
        with self._reading() as connection:
            return runs.producers(connection, result_key)

    def spans(
        self,
        run: str | None = None,
        *,
        since: "Moment | None" = None,
        until: "Moment | None" = None,
        solution: str | None = None,
        kind: "Texts | None" = None,
        name: "Texts | None" = None,
        status: "Texts | None" = None,
        to: "To" = "pandas",
    ) -> "pd.DataFrame | Any":
        """Spans in the order of their starts, as a DataFrame or an Arrow table; docs/ledger.md lists the columns.

        Energies are exclusive, in joules: they add up over any choice of spans. run: as `find_run` takes it, with its
        subflows. since, until: the span starts at or after the one and before the other; without a time zone in UTC.
        kind, name, status: one or several; * stands for anything.

        Raises:
            NotFoundError: there is no such run.
            SettingError: a time cannot be read, `until` lies before `since`, a kind or status is none, or `to` is
                neither "pandas" nor "arrow".
        """
        from e2s_tasks.ledger import frames

        frames.check(to)
        frames.check_words("kind", kind, Kind)
        frames.check_words("status", status, Status)
        with self._reading() as connection:
            found = frames.spans(connection, run, since, until, solution, kind=kind, name=name, status=status)
        return frames.given(found, to)

    def artifacts(
        self,
        uri: "Texts | None" = None,
        *,
        run: str | None = None,
        since: "Moment | None" = None,
        until: "Moment | None" = None,
        to: "To" = "pandas",
    ) -> "pd.DataFrame | Any":
        """Artifact versions in the order of their writes, as a DataFrame or an Arrow table; see docs/ledger.md.

        uri: one or several URIs or paths; * stands for anything. since, until: when the version was written.

        Raises:
            NotFoundError: there is no such run.
            SettingError: a time cannot be read, `until` lies before `since`, or `to` is neither "pandas" nor "arrow".
        """
        from e2s_tasks.ledger import frames

        frames.check(to)
        with self._reading() as connection:
            found = frames.versions(connection, uri, run, since, until)
        return frames.given(found, to)

    def flow_runs(
        self,
        run: str | None = None,
        *,
        since: "Moment | None" = None,
        until: "Moment | None" = None,
        solution: "Texts | None" = None,
        name: "Texts | None" = None,
        status: "Texts | None" = None,
        to: "To" = "pandas",
    ) -> "pd.DataFrame | Any":
        """Root runs in the order of their starts, each with the energy of all its spans; see docs/ledger.md.

        name: the flow's; measured work outside any flow is a run of its own, under its own name. since, until: when the
        run started. solution, name, status: one or several; * stands for anything.

        Raises:
            NotFoundError: there is no such run.
            SettingError: a time cannot be read, `until` lies before `since`, a kind or status is none, or `to` is
                neither "pandas" nor "arrow".
        """
        from e2s_tasks.ledger import frames

        frames.check(to)
        frames.check_words("status", status, Status)
        with self._reading() as connection:
            found = frames.flow_runs(connection, run, since, until, status, solution=solution, name=name)
        return frames.given(found, to)

    def export(
        self, folder: "Path | str", since: "Moment | None" = None, until: "Moment | None" = None
    ) -> "list[Exported]":
        """Write the days from `since` on to the one before `until` (UTC; all by default) as Parquet: docs/ledger.md.

        Raises:
            SettingError: a day cannot be read, no day lies between them, the folder cannot be written, or another
                export writes to it.
        """
        from e2s_tasks.ledger.export import export

        with reporting(self._engine, "cannot be read"):
            return export(self._engine, folder, since, until)

    def prune(
        self, keep_s: float, *, dry_run: bool = False, told: Callable[[int, int], None] | None = None
    ) -> "Pruned":
        """Fold the inner spans of runs that ended more than `keep_s` seconds ago into the attempts around them.

        What runs and artifacts cost stays as it was; docs/ledger.md says what is lost. Safe beside writers and readers,
        and when it is interrupted. told: is called now and then with how many inner spans have been looked at, and of
        how many.
        """
        from e2s_tasks.ledger.retention import prune

        with reporting(self._engine, "cannot be pruned"):
            return prune(self._engine, keep_s, dry_run=dry_run, told=told)
