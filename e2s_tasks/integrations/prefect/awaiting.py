"""What Prefect is told of a run that waits for a cleaner grid: its state, why, and when it would have started.

A waiting run is `AwaitingLowCarbon`, a scheduled state: whatever starts Prefect's runs starts it at its time, whether
or not anything of ours is still there. All that is known of its waiting is in Prefect: the first of its states says
when it would have started, its tags whose policy it follows and whether somebody has released it.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Scheduled

from e2s_tasks.core.planning import UNIT, told_apart
from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.core.policy_tags import NOW, with_policy
from e2s_tasks.scheduler.again import Arrival

if TYPE_CHECKING:
    from e2s_tasks.scheduler import Decision

AWAITING = "AwaitingLowCarbon"
SCHEDULED = "Scheduled"  # Prefect's own name of such a state
WAITS = "Waits "
PLACED = "e2s:placed"  # tag of a run whose start the scheduler has chosen among those of others: it does not wait again
LEAST = timedelta(seconds=60)  # a worker takes up runs some seconds ahead: what is nearer is left alone


def waits(state: State[Any] | None) -> bool:
    """Whether a run in this state waits for a cleaner grid."""
    return state is not None and state.type == StateType.SCHEDULED and state.name == AWAITING


def start_of(state: State[Any] | None) -> datetime | None:
    """When a scheduled run will start."""
    if state is None or state.type != StateType.SCHEDULED or state.state_details.scheduled_time is None:
        return None
    return _plain(state.state_details.scheduled_time)


def _plain(moment: datetime) -> datetime:
    """The moment as Python's own type: Prefect's (pendulum's) loses its time zone when it is added to."""
    return datetime.fromtimestamp(moment.timestamp(), UTC)


def arrival_of(states: Sequence[State[Any]], otherwise: datetime) -> Arrival:
    """When the run of these states would have started without a policy.

    That is what the last state says before it waited; otherwise: for a run that nobody scheduled.
    """
    ordered = sorted(states, key=lambda state: state.timestamp)
    if not ordered:
        return Arrival(otherwise, scheduled=True)
    # whoever moves a run before any plan does says when it would have started
    before = [
        one for one in takewhile(lambda state: not waits(state), ordered) if start_of(one) and one.name == SCHEDULED
    ]
    first = before[-1] if before else ordered[0]
    at = max(start_of(first) or otherwise, _plain(first.timestamp))
    planned = [state for state in ordered if state.type == StateType.SCHEDULED and state.name in (SCHEDULED, AWAITING)]
    moved = any(map(waits, planned))
    return Arrival(at, moved, told=moved and not _ours(planned[-1]), scheduled=True)


def _ours(state: State[Any]) -> bool:
    """Whether it was set by a plan; a person or an automation sets one that is plainly scheduled."""
    return waits(state) or (state.message or "").startswith(WAITS)


def awaiting(decision: "Decision") -> State[Any]:
    """The state of a run that waits as decided."""
    assert decision.start is not None  # noqa: S101 - only such decisions make a run wait
    return Scheduled(scheduled_time=decision.start, name=AWAITING, message=message(decision))


def message(decision: "Decision") -> str:
    """From what, to what, until when, and who says so: Prefect's page shows no more of a state than its message."""
    assert decision.start is not None  # noqa: S101
    until = f"{decision.start.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if decision.expected is None or decision.run_now is None:
        return f"{WAITS}until {until}: {decision.reason}"
    limit = decision.plan.get("limit")
    if limit and decision.expected >= decision.run_now:
        return f"{WAITS}until {until}, for {limit['name']} lets {limit['most']} run at once ({decision.source})"
    then, now = told_apart(decision.expected, decision.run_now)
    percent = 100 * (decision.expected / decision.run_now - 1)
    room = f", among others of which {limit['name']} lets {limit['most']} run at once" if limit else ""
    return (
        f"{WAITS}for a cleaner grid in {decision.zone} until {until}{room}: {then} instead of {now} {UNIT} "
        f"({percent:+.0f} %; {decision.signal}; {decision.source})"
    )


def released(tags: Iterable[str]) -> bool:
    """Whether the run is not to wait."""
    return NOW in set(tags)


def placed(tags: Iterable[str]) -> bool:
    """Whether the run has its place among others, where only so many run at once."""
    return PLACED in set(tags)


def prepare(client: Any, run: FlowRun, policy: CarbonPolicy) -> None:
    """Have the run's next start not count as another attempt, so that its retries stay whole; and tag it.

    Prefect marks a run so that resumes after a suspension; the suspension itself is left out, for whoever is told of
    suspended runs would be told of this one.
    """
    resuming = run.empirical_policy.model_copy(update={"resuming": True})
    client.update_flow_run(UUID(str(run.id)), tags=with_policy(run.tags, policy), empirical_policy=resuming)
