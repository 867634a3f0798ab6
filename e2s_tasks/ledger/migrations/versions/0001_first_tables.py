"""The first tables: processes, spans, artifact versions, reads, edges, outcomes and decisions."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table and index."""
    _create_process()
    _create_span()
    _create_version()
    _create_read()
    _create_edge()
    _create_outcome()
    _create_decision()
    _create_delivery()


def downgrade() -> None:
    """Drop every table."""
    for table in ("process", "span", "version", "read", "edge", "outcome", "decision", "delivery"):
        op.drop_table(table)


def _create_process() -> None:
    op.create_table(
        "process",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("start_ticks", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("static_policy", sa.Text(), nullable=False),
        sa.Column("sources", sa.JSON(), nullable=False),
    )


def _create_span() -> None:
    op.create_table(
        "span",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("process_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("flow_run_id", sa.Text(), nullable=True),
        sa.Column("task_run_id", sa.Text(), nullable=True),
        sa.Column("task_key", sa.Text(), nullable=True),
        sa.Column("attempt", sa.BigInteger(), nullable=True),
        sa.Column("solution", sa.Text(), nullable=True),
        sa.Column("cpu_ns", sa.BigInteger(), nullable=False),
        sa.Column("shared_cpu_ns", sa.BigInteger(), nullable=False),
        sa.Column("cpu_j", sa.Double(), nullable=True),
        sa.Column("dram_j", sa.Double(), nullable=True),
        sa.Column("gpu_j", sa.Double(), nullable=True),
        sa.Column("static_j", sa.Double(), nullable=True),
        sa.Column("storage_j", sa.Double(), nullable=True),
        sa.Column("network_j", sa.Double(), nullable=True),
        sa.Column("bytes_read", sa.BigInteger(), nullable=True),
        sa.Column("bytes_written", sa.BigInteger(), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("other_j", sa.Double(), nullable=True),
        sa.Column("idle_j", sa.Double(), nullable=True),
        sa.Column("result_key", sa.Text(), nullable=True),
        sa.Column("attributes", sa.JSON(), nullable=False),
    )
    op.create_index("span_flow", "span", ["flow_run_id", "run_id"], **_where("kind = 'flow'"))
    op.create_index("span_result_key", "span", ["result_key"], **_where("result_key IS NOT NULL"))
    op.create_index("span_root", "span", ["run_id", "started_at"], **_where("parent_id IS NULL"))
    op.create_index("span_run_id", "span", ["run_id"])
    op.create_index("span_started_at", "span", ["started_at"])


def _create_version() -> None:
    op.create_table(
        "version",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("span_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("format", sa.Text(), nullable=True),
        sa.Column("schema_digest", sa.Text(), nullable=True),
        sa.Column("files", sa.BigInteger(), nullable=True),
    )
    op.create_index("version_run_id", "version", ["run_id"])
    op.create_index("version_uri", "version", ["uri", "created_at"])


def _create_read() -> None:
    op.create_table(
        "read",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("span_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=True),
    )
    op.create_index("read_run_id", "read", ["run_id"])


def _create_edge() -> None:
    op.create_table(
        "edge",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("downstream", sa.Text(), nullable=False),
    )
    op.create_index("edge_run_id", "edge", ["run_id"])


def _create_outcome() -> None:
    op.create_table(
        "outcome",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("span_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("units", sa.Double(), nullable=False),
        sa.Column("valid", sa.Double(), nullable=True),
        sa.Column("accurate", sa.Double(), nullable=True),
        sa.Column("solution", sa.Text(), nullable=True),
        sa.Column("quality", sa.JSON(), nullable=False),
    )
    op.create_index("outcome_run_id", "outcome", ["run_id"])


def _create_decision() -> None:
    op.create_table(
        "decision",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=True),
        sa.Column("signal", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("intensity", sa.Double(), nullable=True),
        sa.Column("start", sa.Double(), nullable=True),
        sa.Column("end", sa.Double(), nullable=True),
        sa.Column("expected", sa.Double(), nullable=True),
        sa.Column("run_now", sa.Double(), nullable=True),
        sa.Column("plan", sa.JSON(), nullable=False),
    )
    op.create_index("decision_run_id", "decision", ["run_id"])


def _create_delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("process_id", sa.Text(), primary_key=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
    )


def _where(condition: str) -> dict[str, Any]:
    """A partial index, in both dialects."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
