"""What runs have from elsewhere: the version that each read saw, and the attempt that made each reused result."""

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from math import inf
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from e2s_tasks.core.records import Kind, ReadRecord, RunRecords, Seen, SpanRecord, Status, VersionRecord
from e2s_tasks.ledger.artifacts import holders
from e2s_tasks.ledger.query import chunks, starts_with
from e2s_tasks.ledger.tables import call, read, span, version

Stamp = tuple[int | None, int | str | None]  # of a file: bytes, and its modification time or ETag
IS_FLOW = span.c.kind == sa.literal_column(f"'{Kind.FLOW}'")  # as written in the partial index


@dataclass(frozen=True, slots=True)
class _Version:
    """A version as far as finding out who saw it goes. files_text: its `written`, as JSON."""

    id: str
    uri: str
    run_id: str
    created_at: float
    files: int | None
    files_text: str | None

    def written(self) -> dict[str, Stamp] | None:
        """The files that the write made, by their full names; None: not known, all of it may be new."""
        listed = json.loads(self.files_text) if self.files_text else None
        return None if listed is None else _by_name(self.uri, listed)


def _by_name(uri: str, listed: Iterable[Sequence[Any]]) -> dict[str, Stamp]:
    top = uri.rstrip("/")
    written = quote if top.startswith("file:") else str  # as the URIs of local files are
    return {f"{top}/{written(path)}" if path else top: (size, stamp) for path, size, stamp in listed}


def _age(one: "_Version | VersionRecord") -> tuple[float, str]:
    """What orders the versions of an artifact."""
    return one.created_at, one.id


class _Own:
    """The versions that a run itself has written, by their URI, and when it began again."""

    def __init__(self, run: RunRecords) -> None:
        self._versions: dict[str, list[VersionRecord]] = defaultdict(list)
        for one in sorted(run.versions, key=_age):
            self._versions[one.uri].append(one)
        self._began_again = run.began_again if self._versions else []

    def last(self, uri: str, at: float) -> VersionRecord | None:
        """The last one of an artifact at a time, if it is of the life that the run was in then."""
        mine = self._versions.get(uri, ())
        before = bisect_right(mine, at, key=lambda one: one.created_at)
        lives = bisect_right(self._began_again, at)
        began = self._began_again[lives - 1] if lives else -inf
        return mine[before - 1] if before and mine[before - 1].created_at >= began else None


