"""The ledger is told of starts that triggers have moved, while they wait: on a thread, which nothing waits for.

A write may take tens of milliseconds, and many that wait for one hour are moved at once, so they are written together.
The same thread asks it for the start that an earlier life of a trigger has moved, after what is to be written.
"""

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

from e2s_tasks.core.records import WAITS
from e2s_tasks.integrations.airflow.active import is_active
from e2s_tasks.recorder.guard import guarded, warn_once
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


async def told(run: str, step: str, since: float, patience_s: float) -> "DecisionRecord | None":
    """The latest decision for a step in a DAG run after this moment (epoch seconds), by which it waits still.

    None without one, or where the ledger does not say in time.
    """
    if not is_active():
        return None
    asked = asyncio.wrap_future(_thread().submit(_read, run, step))
    try:
        found = await asyncio.wait_for(asked, patience_s)
    except TimeoutError:
        return None
    moved = [one for one in found if one.at > since and one.plan.get(WAITS) and one.start is not None]
    return moved[-1] if moved else None


def _read(run: str, step: str) -> "list[DecisionRecord]":
    try:
        return _ledger(settings().ledger).step_decisions(run, step)
    except Exception as error:  # noqa: BLE001 - law 5
        warn_once("asking the ledger for a start that was moved", error, "the latest forecast is looked at")
        return []


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
