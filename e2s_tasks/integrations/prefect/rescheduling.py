"""Moves runs that have not begun to cleaner hours: the scheduler's one round, and a person's "run it now".

A round can be repeated, run twice at once, and be killed at any moment: it asks Prefect for all it knows, and each move
is one state, set only while the run is still as it was seen and too far from its start for a worker to have it.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Scheduled

from e2s_tasks.core.emissions import TIMELESS
from e2s_tasks.core.policy_tags import CARBON, NOW, policy_of
from e2s_tasks.errors import E2SError, NotFoundError
from e2s_tasks.integrations.prefect.awaiting import (
    AWAITING,
    LEAST,
    PLACED,
    arrival_of,
    awaiting,
    message,
    placed,
    released,
    start_of,
    waits,
)
from e2s_tasks.integrations.prefect.carbon import decide_again
from e2s_tasks.integrations.prefect.crowding import Wish, fit
from e2s_tasks.integrations.prefect.limits import Limits
from e2s_tasks.ledger.learned import Learned
from e2s_tasks.scheduler import Decision
from e2s_tasks.scheduler.again import Arrival, lesson_of, spread, worth_moving
from e2s_tasks.settings import Settings

PAGE = 200
HORIZON = timedelta(hours=48)  # forecasts reach no further: what starts later is looked at when it comes nearer
AT_ONCE = timedelta(seconds=1)  # the first state of a run is as old as the run


@dataclass(frozen=True, slots=True)
class Move:
    """A run that a round moved, or would have: from when to when, why, and why not if it did not."""

    run_id: str
    name: str
    start: datetime
    to: datetime
    reason: str
    refused: str | None = None


class Planned(Protocol):
    """Takes the decision that a run was moved by, for the ledger."""

    def __call__(self, run_id: str, decision: Decision) -> None: ...


@dataclass
class Rescheduler:
    """Looks at every run with a carbon policy that has not begun. complaints: what was wrong with which, told once."""

    client: SyncPrefectClient
    settings: Settings
    planned: Planned
    dry_run: bool = False
    complaints: dict[str, str] = field(default_factory=dict)
    arrivals: dict[UUID, Arrival] = field(default_factory=dict)  # asked for once, over all rounds
    _flows: dict[UUID, str] = field(default_factory=dict)
    _lessons: dict[UUID, Learned | None] = field(default_factory=dict)

    def round(self, now: datetime) -> list[Move]:
        """Plan every such run anew, all within Prefect's limits, and move it where that is worth it; the moves."""
        runs, limits = list(_runs(self.client, now)), Limits(self.client)
        for gone in self.arrivals.keys() - {_known_by(run) for run in runs}:
            del self.arrivals[gone]
        wishes = []
        for run in runs:
            try:
                wish = None if limits.frozen(run) else self._wish(run, now)
            except E2SError as error:
                self.complaints[str(run.id)] = f"{run.name}: {error}"
                continue
            wishes += [wish] if wish is not None else []
        for said in fit(self.client, wishes, limits, self._length, now):
            self.complaints[said] = said
        for wish in wishes:
            self._mark(wish)
        return [self._move(wish, now) for wish in wishes if abs(wish.tentative - wish.start) >= LEAST]

    def _wish(self, run: FlowRun, now: datetime) -> Wish | None:
        """What the run's policy wishes for it alone; None where it cannot be moved, or nobody knows to when."""
        policy, start = policy_of(run.tags), start_of(run.state)
        if policy is None or start is None or not _may_move(run, start, now):
            return None
        arrival = self._arrival(run, start)
        if arrival.told:
            return None
        earliest = max(now, arrival.at)
        found = decide_again(policy, earliest, Arrival(arrival.at, scheduled=True), self.settings, self._lesson(run))
        if found.start is None or found.plan.get("rung") in TIMELESS:
            return None
        found = spread(replace(found, at=now), str(run.id))  # decided now, though for a moment that is to come
        return Wish(run, policy, start, earliest, found, not waits(run.state) or worth_moving(found, start))

    def _length(self, run: FlowRun) -> timedelta | None:
        """How long a run of anybody's is expected to take; None where nobody knows."""
        lesson = self._lesson(run)
        if lesson is not None:
            return timedelta(seconds=lesson.p50_s)
        with suppress(E2SError):
            policy = policy_of(run.tags)
            return policy.expected_duration if policy is not None else None
        return None

    def _mark(self, wish: Wish) -> None:
        """Have a run that was given a place among others keep it when it begins, and one alone decide for itself."""
        run, fitted = wish.run, wish.limit is not None
        if self.dry_run or fitted == placed(run.tags):
            return
        seen = self.client.read_flow_run(run.id)
        tags = [tag for tag in seen.tags if tag != PLACED] + ([PLACED] if fitted else [])
        self.client.update_flow_run(run.id, tags=tags)

    def _arrival(self, run: FlowRun, start: datetime) -> Arrival:
        if not waits(run.state) and not _set_anew(run):
            return Arrival(start, scheduled=True)
        known = _known_by(run)
        if known not in self.arrivals:  # it stays what it was
            found = arrival_of(self.client.read_flow_run_states(run.id), start)
            self.arrivals[known] = found if found.moved else Arrival(start, scheduled=True)
        return self.arrivals[known]

    def _lesson(self, run: FlowRun) -> Learned | None:
        if run.flow_id not in self._lessons:
            self._lessons[run.flow_id] = lesson_of(self._flow(run), self.settings)
        return self._lessons[run.flow_id]

    def _flow(self, run: FlowRun) -> str:
        if run.flow_id not in self._flows:
            self._flows[run.flow_id] = self.client.read_flow(run.flow_id).name
        return self._flows[run.flow_id]

    def _move(self, wish: Wish, now: datetime) -> Move:
        run, decision, to = wish.run, wish.decision, wish.tentative
        move = Move(str(run.id), run.name, wish.start, to, message(decision))
        if self.dry_run:
            return move
        seen = self.client.read_flow_run(run.id)
        if seen.state is None or run.state is None or seen.state.id != run.state.id or released(seen.tags):
            return _refused(move, "it has changed meanwhile")
        state = awaiting(decision) if to > now + LEAST else Scheduled(scheduled_time=to, message=message(decision))
        answer = self.client.set_flow_run_state(run.id, state)
        if start_of(answer.state) != to:
            return _refused(move, f"Prefect keeps it {answer.state.name if answer.state else 'as it is'}")
        self.planned(str(run.id), decision)
        return move


