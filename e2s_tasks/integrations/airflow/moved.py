"""The ledger is told of starts that triggers have moved, while they wait: on a thread, which nothing waits for.

A write may take tens of milliseconds, and many that wait for one hour are moved at once, so they are written together.
"""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

from e2s_tasks.integrations.airflow.active import is_active
from e2s_tasks.recorder.guard import guarded
from e2s_tasks.settings import settings

if TYPE_CHECKING:
    from e2s_tasks.core.records import DecisionRecord
    from e2s_tasks.ledger import Ledger

_unwritten: deque["DecisionRecord"] = deque()


@guarded
def tell(decision: "DecisionRecord") -> None:
    """Have it written straight into the ledger, for nothing is measured in a triggerer.

    Where the ledger is away it is written by the task, which the trigger's event tells it.
    """
    if is_active():
        _unwritten.append(decision)
        _thread().submit(_write)


@guarded
def _write() -> None:
    decisions = [_unwritten.popleft() for _ in range(len(_unwritten))]
    if decisions:
        _ledger(settings().ledger).ingest(decisions)


@lru_cache(maxsize=1)
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "e2s-moved")


@lru_cache(maxsize=1)
def _ledger(url: str) -> "Ledger":
    from e2s_tasks.ledger import Ledger

    return Ledger.open(url)
