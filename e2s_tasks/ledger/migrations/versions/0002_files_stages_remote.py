"""Files of versions and reads, content digests, life-cycle stages, and energy of work elsewhere."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; what is there already knows nothing of them."""
    op.add_column("span", sa.Column("stage", sa.Text(), nullable=True))
    op.add_column("span", sa.Column("remote_j", sa.Double(), nullable=True))
    op.add_column("version", sa.Column("content_digest", sa.Text(), nullable=True))
    op.add_column("version", sa.Column("written", sa.JSON(), nullable=True))
    op.add_column("read", sa.Column("files", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Drop the columns."""
    added = {"span": ("stage", "remote_j"), "version": ("content_digest", "written"), "read": ("files",)}
    for table, columns in added.items():
        for column in columns:
            op.drop_column(table, column)
