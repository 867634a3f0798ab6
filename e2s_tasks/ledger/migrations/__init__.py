"""Brings a ledger's tables to the version that this package reads and writes."""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0005"
_LOCK = 0x653273  # PostgreSQL's advisory lock for migrations of this ledger: "e2s"


def version_of(connection: sa.Connection) -> str | None:
    """The version of the ledger's tables; None for a database without a ledger."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return version


def upgrade(connection: sa.Connection) -> None:
    """Run the migrations that the database lacks, inside the connection's (write) transaction.

    Several processes may do this at once: the second one waits, and finds nothing left to do.
    """
    if connection.dialect.name == "postgresql":  # SQLite's write transaction is exclusive by itself
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if version_of(connection) == HEAD:
        return
    from alembic import command

    config = configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def configuration() -> "Config":
    """Alembic's configuration for this package's migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
