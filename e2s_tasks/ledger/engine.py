"""Opens the ledger's database: SQLite or PostgreSQL, with its tables at the version that this package knows."""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from e2s_tasks.errors import E2SError, LedgerBusyError, LedgerError
from e2s_tasks.ledger.forks import open_until_a_fork, unforked
from e2s_tasks.ledger.migrations import HEAD, UnknownVersionError, upgrade, version_of

BUSY_TIMEOUT_S = 10.0
CONNECT_S = 2.0  # a host that is there answers by then, and the drivers know no shorter limit
_WRITES = "e2s_writes"
_REMEDY = "Set E2S_LEDGER_URL to a database that can be written, e.g. sqlite:////path/ledger.db."


def connect(url: str, patience_s: float = BUSY_TIMEOUT_S) -> sa.Engine:
    """The engine of a ledger whose tables are up to date; the database and its directory are made if missing.

    patience_s: how long a lock that somebody else holds is waited for, in seconds.

    Raises:
        LedgerError: it cannot be opened; the message names the URL (without its password) and the remedy.
    """
    engine = _engine(url, patience_s)
    with reporting(engine, "cannot be opened"):
        with engine.connect() as connection:
            current = version_of(connection)
        if current != HEAD:
            _upgrade(engine, patience_s)
    return engine


@contextmanager
def reporting(engine: sa.Engine, problem: str) -> Iterator[None]:
    """Turn what the database raises in a block into a LedgerError that names the URL and the remedy.

    Whatever thread it is on, no other one forks meanwhile.
    """
    try:
        with unforked():
            yield
    except E2SError:  # some of which are ValueErrors, and have said what is wrong
        raise
    except (SQLAlchemyError, OSError, ValueError, OverflowError) as error:
        raise _error(shown(engine.url), problem, error) from error


@contextmanager
def writer(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection whose transactions take the write lock at their start, so that they can wait without a deadlock."""
    with engine.connect().execution_options(**{_WRITES: True}) as connection:
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One such transaction."""
    with writer(engine) as connection, connection.begin():
        yield connection


@contextmanager
def kept_open(engine: sa.Engine) -> Iterator[None]:
    """A block of several uses, at whose end alone a file of SQLite's takes in what was written.

    At the end of each its last user would, and hold the lock until the disk has it: three to fifteen times as long.
    """
    if not isinstance(engine.pool, NullPool):
        yield
        return
    with ExitStack() as block:
        with reporting(engine, "cannot be read"):
            connection = engine.connect()
            block.enter_context(open_until_a_fork(connection.close))
            with connection.begin():
                connection.exec_driver_sql("PRAGMA user_version")  # the file is opened at its first use
        yield


def _error(url: str, problem: str, error: Exception) -> LedgerError:
    cause = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
    if "is locked" in cause or "lock timeout" in cause:
        return LedgerBusyError(
            f"The ledger {url} {problem}: another process holds its lock ({cause}). Try again later."
        )
    return LedgerError(f"The ledger {url} {problem}: {cause}. {_REMEDY}")


def _engine(url: str, patience_s: float) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise LedgerError(f"The ledger URL {_without_password(url)!r} cannot be understood. {_REMEDY}") from None
    told = shown(parsed)
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise _unsupported(told)
    try:
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed, patience_s)
        engine = _postgresql(parsed, patience_s)
    except ImportError as error:
        raise _error(told, f"needs a driver that is not installed (pip install {_driver(parsed)})", error) from error
    except (NoSuchModuleError, ArgumentError, OSError) as error:
        raise _error(told, "cannot be opened", error) from error
    if engine.dialect.name != "postgresql" or engine.dialect.is_async:
        raise _unsupported(told)
    return engine


def _unsupported(told: str) -> LedgerError:
    return LedgerError(f"The ledger {told} cannot be used: only sqlite and postgresql+psycopg can. {_REMEDY}")


def _driver(url: sa.URL) -> str:
    driver = url.drivername.partition("+")[2]
    return "'e2s-tasks[postgresql]'" if driver in ("", "psycopg") else driver


def _postgresql(url: sa.URL, patience_s: float) -> sa.Engine:
    """Its engine; each wait is bounded: for a host that is gone, for a connection that broke, and for a lock."""
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    limits: dict[str, Any] = {}
    if url.get_driver_name() in ("psycopg", "psycopg2"):  # these hand on what libpq knows
        connect_s = max(CONNECT_S, patience_s)
        limits = {
            "connect_timeout": math.ceil(connect_s),
            "tcp_user_timeout": math.ceil(connect_s * 1000),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        }
        limits = {name: value for name, value in limits.items() if name not in url.query}
    engine = sa.create_engine(url, connect_args=limits, pool_size=1, pool_pre_ping=True)
    sa.event.listen(engine, "begin", partial(_begin_postgresql, patience_s))
    return engine


def _begin_postgresql(patience_s: float, connection: sa.Connection) -> None:
    if connection.get_execution_options().get(_WRITES):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {math.ceil(patience_s * 1000)}")


def shown(url: sa.URL) -> str:
    """The URL without its password: in its place, in the query, or before an "@" that was not encoded."""
    host = url.host.rpartition("@")[2] if url.host else url.host
    return url.set(host=host, query={}).render_as_string()


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]


def _sqlite(url: sa.URL, patience_s: float) -> sa.Engine:
    in_memory = url.database in (None, "", ":memory:")
    if not in_memory and not str(url.database).startswith("file:"):
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    # No pool for files: a connection costs 0.1 ms, and one that is kept must not cross a fork.
    engine = sa.create_engine(url, **({} if in_memory else {"poolclass": NullPool}))
    sa.event.listen(engine, "connect", partial(_prepare_sqlite, patience_s))
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(patience_s: float, connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, also around DDL
    connection.execute(f"PRAGMA busy_timeout = {int(patience_s * 1000)}")
    connection.execute("PRAGMA synchronous = NORMAL")


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _upgrade(engine: sa.Engine, patience_s: float) -> None:
    if engine.dialect.name == "sqlite":
        _use_wal(engine, patience_s)
    try:
        with writing(engine) as connection:
            upgrade(connection)
    except UnknownVersionError as error:
        url = shown(engine.url)
        raise LedgerError(
            f"The ledger {url} is from another version of e2s-tasks ({error}). Upgrade e2s-tasks."
        ) from error


def _use_wal(engine: sa.Engine, patience_s: float) -> None:
    """Readers and a writer side by side. SQLite does not wait for this lock by itself, so several first users retry."""
    give_up = time.monotonic() + patience_s
    while True:
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise OperationalError("PRAGMA journal_mode = WAL", None, error) from error
            time.sleep(0.02)
        else:
            return
        finally:
            connection.close()
