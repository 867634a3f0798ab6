"""The ledger: what every measured process recorded, kept in SQLite or PostgreSQL, and the journals on their way in."""

from typing import TYPE_CHECKING, Any

from e2s_tasks.ledger.journal import Journal, alive, journal_path, this_process

if TYPE_CHECKING:
    from e2s_tasks.ledger.glances import RunRow
    from e2s_tasks.ledger.ledger import Ledger
    from e2s_tasks.ledger.replaying import read_journal, replay

__all__ = ["Journal", "Ledger", "RunRow", "alive", "journal_path", "read_journal", "replay", "this_process"]


def __getattr__(name: str) -> Any:
    """What reads, on first use: a measured process journals without loading SQLAlchemy."""
    if name == "Ledger":
        from e2s_tasks.ledger.ledger import Ledger

        return Ledger
    if name == "RunRow":
        from e2s_tasks.ledger.glances import RunRow

        return RunRow
    if name in {"read_journal", "replay"}:
        from e2s_tasks.ledger import replaying

        return getattr(replaying, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
