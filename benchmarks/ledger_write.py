"""Spans written from four processes at once into one ledger, SQLite and PostgreSQL, and again with a process killed and
the database restarted meanwhile: how many a second, and whether each is there once.

    .venv/bin/python benchmarks/ledger_write.py

Each process appends span records to its journal and delivers them as a measured process does; a rate is over the time
from the first record to the end of the last delivery. PostgreSQL has its usual settings (it waits for
the disk). SQLite has no server to restart: there another process holds the lock for two seconds.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT, Row, main

WRITERS = 4
WRITER = """
import sys, time
from e2s_tasks.core.records import SpanRecord
from e2s_tasks.ledger import Journal, journal_path, this_process
from e2s_tasks.recorder.delivery import Delivery
from e2s_tasks.settings import settings
number, count = int(sys.argv[1]), int(sys.argv[2])
process = this_process()
journal = Journal(journal_path(settings().journals, process))
journal.append(process)
delivery = Delivery(journal, process.id, settings())
delivery.deliver()  # what is loaded and connected for the first time is not what is asked
print("ready", flush=True)
sys.stdin.readline()
for start in range(0, count, 200):
    journal.append(*[
        SpanRecord(f"{number}-{n}", 2, process.id, f"run-{number}", "attempt", "work", "completed", time.time(),
                   parent_id=f"{number}-flow", ended_at=time.time(), flow_run_id=f"run-{number}", task_run_id=f"{n}",
                   task_key="work", attempt=1, cpu_ns=1000, cpu_j=1.0, dram_j=0.5, static_j=0.25,
                   attributes={"task_run_name": f"work-{n}"})
        for n in range(start, start + 200)
    ])
    if start % 2000 == 0:
        delivery.deliver()
print("written", flush=True)
for _ in range(60):
    delivery.deliver()
    if delivery.complete:
        break
    time.sleep(1)
print("delivered", delivery.complete, time.time(), flush=True)
"""


def measure(quick: bool) -> list[Row]:
    """Spans a second, and how many were lost or doubled."""
    from tests.servers.postgresql import PostgreSQL

    count = 2_000 if quick else 50_000
    rows: list[Row] = []
    for database in ("SQLite", "PostgreSQL"):
        server = PostgreSQL(durable=True).start() if database == "PostgreSQL" else None
        try:
            for troubled in (False, True):
                rows += _rows(database, server, count, troubled=troubled)
        finally:
            if server is not None:
                server.remove()
    return rows


def _rows(database: str, server: object, count: int, *, troubled: bool) -> list[Row]:
    from e2s_tasks.ledger import Ledger, replay

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/ledger.db"
        if server is not None:
            url = server.create(f"ledger_{int(troubled)}")  # type: ignore[attr-defined]
        Ledger.open(url)
        writers = [_writer(folder, url, number, count) for number in range(WRITERS)]
        for writer in writers:
            _until(writer, "ready")
        start = time.time()
        for writer in writers:
            writer.stdin.write("\n")  # type: ignore[union-attr]
            writer.stdin.flush()  # type: ignore[union-attr]
        if troubled:
            _trouble(writers[0], server, folder)
        ends = [float(_until(writer, "delivered").split()[2]) for writer in writers[int(troubled) :]]
        replay(Path(folder, "data", "journal"), Ledger.open(url))
        end = time.time() if troubled else max(ends)
        for writer in writers:
            writer.communicate()
        replay(Path(folder, "data", "journal"), Ledger.open(url))  # which removes the journals of those that have ended
        kept, lost, twice = _compare(folder, url, killed=troubled, count=count)
    case = ", one killed, " + ("locked for 2 s" if server is None else "server crashed") if troubled else ""
    return [
        Row(f"{database}{case}: spans written", kept / (end - start), "a second", 5000, least=True),
        Row(f"{database}{case}: spans lost", lost, "spans", 0, note=f"{kept:,} are there"),
        Row(f"{database}{case}: spans doubled", twice, "spans", 0),
    ]


def _writer(folder: str, url: str, number: int, count: int) -> "subprocess.Popen[str]":
    environment = os.environ | {
        "E2S_DATA_DIR": f"{folder}/data", "E2S_LEDGER_URL": url, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(number), str(count)], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def _until(writer: "subprocess.Popen[str]", start: str) -> str:
    for line in writer.stdout:  # type: ignore[union-attr]
        if line.startswith(start):
            return line
    raise RuntimeError("a writer ended early")


def _trouble(writer: "subprocess.Popen[str]", server: object, folder: str) -> None:
    """Kill a writer; crash PostgreSQL and start it again, or hold SQLite's lock for two seconds."""
    time.sleep(0.5)
    writer.kill()
    writer.wait()
    if server is not None:
        server.stop(kill=True)  # type: ignore[attr-defined]
        time.sleep(1.0)
        server.start()  # type: ignore[attr-defined]
    else:
        with sqlite3.connect(f"{folder}/ledger.db", timeout=10.0, isolation_level=None) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(2.0)
            connection.execute("ROLLBACK")


def _compare(folder: str, url: str, *, killed: bool, count: int) -> tuple[int, int, int]:
    """How many spans the ledger has, how many it lacks, and how many are there twice or should not be there.

    A process that was killed has written what it had told: any number, but without a hole.
    """
    import sqlalchemy as sa

    engine = sa.create_engine(url)
    with engine.connect() as connection:
        ids = list(connection.execute(sa.text("SELECT id FROM span")).scalars())
    engine.dispose()
    assert not list(Path(folder, "data", "journal").glob("*.jsonl")), "a journal was not taken in"
    lost = twice = 0
    for number in range(WRITERS):
        own = [int(one.partition("-")[2]) for one in ids if one.startswith(f"{number}-")]
        wanted = max(own, default=-1) + 1 if killed and number == 0 else count
        lost += len(set(range(wanted)) - set(own))
        twice += len(own) - len(set(own)) + len(set(own) - set(range(wanted)))
    return len(ids), lost, twice


if __name__ == "__main__":
    main(measure)
