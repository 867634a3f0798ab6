"""A ledger of an earlier version, with data in it, is brought up to date and loses nothing."""

import re
from pathlib import Path

import sqlalchemy as sa
from alembic import command

from e2s_tasks.ledger import Ledger
from e2s_tasks.ledger.migrations import HEAD, configuration, version_of

MADE = sa.text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'alembic_version'")
SPAN = "('s', 1, 'p', 'run-1', 'attempt', 'old', 'completed', 1.0, 2.0, 'run-1', 5, 0, 3.5, '{}')"
COLUMNS = "id, seq, process_id, run_id, kind, name, status, started_at, ended_at, flow_run_id, cpu_ns, shared_cpu_ns"


def test_a_ledger_of_the_first_version_keeps_what_it_holds(url, span):
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    config = configuration()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(sa.text(f"INSERT INTO span ({COLUMNS}, cpu_j, attributes) VALUES {SPAN}"))
        values = "('v', 'file:///x', 's', 'run-1', 1.5)"
        connection.execute(sa.text(f"INSERT INTO version (id, uri, span_id, run_id, created_at) VALUES {values}"))
        connection.execute(
            sa.text("INSERT INTO read (id, uri, span_id, run_id, at) VALUES ('r', 'file:///x', 's', 'run-1', 1.7)")
        )
    ledger = Ledger.open(url)
    with engine.connect() as connection:
        assert version_of(connection) == HEAD
    engine.dispose()
    run = ledger.run("run-1")
    assert [(one.name, one.cpu_j, one.stage, one.remote_j) for one in run.spans] == [("old", 3.5, None, None)]
    assert [(one.uri, one.written) for one in run.versions] == [("file:///x", None)]
    assert [one.version_id for one in run.reads] == ["v"]
    ledger.ingest([span("s", seq=2, stage="training")])
    assert ledger.run("run-1").spans[0].stage == "training"


def test_a_new_ledger_has_the_tables_and_indexes_that_the_migrations_make(tmp_path):
    migrated, new = (sa.create_engine(f"sqlite:///{tmp_path / name}.db") for name in ("migrated", "new"))
    config = configuration()
    with migrated.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    Ledger.open(str(new.url))
    assert made(new) == made(migrated)
    with migrated.connect() as one, new.connect() as other:
        assert version_of(one) == version_of(other) == HEAD
    with new.begin() as connection:  # and the migrations of a later version find it as they expect it
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def made(engine):
    """What defines each table and index, whatever the order of a table's columns is."""
    with engine.connect() as connection:
        found = dict(connection.execute(MADE).all())
    return {name: sorted(re.split(r", |(?<=\w) \( ", " ".join(sql.split()))) for name, sql in found.items()}
