"""Turns: one thread's at a time, and nobody waits for ever."""

import signal
import threading

import pytest

from e2s_tasks.meters.account import Account, Role
from e2s_tasks.meters.clocks import NoBusyClock
from e2s_tasks.meters.meter import Meter
from e2s_tasks.meters.threads import Taker
from e2s_tasks.meters.turn import Turn

# no code of who has the turn
HANDLER = compile("def handler(*_):\n    thread.start()\n    thread.join(20)\n", "of_the_user.py", "exec")


@pytest.fixture
def handled(monkeypatch):
    """Has a signal handler start a thread, and wait for it, where this is called."""
    before = signal.getsignal(signal.SIGUSR1)

    def strikes(work):
        names = {"thread": threading.Thread(target=work, daemon=True)}
        exec(HANDLER, names)
        signal.signal(signal.SIGUSR1, names["handler"])
        signal.raise_signal(signal.SIGUSR1)

    yield strikes
    signal.signal(signal.SIGUSR1, before)


def test_who_may_be_waited_for_does_not_wait_while_a_signal_handler_runs_in_anothers_turn(handled):
    turn, found = Turn(__file__), []
    turn.take(mine := Taker())
    handled(lambda: found.append(turn.take(Taker(), for_handlers=False)))
    assert found == [None]
    turn.give(mine, inside=False)
    assert turn.take(Taker()) is False


def test_the_turn_of_a_thread_that_is_elsewhere_is_taken_back():
    turn = Turn("no code that runs")
    turn.take(Taker())
    found = []
    waits = threading.Thread(target=lambda: found.append(turn.take(Taker(), for_handlers=False)))
    waits.start()
    waits.join(20)
    assert found == [False]


def test_spans_of_coroutines_begin_and_end_while_a_signal_handler_waits_for_them_in_a_turn(handled):
    class Source:
        """Its reading is struck by a signal."""

        def __init__(self):
            self.records, self.strikes = [], False

        def read(self):
            if self.strikes:
                self.strikes = False
                handled(coroutines)
                done.append("handled")

    def coroutines():
        for account in (first, second):
            meter.open(account)
            meter.leave(meter.enter([account]))
            meter.close(account)
        done.append("worked")

    done, source = [], Source()
    meter = Meter([source], NoBusyClock())
    flow, first, second = Account(Role.FLOW), *(Account(Role.SPAN) for _ in range(2))
    meter.begin(flow)
    source.strikes = True
    meter.tick()
    assert done == ["worked", "handled"]
    meter.tick()
    assert meter.open_accounts == [flow]
    assert all(0 < one.opened_ns <= one.closed_ns for one in (first, second))
