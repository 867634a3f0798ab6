"""The grid beside a flow run: when its policy would have it start, and the intensity that emissions use."""

import threading
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from e2s_tasks.core.capacity import jittered
from e2s_tasks.core.planning import Forecast, Slot, mean_intensity
from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.errors import E2SError, GridError, PolicyError
from e2s_tasks.recorder import SpanRecorder
from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.settings import Settings

if TYPE_CHECKING:
    from e2s_tasks import scheduler
    from e2s_tasks.ledger.learned import Learned

PATIENCE_S = 0.2
TOO_LATE = "the run starts at once (the service has not answered in time)"
LONG = timedelta(minutes=30)  # of a shorter run the intensity of its beginning is that of its end
KNOWN = {"trace", "service", "cached", "profile"}  # rungs whose source may tell what the grid was
SHORTEST_S = 0.001
SPREAD, PART = timedelta(seconds=60), 0.01  # runs that wait for one hour start later by at most so much of their length
RESERVE, RESERVED = timedelta(seconds=60), 0.1  # so much of its slack a run that a worker starts is not planned into
HYSTERESIS = 0.02  # a run that has waited waits again only for a start that is cleaner by more than this part


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a flow run would have started without a policy, and whether it has been moved since.

    told: it waited, until somebody said when it starts, as a person may on its page; that holds. scheduled: Prefect
    starts a process for it, which takes some seconds, and some more where a server or worker has to come back first.
    """

    at: datetime
    moved: bool = False
    told: bool = False
    scheduled: bool = False


@dataclass(slots=True)
class Look:
    """A look at the grid on a thread of its own; `decision` is there when the thread has ended, unless it failed."""

    recorder: SpanRecorder
    run_id: str
    policy: CarbonPolicy | None
    zone: str | None
    flow: str | None
    arrival: Callable[[], Arrival] | None
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
                found = scheduler.average_now(self.zone, now, str(error))
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

        options = with_keys(self.recorder.settings)
        if self.policy is None:
            return scheduler.intensity_now(self.zone, now, options)
        try:
            arrival = self.arrival() if self.arrival else Arrival(now)
            return decide_again(self.policy, now, arrival, options, lesson_of(self.flow, options))
        except PolicyError as error:
            return replace(scheduler.intensity_now(self.zone, now, options), reason=str(error))


def decide_again(
    policy: CarbonPolicy, now: datetime, arrival: Arrival, options: Settings, lesson: "Learned | None" = None
) -> "scheduler.Decision":
    """The decision for a run that arrived earlier: its slack is counted from then, and being moved again has a price.

    lesson: what earlier runs taught of the flow, which tells better than the policy how long it takes.

    Raises:
        PolicyError, ZoneError, TraceError: see `scheduler.decide`.
    """
    from e2s_tasks import scheduler
    from e2s_tasks.integrations.prefect.blocks import with_keys

    options = with_keys(options)
    if lesson is not None:
        p50, p95 = (timedelta(seconds=max(length, SHORTEST_S)) for length in (lesson.p50_s, lesson.p95_s))
        policy = replace(policy, expected_duration=p50, p95_duration=policy.p95_duration or p95)
    latest = policy.latest_start(arrival.at)
    if arrival.scheduled:
        latest -= min(RESERVE, policy.max_delay * RESERVED)
    if latest - now < policy.max_delay:
        policy = replace(policy, max_delay=max(timedelta(0), latest - now))
    found = scheduler.decide(policy, now, options, energy_j=lesson.energy_j if lesson else None)
    found.plan["arrived"] = arrival.at.timestamp()
    if lesson is not None:
        found.plan["learned"] = asdict(lesson)
    if not (arrival.moved and found.start and found.start > now and found.expected and found.run_now):
        return found
    if arrival.told:
        reason = "start now: it has waited, and somebody has said when it starts"
    elif found.expected < found.run_now * (1 - HYSTERESIS):
        return found
    else:
        reason = f"start now: it has waited, and no later start is cleaner by more than {100 * HYSTERESIS:g} %"
    return replace(found, start=now, end=now + policy.expected_duration, expected=found.run_now, reason=reason)


def worth_moving(found: "scheduler.Decision", start: datetime) -> bool:
    """Whether the new start is cleaner than the planned one by enough, as the latest forecast has them both."""
    length = timedelta(seconds=found.plan["policy"]["expected_duration_s"])
    try:
        planned = mean_intensity(forecast_of(found), start, length)
    except GridError:
        return False  # the plan was made when more was known
    return found.expected is not None and found.expected < planned * (1 - HYSTERESIS)


def spread(decision: "scheduler.Decision", name: str) -> "scheduler.Decision":
    """The decision, its start a little later by the run's name: what waits for one hour begins in more seconds."""
    start, end, latest = decision.start, decision.end, decision.plan.get("latest_start")
    if start is None or end is None or latest is None or start <= decision.at:
        return decision
    later = jittered(start, _moment(latest), min(SPREAD, (end - start) * PART), name) - start
    return replace(decision, start=start + later, end=end + later)


def forecast_of(decision: "scheduler.Decision") -> Forecast:
    """The forecast that a decision was made from."""
    slots = [Slot(_moment(begin), _moment(end), value) for begin, end, value in decision.plan.get("slots", [])]
    return Forecast(decision.zone or "", tuple(slots), decision.signal, decision.source)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def lesson_of(flow: str | None, options: Settings) -> "Learned | None":
    """What the ledger teaches of a flow; a ledger that is away teaches nothing."""
    from e2s_tasks.ledger import Ledger

    if flow is None:
        return None
    try:
        return Ledger.open(options.ledger, PATIENCE_S).learned(flow)
    except E2SError:
        return None


_looks: dict[str, Look] = {}


def look_at_the_grid(
    recorder: SpanRecorder,
    run_id: str,
    policy: CarbonPolicy | None,
    arrival: Callable[[], Arrival] | None = None,
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
