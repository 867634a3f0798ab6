"""The grid beside a flow run: when its policy would have it start, and the intensity that emissions use."""

import threading
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.errors import E2SError, PolicyError
from e2s_tasks.recorder import SpanRecorder
from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2s_tasks import scheduler
    from e2s_tasks.ledger.learned import Learned
    from e2s_tasks.scheduler.again import Arrival

PATIENCE_S = 0.2
TOO_LATE = "the run starts at once (the service has not answered in time)"
LONG = timedelta(minutes=30)  # of a shorter run the intensity of its beginning is that of its end
KNOWN = {"trace", "service", "cached", "profile"}  # rungs whose source may tell what the grid was


@dataclass(slots=True)
class Look:
    """A look at the grid on a thread of its own; `decision` is there when the thread has ended, unless it failed."""

    recorder: SpanRecorder
    run_id: str
    policy: CarbonPolicy | None
    zone: str | None
    flow: str | None
    arrival: "Callable[[], Arrival] | None"
    asked: datetime = field(default_factory=lambda: datetime.now(UTC))
    decision: "scheduler.Decision | None" = None
    thread: threading.Thread = field(default_factory=threading.Thread)

    def begin(self) -> None:
        """Ask; a slow service delays nothing."""
        target = copy_context().run  # the arrival is asked of the server that this flow run is of
        self.thread = threading.Thread(target=target, args=(self._look,), name="e2s-grid", daemon=True)
        self.thread.start()

    def _look(self) -> None:
        try:
            from e2s_tasks import scheduler

            now = datetime.now(UTC)
            try:
                self.decision = self._decide(now)
                found = self.decision
            except E2SError as error:  # a broken trace, or a zone that nobody knows: the summary says so, too
                warn_once("looking at the grid", error)
                average = scheduler.average_now(self.zone, now, str(error))
                found = scheduler.not_planned_by(self.policy, average, str(error))
            self.recorder.write(scheduler.to_record(found, self.run_id))
        except Exception as error:  # noqa: BLE001 - law 5: emissions stay unknown
            warn_once("looking at the grid", error)

    def look_back(self) -> None:
        """Once the run has ended, write down what the grid was: of a long run, or one that waited."""
        found, now = self.decision, datetime.now(UTC)
        if found is None or found.plan.get("rung") not in KNOWN:
            return
        arrived = datetime.fromtimestamp(found.plan.get("arrived", self.asked.timestamp()), UTC)
        waited = found.start is not None and found.start > found.at
        if not waited and now - arrived < LONG:
            return
        target = copy_context().run
        thread = threading.Thread(target=target, args=(self._look_back, found, arrived, now), daemon=True)
        thread.start()
        thread.join(self.recorder.settings.grid_timeout_s)

    def _look_back(self, found: "scheduler.Decision", arrived: datetime, now: datetime) -> None:
        try:
            from e2s_tasks import scheduler
            from e2s_tasks.integrations.prefect.blocks import with_keys

            seen = scheduler.observed(found, arrived, now, with_keys(self.recorder.settings))
            if seen is not None:
                self.recorder.write(scheduler.to_record(seen, self.run_id))
        except Exception as error:  # noqa: BLE001 - law 5: the forecast has to do
            warn_once("looking back at the grid", error)

    def _decide(self, now: datetime) -> "scheduler.Decision":
        from e2s_tasks import scheduler
        from e2s_tasks.integrations.prefect.blocks import with_keys
        from e2s_tasks.scheduler.again import Arrival, lesson_of

        options = with_keys(self.recorder.settings)
        if self.policy is None:
            return scheduler.intensity_now(self.zone, now, options)
        try:
            arrival = self.arrival() if self.arrival else Arrival(now)
            return decide_again(self.policy, now, arrival, options, lesson_of(self.flow, options))
        except PolicyError as error:
            return scheduler.not_planned_by(self.policy, scheduler.intensity_now(self.zone, now, options), str(error))


def decide_again(
    policy: CarbonPolicy, now: datetime, arrival: "Arrival", options: Settings, lesson: "Learned | None" = None
) -> "scheduler.Decision":
    """The decision for a run that arrived earlier, with the keys that Prefect's blocks hold: see `scheduler.again`.

    Raises:
        PolicyError, ZoneError, TraceError: see `scheduler.decide`.
    """
    from e2s_tasks.integrations.prefect.blocks import with_keys
    from e2s_tasks.scheduler import again

    return again.decide_again(policy, now, arrival, with_keys(options), lesson)


_looks: dict[str, Look] = {}


def look_at_the_grid(
    recorder: SpanRecorder,
    run_id: str,
    policy: CarbonPolicy | None,
    arrival: "Callable[[], Arrival] | None" = None,
    flow: str | None = None,
) -> None:
    """Begin a look at the grid for a flow run. arrival: says when the run would have started; left out: now."""
    zone = policy.zone if policy else recorder.settings.zone
    look = _looks[run_id] = Look(recorder, run_id, policy, zone, flow, arrival)
    look.begin()


def look_of(run_id: str) -> Look | None:
    """The look at the grid for a flow run, if one goes on or has ended."""
    return _looks.get(run_id)


def wait_for_the_grid(recorder: SpanRecorder, run_id: str) -> None:
    """Give the answer a last moment before the summary is written; without one the yearly average has to do.

    The average is dated before the question, so that an answer that still comes is the last word in the ledger.
    """
    look = _looks.pop(run_id, None)
    if look is None:
        return
    look.thread.join(PATIENCE_S)
    look.look_back()
    if look.thread.is_alive():
        from e2s_tasks import scheduler

        before = look.asked - timedelta(microseconds=1)
        recorder.write(scheduler.to_record(scheduler.average_now(look.zone, before, TOO_LATE), run_id))