def release(client: SyncPrefectClient, text: str, now: datetime) -> tuple[FlowRun, datetime]:
    """Have a waiting run start now, by its id, the start of one, or its name; the run and when it would have started.

    Raises:
        NotFoundError: no run waits by that name.
    """
    run = _named(list(_waiting(client)), text)
    start = start_of(run.state) or now
    client.update_flow_run(run.id, tags=[*run.tags, *([] if released(run.tags) else [NOW])])
    if start > now + LEAST / 6:  # nearer than that a worker may have it, and it starts anyway
        client.set_flow_run_state(run.id, Scheduled(scheduled_time=now, message="Released: it need not wait any more."))
    return run, start


def _named(waiting: list[FlowRun], text: str) -> FlowRun:
    exact = [run for run in waiting if text in (str(run.id), run.name)]
    found = exact or [run for run in waiting if text and (str(run.id).startswith(text) or run.name.startswith(text))]
    if len(found) == 1:
        return found[0]
    names = [f"{run.name} ({str(run.id)[:8]})" for run in (found or waiting)]
    if found:
        raise NotFoundError(f"{text!r} names {len(found)} waiting runs: {', '.join(names[:5])}. Give more of the id.")
    listed = f" These wait: {', '.join(names[:5])}." if names else " None waits at all."
    raise NotFoundError(f"No run {text!r} waits for a cleaner grid.{listed}")


def _may_move(run: FlowRun, start: datetime, now: datetime) -> bool:
    """Whether nobody can have taken up the run yet, and nothing else decides when it starts."""
    fresh = waits(run.state) or run.run_count == 0
    return start > now + LEAST and fresh and run.parent_task_run_id is None and not released(run.tags)


def _set_anew(run: FlowRun) -> bool:
    """Whether the run has been scheduled again since it was made."""
    return None not in (run.state, run.created) and run.state.timestamp - run.created > AT_ONCE  # type: ignore[union-attr,operator]


def _known_by(run: FlowRun) -> UUID:
    """What the arrival is kept under: it is one and the same while the run waits, and another with each other state."""
    return run.id if waits(run.state) or run.state is None else run.state.id


def _refused(move: Move, why: str) -> Move:
    return Move(move.run_id, move.name, move.start, move.to, move.reason, why)


def _runs(client: SyncPrefectClient, now: datetime) -> Iterator[FlowRun]:
    """The runs with a carbon policy that start between a minute and two days from now."""
    within = FlowRunFilterNextScheduledStartTime.model_validate({"after_": now + LEAST, "before_": now + HORIZON})
    tags = FlowRunFilterTags(all_=[CARBON])
    return _pages(
        client, FlowRunFilter(state=_states("Scheduled", AWAITING), next_scheduled_start_time=within, tags=tags)
    )


def _waiting(client: SyncPrefectClient) -> Iterator[FlowRun]:
    return _pages(client, FlowRunFilter(state=_states(AWAITING)))


def _states(*names: str) -> FlowRunFilterState:
    scheduled = FlowRunFilterStateType(any_=[StateType.SCHEDULED])
    return FlowRunFilterState(type=scheduled, name=FlowRunFilterStateName(any_=list(names)))


def _pages(client: SyncPrefectClient, wanted: FlowRunFilter) -> Iterator[FlowRun]:
    sort: Any = FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC
    offset = 0
    while page := client.read_flow_runs(flow_run_filter=wanted, sort=sort, limit=PAGE, offset=offset):
        yield from page
        offset += PAGE
