"""Handlers of signals, whatever they are, are known by their code."""

import functools
import signal

import pytest

from e2s_tasks.signals import handler_codes


def plain(*_):
    """A handler."""


class Handler:
    def method(self, *_):
        pass

    def __call__(self, *_):
        pass


@pytest.fixture(autouse=True)
def _as_before():
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    ("handler", "code"),
    [
        (plain, plain.__code__),
        (functools.partial(functools.partial(plain, 1), 2), plain.__code__),
        (Handler().method, Handler.method.__code__),
        (Handler(), Handler.__call__.__code__),
    ],
    ids=["function", "partial", "method", "object"],
)
def test_a_handler_is_known_while_it_is_installed_and_after_that(handler, code):
    signal.signal(signal.SIGUSR1, handler)
    assert code in handler_codes()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert code in handler_codes()
