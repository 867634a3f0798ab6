"""Questions about artifacts: their versions, and which version a read saw."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from e2s_tasks.core.records import CALLED, Kind, VersionRecord
from e2s_tasks.errors import NotFoundError
from e2s_tasks.ledger.query import chunks, select
from e2s_tasks.ledger.tables import span, version
from e2s_tasks.near import hint, nearest

MOST_TOLD = 10  # artifacts that an error names


def age(one: VersionRecord) -> tuple[float, str]:
    """What orders the versions of an artifact."""
    return one.created_at, one.id


def versions(connection: sa.Connection, uri: str) -> list[VersionRecord]:
    """The versions of an artifact, the first one first."""
    return sorted(select(connection, VersionRecord, version.c.uri == uri), key=age)


def named(texts: Iterable[str]) -> list[str]:
    """The URIs that the texts name if they are paths on this machine, whatever steps back and links are in them."""
    given = [Path(_local(text)).expanduser() for text in texts if "://" not in text or text.startswith("file:")]
    paths = dict.fromkeys(
        path for one in given for path in (one.absolute(), Path(os.path.normpath(one.absolute())), one.resolve())
    )
    return [uri for path in paths for uri in (path.as_uri(), f"file://{path}")]


def _local(text: str) -> str:
    return unquote(urlsplit(text).path) if text.startswith("file:") else text


def find(connection: sa.Connection, text: str) -> str:
    """The URI of an artifact named by its URI or path, else by the end of either or as an orchestrator calls it.

    The latter are equal: it has to be the only one that either names.

    Raises:
        NotFoundError: there is none, or several; `suggestions` holds these, or near matches.
    """
    exact = [text, text.rstrip("/"), *named([text])]
    known = set(connection.execute(sa.select(version.c.uri).where(version.c.uri.in_(exact)).distinct()).scalars())
    for uri in exact:
        if uri in known:
            return uri
    found = list(dict.fromkeys([*ending(connection, text), *_called(connection, text)]))
    if len(found) == 1:
        return found[0]
    if found:
        told = ", ".join(found[:MOST_TOLD]) + (f" and {len(found) - MOST_TOLD} more" if found[MOST_TOLD:] else "")
        said = f"{text!r} could be any of {len(found)} artifacts: {told}. Give more of the path."
        raise NotFoundError(said, found[:MOST_TOLD])
    near = _near(text, connection.execute(sa.select(version.c.uri).distinct().order_by(version.c.uri)).scalars())
    raise NotFoundError(
        f"No artifact {text!r} is in the ledger. {hint(near, (), '`e2s show` lists the artifacts of a run.')}", near
    )


def ending(connection: sa.Connection, text: str) -> list[str]:
    """The URIs that end in this, as they are or as the paths that they name; the one written last is the first."""
    last = sa.select(version.c.uri).group_by(version.c.uri).order_by(sa.func.max(version.c.created_at).desc())
    end = "/" + text.strip("/")
    return [uri for uri in connection.execute(last).scalars() if _ends(uri, end)] if end != "/" else []


def _called(connection: sa.Connection, name: str) -> list[str]:
    """The URIs of artifacts that an orchestrator calls so, as the names of Airflow's assets."""
    told = span.c.attributes[CALLED].as_string()
    each = sa.select(told).where(span.c.kind == str(Kind.ATTEMPT), told.is_not(None)).distinct()
    uris = {uri for row in connection.execute(each).scalars() for called, uri in json.loads(row) if called == name}
    known = sa.select(version.c.uri).where(version.c.uri.in_(uris)).distinct().order_by(version.c.uri)
    return list(connection.execute(known).scalars()) if uris else []


def _near(text: str, uris: Iterable[str]) -> list[str]:
    """The URIs whose last part, or who as a whole, are most like the text."""
    by_name: dict[str, list[str]] = {}
    for uri in uris:
        for name in {uri, uri.rstrip("/").rpartition("/")[2]}:
            by_name.setdefault(name, []).append(uri)
    return list(dict.fromkeys(uri for name in nearest(text, by_name) for uri in by_name[name]))[:MOST_TOLD]


def _ends(uri: str, ending: str) -> bool:
    """Whether a URI ends so, as it is or as the path that it names."""
    bare = uri.rstrip("/")
    return bare.endswith(ending) or (bare.startswith("file:") and unquote(bare).endswith(ending))


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


def numbers(connection: sa.Connection, version_ids: Iterable[str]) -> dict[str, int]:
    """The number of each version: its rank, 1 the first, among the versions of its URI.

    Of each URI the first version is ranked, and those after it are counted on: a run may write thousands of one.
    """
    asked: dict[str, list[tuple[float, str]]] = defaultdict(list)
    columns = sa.select(version.c.created_at, version.c.id, version.c.uri)
    for chunk in chunks(version_ids):
        for created_at, id_, uri in connection.execute(columns.where(version.c.id.in_(chunk))):
            asked[uri].append((created_at, id_))
    first = {uri: min(of_uri) for uri, of_uri in asked.items()}
    found = _ranks(connection, [id_ for _, id_ in first.values()])
    for chunk in chunks(uri for uri, of_uri in asked.items() if len(of_uri) > 1):
        begin, end = min(first[uri] for uri in chunk)[0], max(max(asked[uri]) for uri in chunk)[0]
        during = columns.where(version.c.uri.in_(chunk), version.c.created_at.between(begin, end))
        ahead = {uri: found[first[uri][1]] for uri in chunk}
        for created_at, id_, uri in sorted(connection.execute(during).tuples()):
            if (created_at, id_) >= first[uri]:
                found[id_] = ahead[uri]
                ahead[uri] += 1
    return {id_: found[id_] for of_uri in asked.values() for _, id_ in of_uri}


def _ranks(connection: sa.Connection, version_ids: Iterable[str]) -> dict[str, int]:
    """The same by counting, of each version, all earlier ones."""
    earlier = version.alias()
    rank = (
        sa.select(sa.func.count())
        .where(earlier.c.uri == version.c.uri)
        .where(
            sa.or_(
                earlier.c.created_at < version.c.created_at,
                sa.and_(earlier.c.created_at == version.c.created_at, earlier.c.id <= version.c.id),
            )
        )
        .scalar_subquery()
    )
    found: dict[str, int] = {}
    for chunk in chunks(version_ids):
        rows = connection.execute(sa.select(version.c.id, rank).where(version.c.id.in_(chunk)))
        found.update((version_id, number) for version_id, number in rows)
    return found
