"""What `prune` has folded, and indexes that find runs by age, by name and by the start of their ids."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
ROOT, FLOW = sa.text("parent_id IS NULL"), sa.text("kind = 'flow'")


def upgrade() -> None:
    """Create the table and the indexes."""
    op.create_table(
        "pruned",
        sa.Column("process_id", sa.Text(), primary_key=True),
        sa.Column("run_id", sa.Text(), primary_key=True),
        sa.Column("until", sa.Double(), nullable=False),
    )
    op.create_index("span_root_started_at", "span", ["started_at"], sqlite_where=ROOT, postgresql_where=ROOT)
    if op.get_bind().dialect.name == "sqlite":
        name = sa.text("json_extract(attributes, '$.flow_run_name')")
        op.create_index("span_flow_run_name", "span", [name], sqlite_where=FLOW)
    else:  # whose usual indexes know the order of a language, not the start of a text
        name = sa.text("(attributes ->> 'flow_run_name')")
        op.create_index("span_flow_run_name", "span", [name], postgresql_where=FLOW)
        _create_start_index("span_root_start", "span", "run_id", ROOT)
        _create_start_index("span_flow_start", "span", "flow_run_id", FLOW)
        _create_start_index("version_uri_start", "version", "uri", None)


def _create_start_index(name: str, table: str, column: str, where: sa.TextClause | None) -> None:
    op.create_index(name, table, [sa.text(f"{column} text_pattern_ops")], postgresql_where=where)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("span_root_started_at", "span")
    op.drop_index("span_flow_run_name", "span")
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("span_root_start", "span")
        op.drop_index("span_flow_start", "span")
        op.drop_index("version_uri_start", "version")
    op.drop_table("pruned")
