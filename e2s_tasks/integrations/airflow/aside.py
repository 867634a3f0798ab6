"""What a scheduler or API server does beside its own work, on threads: it waits for none of it."""

import atexit
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from queue import Full, Queue
from threading import Thread
from time import monotonic, sleep
from typing import Any

from e2s_tasks.recorder.guard import warn_once

Work = tuple[str, Callable[[], Any]]  # what it is in words, if it fails

MOST = 200  # looks that wait
PATIENCE_S = 5.0


def write(what: str, work: Callable[[], Any]) -> None:
    """Bring something to the ledger; the end of the process waits for it."""
    _writing().submit(_do, what, work)


def look(what: str, work: Callable[[], Any]) -> None:
    """Ask something of services or secrets, which may take any time; the end of the process waits for a little only."""
    try:
        _looking().put_nowait((what, work))
    except Full as error:
        warn_once(what, error, "it is left out")


@cache
def _writing() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "e2s-airflow")


@cache
def _looking() -> "Queue[Work]":
    waiting: Queue[Work] = Queue(MOST)
    Thread(target=_look_for_each, args=(waiting,), name="e2s-airflow-looks", daemon=True).start()
    atexit.register(_wait_a_little, waiting)
    return waiting


def _look_for_each(waiting: "Queue[Work]") -> None:
    while True:
        _do(*waiting.get())
        waiting.task_done()


def _wait_a_little(waiting: "Queue[Work]") -> None:
    until = monotonic() + PATIENCE_S
    while waiting.unfinished_tasks and monotonic() < until:
        sleep(0.02)


def _do(what: str, work: Callable[[], Any]) -> None:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - law 5: whatever it is, it stays here
        warn_once(what, error)
