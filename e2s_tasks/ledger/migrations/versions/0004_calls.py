"""Which flow runs other flow runs started in processes of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "call",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("task_run_id", sa.Text(), nullable=True),
    )
    op.create_index("call_caller", "call", ["caller"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("call")
