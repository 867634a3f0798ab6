"""Questions about artifacts: their versions, and which version a read saw."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import sqlalchemy as sa

from e2s_tasks.core.records import ReadRecord, RunRecords, VersionRecord
from e2s_tasks.errors import NotFoundError
from e2s_tasks.ledger.query import chunks, select, select_in
from e2s_tasks.ledger.tables import version


def age(one: VersionRecord) -> tuple[float, str]:
    """What orders the versions of an artifact."""
    return one.created_at, one.id


def versions(connection: sa.Connection, uri: str) -> list[VersionRecord]:
    """The versions of an artifact, the first one first."""
    return sorted(select(connection, VersionRecord, version.c.uri == uri), key=age)


def named(texts: Iterable[str]) -> list[str]:
    """The URIs that the texts name if they are paths."""
    paths = [Path(text).expanduser().absolute() for text in texts if "://" not in text]
    return [uri for path in paths for uri in (path.as_uri(), f"file://{path}")]


def find(connection: sa.Connection, text: str) -> str:
    """The URI of an artifact named by its URI, its path, or the unique end of either.

    Raises:
        NotFoundError: there is none, or several; `suggestions` holds near matches.
    """
    exact = [text, text.rstrip("/"), *named([text])]
    known = set(connection.execute(sa.select(version.c.uri).where(version.c.uri.in_(exact)).distinct()).scalars())
    for uri in exact:
        if uri in known:
            return uri
    uris: list[str] = sorted(connection.execute(sa.select(version.c.uri).distinct()).scalars())
    ending = "/" + text.strip("/")
    found = [uri for uri in uris if uri.rstrip("/").endswith(ending)] if ending != "/" else []
    if len(found) == 1:
        return found[0]
    if found:
        raise NotFoundError(f"{text!r} could be any of {len(found)} artifacts. Give more of the path.", found[:5])
    by_name = {name: uri for uri in uris for name in (uri, uri.rstrip("/").rpartition("/")[2])}
    near = list(dict.fromkeys(by_name[name] for name in get_close_matches(text, by_name, n=3, cutoff=0.5)))
    hint = f"Did you mean {' or '.join(near)}?" if near else "`e2s show` lists the artifacts of a run."
    raise NotFoundError(f"No artifact {text!r} is in the ledger. {hint}", near)


def latest_version(connection: sa.Connection, uri: str, before: float | None) -> VersionRecord | None:
    """The last version, at the time `before`, of the URI or of a data set that holds it; None: external."""
    query = sa.select(version).where(version.c.uri.in_(holders(uri)))
    if before is not None:
        query = query.where(version.c.created_at <= before)
    row = connection.execute(query.order_by(version.c.created_at.desc(), version.c.id.desc()).limit(1)).first()
    return None if row is None else VersionRecord(*row)


def holders(uri: str) -> list[str]:
    """The URI, and every directory above it: a part of a data set is explained by the data set's version."""
    scheme, separator, path = uri.partition("://")
    root = scheme + separator if separator else ""
    parts = (path if separator else uri).rstrip("/").split("/")
    above = [root + "/".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return list(dict.fromkeys([uri, *(holder for holder in above if holder != root)]))


def explain_reads(connection: sa.Connection, run: RunRecords) -> None:
    """Name the version that each read saw, where a measured write explains it, and number the run's versions.

    A read of a data set whose parts were written one by one saw several: it becomes one read of each.
    """
    seen = {read.version_id for read in run.reads if read.version_id is not None}
    uris = {one.uri for one in (*run.versions, *select_in(connection, VersionRecord, version.c.id, seen))}
    unexplained = [read for read in run.reads if read.version_id is None]
    whole = {read.uri.rstrip("/") for read in unexplained}
    uris |= {holder for read in unexplained for holder in holders(read.uri)} | _parts(connection, whole)
    history = _history(select_in(connection, VersionRecord, version.c.uri, uris))
    parts: dict[str, list[str]] = defaultdict(list)
    for uri in history:
        for holder in whole.intersection(holders(uri)[1:]):
            parts[holder].append(uri)
    run.version_numbers = {one.id: number for of_uri in history.values() for number, one in enumerate(of_uri, start=1)}
    run.reads = [one for read in run.reads for one in _explained(read, parts[read.uri.rstrip("/")], history)]


def _parts(connection: sa.Connection, whole: Iterable[str]) -> set[str]:
    """The artifacts that lie below one of the URIs."""
    found: set[str] = set()
    for chunk in chunks(whole, 100):
        below = sa.or_(*(_is_below(connection, uri) for uri in chunk))
        found.update(connection.execute(sa.select(version.c.uri).where(below).distinct()).scalars())
    return found


def _is_below(connection: sa.Connection, uri: str) -> sa.ColumnElement[bool]:
    if connection.dialect.name == "sqlite":  # a range that its index serves; "0" is what follows "/"
        return sa.and_(version.c.uri > f"{uri}/", version.c.uri < f"{uri}0")
    return version.c.uri.startswith(f"{uri}/", autoescape=True)  # elsewhere, text is ordered by the locale


def _history(found: Iterable[VersionRecord]) -> dict[str, list[VersionRecord]]:
    history: dict[str, list[VersionRecord]] = defaultdict(list)
    for one in sorted(found, key=age):
        history[one.uri].append(one)
    return history


def _explained(read: ReadRecord, parts: list[str], history: dict[str, list[VersionRecord]]) -> list[ReadRecord]:
    """The read, once for each version that it saw: the data set's, and those of parts that were written after it."""
    if read.version_id is not None:
        return [read]
    whole = max(_before(read.at, holders(read.uri), history), key=age, default=None)
    later = [one for one in _before(read.at, parts, history) if whole is None or age(one) > age(whole)]
    seen = ([whole] if whole else []) + sorted(later, key=age)
    if not seen:
        return [read]
    ids = [read.id, *(f"{read.id}/{number}" for number in range(1, len(seen)))]
    return [replace(read, id=own_id, version_id=one.id) for own_id, one in zip(ids, seen, strict=True)]


def _before(at: float, uris: Iterable[str], history: dict[str, list[VersionRecord]]) -> Iterator[VersionRecord]:
    """The last version of each artifact at a time."""
    for uri in uris:
        of_uri = history.get(uri, [])
        count = bisect_right(of_uri, at, key=lambda one: one.created_at)
        if count:
            yield of_uri[count - 1]
