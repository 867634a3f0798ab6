"""Records on their way to a PostgreSQL ledger that is away: none is lost or doubled, and nobody waits for long."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from e2s_tasks.errors import LedgerBusyError, LedgerError
from e2s_tasks.ledger import Ledger, replay

PROGRAM = """
import sys, time
from e2s_tasks.recorder import delivery
delivery.EVERY_S = 0.1
from e2s_tasks import span
from e2s_tasks.recorder import process_recorder
with span("root"):
    for number in range(40):
        for _ in range(25):
            with span("one"):
                pass
        print(number, flush=True)
        time.sleep(0.02)
        if number == 20 and "pause" in sys.argv:
            sys.stdin.readline()
start = time.monotonic()
process_recorder().flush()
print("flushed after", time.monotonic() - start, process_recorder().delivered, flush=True)
if "pause" in sys.argv:
    sys.stdin.readline()
"""
SPANS = 1001


class Measured:
    """A measured process that writes 1001 spans and delivers them every 0.1 s."""

    def __init__(self, data_dir, url, *arguments):
        environment = os.environ | {"E2S_DATA_DIR": str(data_dir), "E2S_LEDGER_URL": url, "E2S_TICK_S": "0.05"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def until(self, start):
        """Read its lines up to one that starts so."""
        for line in self.process.stdout:
            if line.startswith(start):
                return line
        raise AssertionError(self.process.stderr.read())

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self):
        """Its exit code and what it wrote to stderr."""
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@pytest.fixture
def away(server):
    """The server, which is there again after the test."""
    yield server
    server.stop(kill=True)
    server.start()


def kept(url, *, name="one"):
    """How many spans of the name the ledger holds; an id can be there only once."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        count = connection.execute(sa.text("SELECT count(*) FROM span WHERE name = :name"), {"name": name}).scalar()
    engine.dispose()
    return count


def journals(data_dir):
    return sorted(Path(data_dir, "journal").glob("*.jsonl"))


def test_what_is_recorded_while_the_server_is_down_waits_and_is_taken_in_once(away, postgresql_url, tmp_path):
    Ledger.open(postgresql_url)
    away.stop()
    code, err = Measured(tmp_path, postgresql_url).end()
    assert code == 0
    assert err.count("delivery to the ledger failed") == 1
    assert len(journals(tmp_path)) == 1
    with pytest.raises(LedgerError, match="E2S_LEDGER_URL"):
        replay(tmp_path / "journal", Ledger.open(postgresql_url))
    away.start()
    ledger = Ledger.open(postgresql_url)
    assert [replay(tmp_path / "journal", ledger) for _ in range(2)] == [1, 0]
    assert kept(postgresql_url) == SPANS - 1


@pytest.mark.slow
def test_a_server_that_crashes_and_comes_back_while_work_goes_on_gets_everything(away, postgresql_url, tmp_path):
    Ledger.open(postgresql_url)
    measured = Measured(tmp_path, postgresql_url, "pause")
    measured.until("20")
    time.sleep(0.5)  # some deliveries
    before = kept(postgresql_url)
    away.stop(kill=True)
    time.sleep(0.5)
    away.start()
    measured.go_on()
    measured.until("flushed")
    measured.go_on()
    assert measured.end()[0] == 0
    assert 0 < before < SPANS - 1
    assert kept(postgresql_url) == SPANS - 1
    assert journals(tmp_path) == []


@pytest.mark.slow
def test_what_a_killed_process_left_is_delivered_by_the_next_one_of_its_host(server, postgresql_url, tmp_path):
    killed = Measured(tmp_path, postgresql_url, "pause")
    killed.until("20")
    time.sleep(0.5)
    killed.process.send_signal(signal.SIGKILL)
    killed.end()
    following = Measured(tmp_path, postgresql_url, "pause")
    following.until("20")
    following.go_on()
    following.until("flushed")
    time.sleep(0.5)  # nobody waits for what others left
    following.go_on()
    following.end()
    assert journals(tmp_path) == []
    assert kept(postgresql_url) == SPANS - 1 + 21 * 25
    ledger = Ledger.open(postgresql_url)
    assert sorted(row.status for row in ledger.runs()) == ["completed", "crashed"]


@pytest.mark.slow
def test_a_server_that_stops_answering_is_waited_for_once_and_gets_everything_later(away, postgresql_url, tmp_path):
    Ledger.open(postgresql_url)
    measured = Measured(tmp_path, postgresql_url, "pause")
    measured.until("20")
    time.sleep(0.3)
    away.freeze()
    try:
        measured.go_on()
        waited = float(measured.until("flushed").split()[2])
        start = time.monotonic()
        measured.go_on()
        code, err = measured.end()
        ended = time.monotonic() - start
    finally:
        away.thaw()
    assert code == 0
    assert waited < 6.0
    assert ended < 8.0
    assert err.count("delivery to the ledger failed") == 1
    replay(tmp_path / "journal", Ledger.open(postgresql_url))
    assert kept(postgresql_url) == SPANS - 1


@pytest.mark.slow
def test_a_host_that_accepts_and_says_nothing_holds_up_no_flow_for_long(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        code, err = Measured(tmp_path, f"postgresql+psycopg://e2s@127.0.0.1:{silent.getsockname()[1]}/x").end()
    assert code == 0
    assert time.monotonic() - start < 12.0
    assert err.count("delivery to the ledger failed") == 1
    assert len(journals(tmp_path)) == 1


def test_a_lock_that_somebody_holds_on_postgresql_is_waited_for_no_longer_than_asked(postgresql_url, span):
    Ledger.open(postgresql_url).ingest([span("a", seq=1)])
    impatient = Ledger.open(postgresql_url, patience_s=0.2)
    engine = sa.create_engine(postgresql_url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE span SET name = 'held'"))
        start = time.monotonic()
        with pytest.raises(LedgerBusyError):
            impatient.ingest([span("a", seq=2)])
        assert time.monotonic() - start < 10.0
    engine.dispose()
    impatient.ingest([span("a", seq=3)])
    assert [one.seq for one in impatient.run("run-1").spans] == [3]


@pytest.mark.slow
def test_two_readers_that_take_in_one_journal_at_once_take_it_in_once(postgresql_url, tmp_path):
    measured = Measured(tmp_path, "postgresql+psycopg://e2s@127.0.0.1:9/x")
    measured.end()
    code = (
        "import sys; from pathlib import Path; from e2s_tasks.ledger import Ledger, replay\n"
        "replay(Path(sys.argv[1]), Ledger.open(sys.argv[2]))\n"
    )
    readers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "journal"), postgresql_url]) for _ in range(2)
    ]
    assert [reader.wait(60) for reader in readers] == [0, 0]
    assert kept(postgresql_url) == SPANS - 1
    assert journals(tmp_path) == []
