"""Decisions for work that has arrived earlier, and waits: its slack is counted from then, and moving it has a price."""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from e2s_tasks.core.capacity import jittered
from e2s_tasks.core.planning import Forecast, Slot, mean_intensity
from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.errors import E2SError, GridError
from e2s_tasks.scheduler.decide import Decision, decide

if TYPE_CHECKING:
    from e2s_tasks.ledger.learned import Learned
    from e2s_tasks.settings import Settings

PATIENCE_S = 0.2
SHORTEST_S = 0.001
SPREAD, PART = timedelta(seconds=60), 0.01  # what waits for one hour starts later by at most so much of its length
RESERVE, RESERVED = timedelta(seconds=60), 0.1  # so much of its slack what a worker starts is not planned into
HYSTERESIS = 0.02  # what has waited waits again only for a start that is cleaner by more than this part


@dataclass(frozen=True, slots=True)
class Arrival:
    """When work would have started without a policy, and whether it has been moved since.

    told: it waited, until somebody said when it starts, as a person may on its page; that holds. scheduled: the
    orchestrator starts a process for it, which takes some seconds, and some more where a server or worker has to come
    back first. latest: when it must start at the latest, if that is earlier than its policy's. ready: from when its
    slack is counted, if it would have started earlier had not others like it waited.
    """

    at: datetime
    moved: bool = False
    told: bool = False
    scheduled: bool = False
    latest: datetime | None = None
    ready: datetime | None = None


def decide_again(
    policy: CarbonPolicy, now: datetime, arrival: Arrival, settings: "Settings", lesson: "Learned | None" = None
) -> Decision:
    """The decision for work that arrived earlier.

    lesson: what earlier runs taught of it, which tells better than the policy how long it takes.

    Raises:
        PolicyError, ZoneError, TraceError: see `decide`.
    """
    if lesson is not None:
        p50, p95 = (timedelta(seconds=max(length, SHORTEST_S)) for length in (lesson.p50_s, lesson.p95_s))
        policy = replace(policy, expected_duration=p50, p95_duration=policy.p95_duration or p95)
    latest = policy.latest_start(arrival.ready or arrival.at)
    if arrival.scheduled:
        latest -= min(RESERVE, policy.max_delay * RESERVED)
    if arrival.latest is not None:
        latest = min(latest, arrival.latest)
    if latest - now < policy.max_delay:
        policy = replace(policy, max_delay=max(timedelta(0), latest - now))
    found = decide(policy, now, settings, energy_j=lesson.energy_j if lesson else None)
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


def worth_moving(found: Decision, start: datetime) -> bool:
    """Whether the new start is cleaner than the planned one by enough, as the latest forecast has them both."""
    length = timedelta(seconds=found.plan["policy"]["expected_duration_s"])
    try:
        planned = mean_intensity(forecast_of(found), start, length)
    except GridError:
        return False  # the plan was made when more was known
    return found.expected is not None and found.expected < planned * (1 - HYSTERESIS)


def spread(decision: Decision, name: str) -> Decision:
    """The decision, its start a little later by the run's name: what waits for one hour begins in more seconds."""
    start, end, latest = decision.start, decision.end, decision.plan.get("latest_start")
    if start is None or end is None or latest is None or start <= decision.at:
        return decision
    later = jittered(start, _moment(latest), min(SPREAD, (end - start) * PART), name) - start
    return replace(decision, start=start + later, end=end + later)


def forecast_of(decision: Decision) -> Forecast:
    """The forecast that a decision was made from."""
    slots = [Slot(_moment(begin), _moment(end), value) for begin, end, value in decision.plan.get("slots", [])]
    return Forecast(decision.zone or "", tuple(slots), decision.signal, decision.source)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def lesson_of(flow: str | None, settings: "Settings", step: str | None = None) -> "Learned | None":
    """What the ledger teaches of a flow, or of a step of it; a ledger that is away teaches nothing."""
    from e2s_tasks.ledger import Ledger

    if flow is None:
        return None
    try:
        ledger = Ledger.open(settings.ledger, PATIENCE_S)
        return ledger.learned(flow) if step is None else ledger.learned_step(flow, step)
    except E2SError:
        return None
