"""What a task waits in: it fires when a cleaner hour has come, and plans again whenever a new forecast may be there.

All that it knows are absolute times, kept by Airflow's database, so that whichever triggerer takes it up goes on with
it. Many wait in one event loop: whatever blocks is done on threads, and only the first one asks for a zone's forecast.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from e2s_tasks.core.emissions import TIMELESS
from e2s_tasks.core.policy_tags import policy_of
from e2s_tasks.core.records import OF_RUN, OF_STEP, WAITS, to_dict
from e2s_tasks.integrations.airflow import moved
from e2s_tasks.integrations.airflow.connections import keys_in_time
from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.settings import Settings, settings

if TYPE_CHECKING:
    from e2s_tasks.core.policy import CarbonPolicy
    from e2s_tasks.core.records import DecisionRecord
    from e2s_tasks.scheduler import Decision

REPLAN_S = 900.0
LAG_S = 60.0  # services have made their new forecast by then
PATIENCE_S = 10.0  # with a ledger that is asked for what was moved
LEAST_PATIENCE_S = 1.0  # the same, where the start comes sooner
HANGS_S = 60.0  # a look that takes longer: a dead service holds one up for some seconds, see `grid_timeout_s`
KEY_PATIENCE_S = 30.0  # with an Airflow that is asked for a key: the first question takes seconds
LONGEST_SLEEP_S = 60.0  # a host that was suspended, or whose clock was set, is late by so much at most


def load() -> None:
    """Load what a look needs, and take all that there is for lasting, before a triggerer's event loop begins.

    Looks make and drop many objects, so that garbage is collected; that holds the interpreter, and with it the event
    loop, for as long as it takes to look at all objects, of which Airflow has a million.
    """
    from e2s_tasks.grid import services  # noqa: F401
    from e2s_tasks.integrations.airflow import arriving  # noqa: F401
    from e2s_tasks.ledger import Ledger  # noqa: F401
    from e2s_tasks.scheduler import again  # noqa: F401

    gc.collect()
    gc.freeze()


class CleanerGridTrigger(BaseTrigger):
    """Fires at `start`, or at a cleaner hour that is found meanwhile, and never after `latest` (epoch seconds).

    Its event is {"start": epoch seconds, "decision": the decision that moved it as a record, or None}.

    arrived: when the task would have begun. policy: as tags. run, step: in the ledger. lesson: what is learned of it,
    as `Learned` has it. every_s: how often it plans again.
    """

    def __init__(
        self,
        *,
        start: float,
        latest: float,
        arrived: float,
        policy: list[str],
        run: str,
        step: str,
        whole_run: bool = False,
        lesson: dict[str, Any] | None = None,
        every_s: float = REPLAN_S,
    ) -> None:
        super().__init__()
        self.start, self.latest, self.arrived = start, latest, arrived
        self.policy, self.run_id, self.step = policy, run, step
        self.whole_run, self.lesson, self.every_s = whole_run, lesson, every_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What makes it anew, in whatever triggerer."""
        given = {
            "start": self.start, "latest": self.latest, "arrived": self.arrived, "policy": self.policy,
            "run": self.run_id, "step": self.step, "whole_run": self.whole_run, "lesson": self.lesson,
            "every_s": self.every_s,
        }  # fmt: skip
        return f"{type(self).__module__}.{type(self).__qualname__}", given

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event, when the task is to begin."""
        least_s = _least_s()
        holds = await self._taken_up(least_s)
        start = self.start if holds is None else holds["start"]
        look_at = self._next_look(time.time())
        while (left := min(start, self.latest) - (now := time.time())) > 0:
            if now >= look_at and left > least_s:
                found = await self._plan_again(start)
                if found is not None:
                    start, holds = found["start"], found
                look_at = self._next_look(now)
                continue
            await asyncio.sleep(min(left, LONGEST_SLEEP_S, max(look_at - now, 0.0) if look_at > now else left))
        yield TriggerEvent({"start": start, "decision": holds})

    async def _taken_up(self, least_s: float) -> dict[str, Any] | None:
        """The decision that holds where it may have had an earlier life, in a triggerer that was stopped; else None.

        Its start may have been moved in that, which the ledger tells, and Airflow does not; and the latest forecast is
        looked at before anything else, as the start that it was made with may have passed.
        """
        now = time.time()
        if self._slot(now) == self._slot(self.arrived) or now >= self.latest:
            return None
        patience_s = min(PATIENCE_S, self.latest - now, max(self._due(self.start, now) - now, LEAST_PATIENCE_S))
        told = await moved.told(self.run_id, self.step, self.arrived, patience_s)
        if told is None and now < self.start <= time.time():  # it has come while the ledger was asked
            return None
        start = self.start if told is None or told.start is None else told.start
        found = await self._plan_again(start) if self.latest - time.time() > least_s else None
        return found if found is not None or told is None else to_dict(told)

    def _slot(self, now: float) -> int:
        return int((now - LAG_S) // self.every_s)

    def _next_look(self, now: float) -> float:
        return (self._slot(now) + 1) * self.every_s + LAG_S

    def _due(self, start: float, now: float) -> float:
        """Until when it may think: the start, or where that has passed the latest one."""
        return min(start, self.latest) if start > now else self.latest

    async def _plan_again(self, start: float) -> dict[str, Any] | None:
        """The decision that moves the start, as a record, if the latest forecast knows one that is cleaner by enough.

        Where many look at once it waits for its turn, until the start or, where that has passed, the latest one. The
        ledger is told of a move as it is made, so that who asks hears until when it waits now. Whatever goes wrong, the
        plan that it has stays good.
        """
        now = time.time()
        try:
            async with asyncio.timeout(self._due(start, now) - now):
                record = await self._look_again(start)
        except TimeoutError:
            return None
        if record is None:
            return None
        moved.tell(record)
        return to_dict(record)

    async def _look_again(self, start: float) -> "DecisionRecord | None":
        try:
            policy = policy_of(self.policy)
            if policy is None:
                return None
            options = await _polled(policy.zone, self._slot(time.time()), self.latest)
            move = partial(self._move, policy, datetime.fromtimestamp(start, UTC), options)
            thread = _free_thread()
            return await asyncio.get_running_loop().run_in_executor(thread, _noted, thread, move)
        except Exception as error:  # noqa: BLE001 - law 5
            warn_once("planning again", error, "the task starts as planned")
            return None

    def _move(self, policy: "CarbonPolicy", start: datetime, options: Settings) -> "DecisionRecord | None":
        from e2s_tasks.integrations.airflow.arriving import record_of

        found = self._look(policy, start, options)
        if found is None:
            return None
        found.plan.update({OF_STEP: self.step, OF_RUN: self.whole_run, WAITS: True})
        return record_of(found, self.run_id, self.step)

    def _look(self, policy: "CarbonPolicy", start: datetime, options: Settings) -> "Decision | None":
        from e2s_tasks.ledger.learned import Learned
        from e2s_tasks.scheduler.again import Arrival, decide_again, spread, worth_moving

        now, latest = datetime.now(UTC), datetime.fromtimestamp(self.latest, UTC)
        lesson = Learned(**self.lesson) if self.lesson is not None else None
        arrival = Arrival(datetime.fromtimestamp(self.arrived, UTC), scheduled=True, latest=latest)
        found = decide_again(policy, now, arrival, options, lesson)
        if found.start is None or found.plan.get("rung") in TIMELESS or not worth_moving(found, max(start, now)):
            return None
        found = spread(found, self.step)
        if found.start is None or abs(found.start - start) < timedelta(seconds=options.least_wait_s):
            return None
        return replace(found, start=min(found.start, latest))


@cache
def _thread() -> ThreadPoolExecutor:
    """Where triggers plan, one after the other: among many threads that compute the event loop seldom has its turn."""
    return ThreadPoolExecutor(1, "e2s-plans")


_began: dict[ThreadPoolExecutor, float] = {}  # the looks that go on


def _free_thread() -> ThreadPoolExecutor:
    """The thread; another one where a look hangs on it, as on a disk that is away."""
    began = _began.get(_thread())
    if began is not None and time.monotonic() - began > HANGS_S:
        _thread.cache_clear()
    return _thread()


def _noted(thread: ThreadPoolExecutor, move: Callable[[], "DecisionRecord | None"]) -> "DecisionRecord | None":
    _began[thread] = time.monotonic()
    try:
        return move()
    finally:
        del _began[thread]


def _least_s() -> float:
    try:
        return settings().least_wait_s
    except Exception as error:  # noqa: BLE001 - law 5
        warn_once("reading the settings", error, "the task starts as planned")
        return float("inf")


_polls: dict[tuple[int, str, int], asyncio.Task[Settings]] = {}


async def _polled(zone: str, slot: int, until: float) -> Settings:
    """Return when this slot's forecast for the zone has been asked for, by the first trigger of the event loop.

    What was answered is on the shelf that all processes share. The settings have the keys that it was asked with:
    Airflow is asked for them here, and never from a thread.
    """
    loop = id(asyncio.get_running_loop())
    poll = _polls.get((loop, zone, slot))
    if poll is None:
        for gone in [key for key in _polls if key[:2] == (loop, zone) or _polls[key].done()]:
            del _polls[gone]
        poll = _polls[loop, zone, slot] = asyncio.create_task(_poll(zone, until))
    return await asyncio.shield(poll)


async def _poll(zone: str, until: float) -> Settings:
    options = await keys_in_time(settings(), KEY_PATIENCE_S)
    await asyncio.to_thread(_ask, zone, until, options)
    return options


def _ask(zone: str, until: float, options: Settings) -> None:
    from e2s_tasks.grid.ladder import forecast_for

    now = datetime.now(UTC)
    forecast_for(zone, now, max(now, datetime.fromtimestamp(until, UTC)), options)
