"""Runs that would all wait for the same clean hour, where Prefect lets only so many run at once.

Each is planned alone first. Only where those plans, with the runs that nobody plans, would exceed a limit of Prefect's,
they are planned together. Prefect keeps its limits whatever is planned: a run too many would wait in its queue, on into
a dirtier hour.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType

from e2s_tasks.core.planning import UNIT, clock, figure, mean_intensity, told_apart
from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.integrations.prefect.awaiting import start_of
from e2s_tasks.integrations.prefect.limits import Limit, Limits
from e2s_tasks.scheduler import Decision
from e2s_tasks.scheduler.again import HYSTERESIS, forecast_of
from e2s_tasks.scheduler.together import Busy, Movable, above, starts_within

ASSUMED = timedelta(hours=1)  # how long a run takes of which nothing is known
LATE = timedelta(minutes=15)  # a run that runs longer than expected is expected to take so much more
ACTIVE = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING, StateType.SCHEDULED]


@dataclass(slots=True)
class Wish:
    """A run that may be moved: its start as it stands, and the decision on it alone. limit: what it was fitted into."""

    run: FlowRun
    policy: CarbonPolicy
    start: datetime
    earliest: datetime
    decision: Decision
    moves: bool  # whether the decision alone is worth moving the run
    limit: Limit | None = None

    @property
    def tentative(self) -> datetime:
        return self.decision.start if self.moves and self.decision.start is not None else self.start

    @property
    def length(self) -> timedelta:
        return timedelta(seconds=self.decision.plan["policy"]["expected_duration_s"])

    def movable(self) -> Movable:
        """The run as it is planned with others."""
        latest = datetime.fromtimestamp(self.decision.plan["latest_start"], UTC)
        energy_j = self.decision.plan.get("energy_j") or 0.0
        power = energy_j / self.length.total_seconds() if energy_j else 1.0
        return Movable(forecast_of(self.decision), self.earliest, max(latest, self.earliest), self.length, power)

    def is_free(self) -> bool:
        """Whether any start will do, so that the cleanest that has room is the best."""
        return self.policy.strategy == "window" and self.policy.minimum_gain is None


LengthOf = Callable[[FlowRun], timedelta | None]


def fit(
    client: SyncPrefectClient, wishes: Sequence[Wish], limits: Limits, length_of: LengthOf, now: datetime
) -> list[str]:
    """Change the decisions of runs that would exceed a limit; what there is to say of limits that cannot be kept."""
    groups: dict[Limit, list[Wish]] = {}
    for wish in wishes:
        limit = limits.of(wish.run)
        if limit is not None:
            groups.setdefault(limit, []).append(wish)
    said = []
    for limit, group in groups.items():
        free = [wish for wish in group if wish.is_free()]
        own = {wish.run.id for wish in free}
        kept = [Busy(wish.tentative, wish.tentative + wish.length) for wish in group if not wish.is_free()]
        skipped = {wish.run.id for wish in group}
        others = [run for run in _sharing(client, limit) if run.id not in skipped]
        busy = kept + [one for run in others if (one := _busy(run, length_of(run), now))]
        if own and _above(limit, [wish.tentative for wish in free], free, busy):
            said += _fit(limit, free, busy, now)
    return said


def _fit(limit: Limit, group: list[Wish], busy: list[Busy], now: datetime) -> list[str]:
    runs = [wish.movable() for wish in group]
    found = starts_within(limit.most, runs, busy, now)
    stored = [wish.start for wish in group]
    no_better = _above(limit, stored, group, busy) <= _above(limit, found, group, busy)
    if no_better and _cost(runs, stored) * (1 - HYSTERESIS) <= _cost(runs, found):
        found = stored
    for wish, run, start in zip(group, runs, found, strict=True):
        wish.decision, wish.moves, wish.limit = _decided(wish.decision, run, start, limit), True, limit
    if not _above(limit, found, group, busy):
        return []
    return [f"{limit.name} lets {limit.most} run at once: more will want to, since their slack leaves no other start"]


def _above(limit: Limit, starts: Sequence[datetime], group: Sequence[Wish], busy: Sequence[Busy]) -> timedelta:
    """By how much starts exceed a limit."""
    times = [Busy(start, start + wish.length) for wish, start in zip(group, starts, strict=True)]
    return above(limit.most, [*times, *busy])


def _cost(runs: Iterable[Movable], starts: Iterable[datetime]) -> float:
    return sum(run.cost(start) for run, start in zip(runs, starts, strict=True))


def _decided(alone: Decision, run: Movable, start: datetime, limit: Limit) -> Decision:
    """The decision, with the start that has room."""
    plan = alone.plan | {"limit": {"name": limit.name, "most": limit.most}}
    if run.cost(start) == float("inf") or alone.run_now is None:
        expected, change = alone.expected, ""
    else:
        expected = mean_intensity(run.forecast, start, run.length)
        change = f": {expected_text(expected, alone.run_now)}"
    room = f"{limit.name} lets {limit.most} run at once"
    reason = f"start at {clock(start, alone.at)} UTC, since {room}{change}"
    return replace(alone, start=start, end=start + run.length, expected=expected, reason=reason, plan=plan)


def expected_text(expected: float, run_now: float) -> str:
    """What a start means, beside starting at once."""
    if expected == run_now:
        return f"{figure(expected)} {UNIT}"
    then, at_once = told_apart(expected, run_now)
    return f"{then} instead of {at_once} {UNIT}"


def _sharing(client: SyncPrefectClient, limit: Limit) -> list[FlowRun]:
    """All runs that share a limit and go on, or are still to come."""
    active = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=ACTIVE)))
    found: list[FlowRun] = []
    arguments: dict[str, Any] = limit.filters() | {"flow_run_filter": active, "limit": 200}
    while page := client.read_flow_runs(**arguments, offset=len(found)):
        found += page
    return found


def _busy(run: FlowRun, length: timedelta | None, now: datetime) -> Busy | None:
    """When a run that is not planned has its place."""
    length = length or ASSUMED
    scheduled = start_of(run.state)
    if scheduled is not None:
        return Busy(max(scheduled, now), max(scheduled, now) + length)
    begun = run.start_time.timestamp() if run.start_time else now.timestamp()
    return Busy(now, max(datetime.fromtimestamp(begun, UTC) + length, now + LATE))