class Origins:
    """Finds them for any number of runs; the versions of an artifact are loaded once."""

    def __init__(self) -> None:
        self._history: dict[str, list[_Version]] = {}
        self._parts: dict[str, list[str]] = {}

    def explain(self, connection: sa.Connection, runs: Sequence[RunRecords]) -> None:
        """Name the version that each read saw, where a measured write explains it, and where reused results are from.

        A read that saw several becomes one read of each; so does what no write explains. Where files are not known,
        what the run itself wrote under a name comes before what others, which went on at the same time, wrote later;
        once it begins again, it sees what is there then.
        """
        self._load(connection, [read for run in runs for read in run.reads if read.version_id is None])
        for run in runs:
            own = _Own(run)
            run.reads = [one for read in run.reads for one in self._explained(read, own)]
        self._name_writers(connection, runs)
        _name_producers(connection, runs)

    # -- versions that were read ------------------------------------------------------------------------------------

    def _load(self, connection: sa.Connection, reads: list[ReadRecord]) -> None:
        """Load the versions of all artifacts that the reads may have seen."""
        whole = {read.uri.rstrip("/") for read in reads if not _single(read)} - self._parts.keys()
        parts = _parts(connection, whole)
        for uri in whole:
            self._parts[uri] = []
        for uri in parts:
            for holder in whole.intersection(holders(uri)[1:]):
                self._parts[holder].append(uri)
        wanted = {holder for read in reads for holder in holders(read.uri)} | parts
        new = wanted - self._history.keys()
        self._history.update((uri, []) for uri in new)
        for chunk in chunks(new):
            for row in connection.execute(_VERSIONS.where(version.c.uri.in_(chunk))):
                self._history[row.uri].append(_Version(*row))
        for uri in new:
            self._history[uri].sort(key=_age)

    def _explained(self, read: ReadRecord, own: _Own) -> list[ReadRecord]:
        if read.version_id is not None:
            return [read]
        if read.files is not None:
            seen = self._of_files(read)
        else:
            seen = [(one, False) for one in self._last(read, own)] or [(None, False)]
        return [
            replace(
                read,
                id=f"{read.id}/{number}" if number else read.id,
                version_id=one,
                files=read.files if made or one is None else None,
            )
            for number, (one, made) in enumerate(seen)
        ]

    def _last(self, read: ReadRecord, own: _Own) -> Iterator[str]:
        """The data set's last version, and those of parts that were written after it."""
        whole = max(self._latest(holders(read.uri), read.at, own), key=_age, default=None)
        if whole is not None:
            yield whole.id
        parts = self._latest(self._parts.get(read.uri.rstrip("/"), ()), read.at, own)
        yield from (one.id for one in sorted(parts, key=_age) if whole is None or _age(one) > _age(whole))

    def _latest(self, uris: Iterable[str], at: float, own: _Own) -> Iterator["_Version | VersionRecord"]:
        """The last version of each artifact at a time; the run's own last one where its name alone is known."""
        for uri in uris:
            mine = own.last(uri, at)
            count = self._count(uri, at)
            if mine is not None and mine.is_known_by_name:
                yield mine
            elif count:
                yield self._history[uri][count - 1]

    def _count(self, uri: str, at: float) -> int:
        return bisect_right(self._history.get(uri, ()), at, key=lambda one: one.created_at)

    def _of_files(self, read: ReadRecord) -> list[tuple[str | None, bool]]:
        """The versions whose files were opened, the newest first, and None if no measured write explains one of them.

        With each, whether the files were made by its own write for certain, and not kept by it.
        A file that is of another size or time than it was written with has been changed by somebody else since.
        """
        opened = _by_name(read.uri, read.files or ())
        seen: list[tuple[str | None, bool]] = []
        external = False
        for one in self._before(read):
            if not opened:
                break
            written = one.written()
            made = opened.keys() & written.keys() if written is not None else _inside(opened, one.uri)
            same = [name for name in made if written is None or _same(opened[name], written[name])]
            if same:
                seen.append((one.id, written is not None))
            gone = set()
            if written is not None and one.files is not None and one.files <= len(written):  # nothing was kept
                gone = _inside(opened, one.uri) - made
            external |= len(same) < len(made) or bool(gone)
            for name in made | gone:
                del opened[name]
        return [*seen, (None, False)] if external or opened else seen

    def _before(self, read: ReadRecord) -> Iterator[_Version]:
        """The versions that the opened files may be of, the newest first."""
        uris = {*holders(read.uri), *self._parts.get(read.uri.rstrip("/"), ())}
        return merge(*(self._back(uri, read.at) for uri in uris), key=_age, reverse=True)

    def _back(self, uri: str, at: float) -> Iterator[_Version]:
        """The versions of an artifact at a time, the newest first."""
        for number in range(self._count(uri, at) - 1, -1, -1):
            yield self._history[uri][number]

    def _name_writers(self, connection: sa.Connection, runs: Sequence[RunRecords]) -> None:
        run_of = {one.id: one.run_id for past in self._history.values() for one in past}
        foreign = {}
        for run in runs:
            own = {one.id for one in run.versions}
            foreign[run.run_id] = {read.version_id for read in run.reads if read.version_id} - own
        told = {one for of_run in foreign.values() for one in of_run if one not in run_of}
        for chunk in chunks(told):
            rows = connection.execute(sa.select(version.c.id, version.c.run_id).where(version.c.id.in_(chunk)))
            run_of.update((row.id, row.run_id) for row in rows)
        ids = {one for of_run in foreign.values() for one in of_run if one in run_of}
        roots = root_runs(connection, {run_of[one] for one in ids})
        for run in runs:
            run.writers = {one: roots[run_of[one]] for one in foreign[run.run_id] if one in run_of}
        _describe(connection, [run for run in runs if run.outcomes])


def _describe(connection: sa.Connection, runs: Sequence[RunRecords]) -> None:
    """Say of runs what versions of others they read, without their files."""
    ids = {one for run in runs for one in run.writers}
    known = {}
    query = sa.select(*_DESCRIBED, span.c.stage).outerjoin(span, span.c.id == version.c.span_id)
    for chunk in chunks(ids):
        for *values, stage in connection.execute(query.where(version.c.id.in_(chunk))):
            one = VersionRecord(**dict(zip((column.name for column in _DESCRIBED), values, strict=True)))
            known[one.id] = Seen(one, stage)
    for run in runs:
        run.seen = {one: known[one] for one in run.writers if one in known}


_DESCRIBED = [column for column in version.columns if column.name != "written"]
_VERSIONS = sa.select(
    version.c.id,
    version.c.uri,
    version.c.run_id,
    version.c.created_at,
    version.c.files,
    sa.cast(version.c.written, sa.Text).label("files_text"),
)


def _single(read: ReadRecord) -> bool:
    return read.files is not None and len(read.files) == 1 and not read.files[0][0]


def _inside(names: Iterable[str], uri: str) -> set[str]:
    """The files at the URI or below it."""
    top = uri.rstrip("/")
    return {name for name in names if name == top or name.startswith(f"{top}/")}


def _same(opened: Stamp, written: Stamp) -> bool:
    return all(now == then or now is None or then is None for now, then in zip(opened, written, strict=True))


