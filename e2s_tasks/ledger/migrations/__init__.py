"""Brings a ledger's tables to the version that this package reads and writes."""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0005"
_LOCK = 0x653273  # PostgreSQL's advisory lock for migrations of this ledger: "e2s"


class UnknownVersionError(Exception):
    """The tables are at a version that this package does not know."""


def version_of(connection: sa.Connection) -> str | None:
    """The version of the ledger's tables; None for a database without a ledger."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return version


def upgrade(connection: sa.Connection) -> None:
    """Run the migrations that the database lacks, inside the connection's (write) transaction.

    Several processes may do this at once: the second one waits, and finds nothing left to do.

    Raises:
        UnknownVersionError: a later version of this package made the tables.
    """
    if connection.dialect.name == "postgresql":  # SQLite's write transaction is exclusive by itself
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    current = version_of(connection)
    if current == HEAD:
        return
    if current is None and connection.dialect.name == "sqlite":
        _create(connection)
        return
    from alembic import command
    from alembic.util import CommandError

    config = configuration()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise UnknownVersionError(str(error)) from error


def _create(connection: sa.Connection) -> None:
    """Make the tables of a new SQLite ledger as they are at the head: the migrations, and Alembic, take 150 ms more."""
    from e2s_tasks.ledger.tables import metadata

    metadata.create_all(connection, checkfirst=False)
    table = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))
    table.create(connection)
    connection.execute(table.insert(), {"version_num": HEAD})


def configuration() -> "Config":
    """Alembic's configuration for this package's migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
