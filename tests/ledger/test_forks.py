"""A process forks while a thread of it works on a ledger: the child can use databases, and nobody waits for long."""

import os
import signal
import sqlite3
import threading
import time
from contextlib import contextmanager

import pytest

from e2s_tasks.ledger import Ledger, forks
from e2s_tasks.ledger.forks import unforked

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
CHILDREN, HANGS_S = 30, 10


def _fork(work=lambda: None):
    """How long the fork of a child took, in seconds, and whether it did its work in good time."""
    before = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(HANGS_S)
        work()
        os._exit(0)
    took = time.perf_counter() - before
    return took, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@contextmanager
def _thread(work):
    """A thread that does some work over and over; it is given an event to set once it has begun."""
    begun, enough = threading.Event(), threading.Event()

    def over_and_over():
        while not enough.is_set():
            work(begun)

    thread = threading.Thread(target=over_and_over)
    thread.start()
    assert begun.wait(HANGS_S)
    try:
        yield
    finally:
        enough.set()
        thread.join()


@pytest.mark.slow
def test_children_of_a_process_that_reads_its_ledger_on_a_thread_can_use_sqlite(tmp_path):
    def read(begun):
        ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
        ledger.runs()
        ledger.close()
        begun.set()

    with _thread(read):
        done = [_fork(lambda: sqlite3.connect(tmp_path / "child.db").execute("select 1"))[1] for _ in range(CHILDREN)]
    assert all(done)


def test_a_ledger_that_is_kept_open_is_closed_before_another_thread_forks(tmp_path, monkeypatch):
    monkeypatch.setattr(forks, "PATIENCE_S", 2 * HANGS_S)  # which is not waited for
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger, enough = Ledger.open(url), threading.Event()
    found, log = [], tmp_path / "ledger.db-wal"

    def keep_open(begun):
        with ledger.kept_open():
            found.append(log.exists())
            begun.set()
            enough.wait(HANGS_S)
            found.append(log.exists())
            found.append(ledger.runs())

    with _thread(keep_open):
        took, done = _fork(lambda: Ledger.open(url).runs())
        enough.set()
    assert done
    assert took < HANGS_S / 2
    assert found[:3] == [True, False, []]


@pytest.mark.slow
def test_a_fork_waits_for_the_end_of_what_another_thread_does_and_comes_before_what_it_does_next(monkeypatch):
    monkeypatch.setattr(forks, "PATIENCE_S", HANGS_S)

    def work(begun):
        with unforked():
            begun.set()
            time.sleep(0.2)

    with _thread(work):
        took = [_fork()[0] for _ in range(5)]
    assert max(took) < HANGS_S / 2
    assert sum(took) > 0.2


def test_a_fork_waits_for_no_work_that_lasts(monkeypatch):
    monkeypatch.setattr(forks, "PATIENCE_S", 0.2)
    enough = threading.Event()

    def work(begun):
        with unforked():
            begun.set()
            enough.wait(HANGS_S)

    with _thread(work):
        took, done = _fork(lambda: unforked().__enter__())
        enough.set()
    assert 0.2 <= took < HANGS_S / 2
    assert done


def test_who_forks_in_the_middle_of_its_own_work_goes_on_with_it_in_both_processes(monkeypatch):
    monkeypatch.setattr(forks, "PATIENCE_S", 2 * HANGS_S)

    def work_too():
        with unforked():
            pass

    with unforked():
        _, done = _fork(work_too)
        work_too()
    assert done
    assert not forks._working


def _lasting(seconds):
    """Another thread's work, which lasts so long."""

    def work(begun):
        with unforked():
            begun.set()
            time.sleep(seconds)

    return _thread(work)


@pytest.mark.slow
def test_many_forks_wait_together_no_longer_than_one(monkeypatch):
    monkeypatch.setattr(forks, "PATIENCE_S", 0.3)
    with _lasting(2.5):
        took = [_fork()[0] for _ in range(6)]
    assert max(took) == took[0] >= 0.3
    assert sum(took[1:]) < 1.0


class InterruptedByAlarmError(Exception):
    pass


@pytest.fixture
def alarm():
    """Has a signal handler raise after some seconds."""

    def struck(*_):
        raise InterruptedByAlarmError

    before = signal.signal(signal.SIGALRM, struck)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_what_a_signal_handler_raises_while_a_fork_waits_is_raised(monkeypatch, alarm):
    monkeypatch.setattr(forks, "PATIENCE_S", HANGS_S)
    with _lasting(1):
        alarm(0.2)
        with pytest.raises(InterruptedByAlarmError):
            _fork()
    assert not forks._forking


def test_work_that_a_signal_handler_cuts_short_holds_up_nobody(alarm):
    for _ in range(100):
        try:
            alarm(0.0005)
            while True:
                with unforked():
                    pass
        except InterruptedByAlarmError:
            pass
    assert not forks._working