def _parts(connection: sa.Connection, whole: Iterable[str]) -> set[str]:
    """The artifacts that lie below one of the URIs."""
    found: set[str] = set()
    for chunk in chunks(whole):
        found.update(connection.execute(*_below(connection, chunk)).scalars())
    return found


def _below(connection: sa.Connection, uris: list[str]) -> tuple[Any, dict[str, Any]]:
    if connection.dialect.name == "sqlite":  # ranges that its index serves, however many; "0" is what follows "/"
        return _BELOW_SQLITE, {"uris": json.dumps(uris)}
    below = (starts_with(connection, version.c.uri, f"{uri}/") for uri in uris)
    return sa.select(version.c.uri).where(sa.or_(*below)).distinct(), {}


_BELOW_SQLITE = sa.text(
    "SELECT DISTINCT version.uri FROM json_each(:uris) AS whole JOIN version"
    " ON version.uri > whole.value || '/' AND version.uri < whole.value || '0'"
)


# -- results that were reused ---------------------------------------------------------------------------------------


def _name_producers(connection: sa.Connection, runs: Sequence[RunRecords]) -> None:
    """For each cached attempt, the completed one that had last made its result in another flow run."""
    cached = [(run, one) for run in runs for one in run.spans if one.status == Status.CACHED and one.result_key]
    made: dict[str, list[sa.Row[Any]]] = defaultdict(list)
    columns = (span.c.id, span.c.run_id, span.c.result_key, span.c.flow_run_id, span.c.ended_at)
    for chunk in chunks({str(one.result_key) for _, one in cached}):
        completed = sa.and_(span.c.result_key.in_(chunk), span.c.status == str(Status.COMPLETED))
        for row in connection.execute(sa.select(*columns).where(completed, span.c.ended_at.is_not(None))):
            made[row.result_key].append(row)
    found = {}
    for run, one in cached:
        producer = _producer(one, made[str(one.result_key)])
        if producer is not None:
            found[run.run_id, one.id] = producer
    roots = root_runs(connection, {row.run_id for row in found.values()})
    for run, one in cached:
        if (run.run_id, one.id) in found:
            row = found[run.run_id, one.id]
            run.producers[one.id] = roots[row.run_id], row.id


def _producer(cached: SpanRecord, made: Iterable[sa.Row[Any]]) -> "sa.Row[Any] | None":
    before = [row for row in made if row.ended_at <= cached.started_at and row.flow_run_id != cached.flow_run_id]
    return max(before, key=lambda row: (row.ended_at, row.id), default=None)


def read_from(connection: sa.Connection, run_ids: Iterable[str], most: int) -> set[str]:
    """Runs that wrote what the runs read, and what those read, and so on: the nearest, about as many as `most`.

    A guess that saves asking run by run: it knows neither data sets and their parts, nor reused results.
    """
    found: set[str] = set()
    for chunk in chunks(run_ids):
        reached = sa.select(read.c.run_id).where(read.c.run_id.in_(chunk)).cte("reached", recursive=True)
        writer, earlier = version.alias(), version.alias()
        last = (
            sa.select(sa.func.max(earlier.c.created_at))
            .where(earlier.c.uri == read.c.uri, earlier.c.created_at <= read.c.at)
            .scalar_subquery()
        )
        written = (
            sa.select(writer.c.run_id)
            .join(read, sa.and_(writer.c.uri == read.c.uri, writer.c.created_at == last))
            .join(reached, read.c.run_id == reached.c.run_id)
        )
        query = sa.select(reached.union(written).c.run_id).limit(len(chunk) + most)
        found.update(connection.execute(query).scalars())
    return found


def root_runs(connection: sa.Connection, run_ids: Iterable[str]) -> dict[str, str]:
    """The root run of each run id: itself, or that of what recorded a flow span of that id, or started it."""
    wanted = set(run_ids)
    above: dict[str, str] = {}
    asked: set[str] = set()
    frontier = wanted
    while frontier:
        asked |= frontier
        for chunk in chunks(frontier):
            of_another = sa.and_(span.c.flow_run_id.in_(chunk), span.c.run_id != span.c.flow_run_id)
            flows = sa.select(span.c.flow_run_id, span.c.run_id).where(IS_FLOW, of_another).distinct()
            above.update((row.flow_run_id, row.run_id) for row in connection.execute(flows))
            measured = sa.exists().where(IS_FLOW, span.c.flow_run_id == call.c.caller)
            calls = sa.select(call.c.id, call.c.caller).where(call.c.id.in_(chunk), measured)
            above.update((row.id, row.caller) for row in connection.execute(calls))
        frontier = set(above.values()) - asked
    return {run_id: _top(run_id, above) for run_id in wanted}


def _top(run_id: str, above: dict[str, str]) -> str:
    seen = {run_id}
    while above.get(run_id, run_id) not in seen:
        run_id = above[run_id]
        seen.add(run_id)
    return run_id
