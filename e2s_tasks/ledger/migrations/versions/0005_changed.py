"""Which runs were written to last, so that who keeps sums over all runs reads those again alone."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table. Runs that are there already are in it once something more is written of them."""
    op.create_table(
        "changed",
        sa.Column("run_id", sa.Text(), primary_key=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
    )
    op.create_index("changed_number", "changed", ["number"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index("changed_number", "changed")
    op.drop_table("changed")
