"""Runs migrations on the connection, and in the transaction, that `upgrade` hands over."""

from alembic import context

from e2s_tasks.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
