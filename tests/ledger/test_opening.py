import multiprocessing
import os
import re
import sqlite3
import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from e2s_tasks.errors import LedgerError
from e2s_tasks.ledger import Ledger
from e2s_tasks.ledger.migrations import HEAD, configuration
from e2s_tasks.ledger.tables import metadata


def test_the_version_that_the_code_expects_is_the_newest_migration():
    assert ScriptDirectory.from_config(configuration()).get_current_head() == HEAD


def described(path):
    """Every table and index of a database, as the parts of the statement that makes it, in any order."""
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        statements = {name: re.sub(r'"|\bspan\.', "", sql) for name, sql in rows if name != "alembic_version"}
    return {name: sorted(part.strip() for part in re.split("[(),]", sql)) for name, sql in statements.items()}


def test_migrations_make_exactly_the_tables_that_the_code_uses(tmp_path):
    Ledger.open(f"sqlite:///{tmp_path / 'migrated.db'}")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'declared.db'}")
    metadata.create_all(engine)
    engine.dispose()
    assert described(tmp_path / "migrated.db") == described(tmp_path / "declared.db")


def test_a_ledger_in_a_directory_that_does_not_exist_yet_is_made_and_uses_wal(sqlite_url):
    Ledger.open(sqlite_url)
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_ledger_in_memory_works_too(span):
    ledger = Ledger.open("sqlite://")
    ledger.ingest([span("a", flow_run_id=None)])
    assert [row.run_id for row in ledger.runs()] == ["run-1"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("no url at all", "'no url at all'"),
        ("oracle://me:secret@host/db", "oracle"),
        ("mysql+pymysql://me:secret@host/db", "host/db"),
        ("mysql://me:secret@host/db", "only sqlite and postgresql"),
        ("postgresql+nodriver://me:secret@host/db", "host/db"),
        ("postgresql+asyncpg://me:secret@host/db", "only sqlite and postgresql"),
        ("sqlite:////proc/nowhere/ledger.db", "/proc/nowhere"),
        ("sqlite:////dev/null/ledger.db", "/dev/null"),
    ],
)
def test_a_url_that_cannot_be_opened_is_named_with_the_remedy_and_without_the_password(url, said):
    with pytest.raises(LedgerError) as caught:
        Ledger.open(url)
    assert said in str(caught.value)
    assert "E2S_LEDGER_URL" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_named(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("this is no database" * 100)
    with pytest.raises(LedgerError, match=r"notes\.txt"):
        Ledger.open(f"sqlite:///{path}")
    assert path.read_text().startswith("this is no database")


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(LedgerError, match=r"ledger\.db"):
        Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")


def test_a_ledger_of_a_later_version_asks_for_an_upgrade(url):
    Ledger.open(url)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(LedgerError, match="Upgrade e2s-tasks"):
        Ledger.open(url)


def _open(url, barrier):
    barrier.wait(20)
    Ledger.open(url).runs()


def test_several_processes_may_make_the_ledger_at_once(url):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    openers = [context.Process(target=_open, args=(url, barrier)) for _ in range(3)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join(30)
    assert [opener.exitcode for opener in openers] == [0, 0, 0]


def test_opening_a_ledger_that_is_up_to_date_loads_no_alembic(url):
    Ledger.open(url)
    code = (
        "import sys; import e2s_tasks.ledger; assert 'sqlalchemy' not in sys.modules; "
        f"e2s_tasks.ledger.Ledger.open({url!r}).runs(); "
        "print([name for name in ('alembic', 'pandas', 'pyarrow', 'prefect', 'codecarbon') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
