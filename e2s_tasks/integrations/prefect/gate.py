"""Before a flow with a carbon policy begins: it goes on, moves itself to a cleaner hour, or waits in its process."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.exceptions import Abort, Pause
from prefect.states import Running

from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.core.records import MOVED, Kind, Status
from e2s_tasks.core.spans import status_of
from e2s_tasks.integrations.mlflow import outbox
from e2s_tasks.integrations.prefect.awaiting import (
    LEAST,
    arrival_of,
    awaiting,
    message,
    placed,
    prepare,
    released,
    start_of,
    waits,
)
from e2s_tasks.integrations.prefect.carbon import decide_again, look_of
from e2s_tasks.integrations.prefect.progress import Progress
from e2s_tasks.meters.setup import waiting_w
from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.recorder.open_span import OpenSpan
from e2s_tasks.recorder.unmeasured import Unmeasured
from e2s_tasks.scheduler import Decision, to_record
from e2s_tasks.scheduler.again import Arrival, lesson_of, spread, worth_moving
from e2s_tasks.settings import Settings

WORTH_WAITING = timedelta(seconds=1)  # in the process itself, which costs nothing to start again
LOOK_S, ASK_S, REPLAN_S = 0.005, 2.0, 900.0


@dataclass(frozen=True, slots=True)
class Gate:
    """Holds the root run of a flow back as its policy says. A subflow, a retry and a released run pass at once."""

    policy: CarbonPolicy

    def wait(self, span: OpenSpan | Unmeasured) -> None:
        """Return when the flow is to begin.

        Raises:
            Pause: the run has been moved to a cleaner hour: its process ends, and holds nothing.
            Abort: it was cancelled while it waited.
        """
        for pause_s in _pauses(span, self.policy):
            time.sleep(pause_s)

    async def wait_async(self, span: OpenSpan | Unmeasured) -> None:
        """As `wait`, while other coroutines go on."""
        for pause_s in _pauses(span, self.policy):
            await asyncio.sleep(pause_s)


def passes(run: FlowRun, options: Settings) -> bool:
    """Whether a run never waits: it is part of another one, is tried again, has its place, or somebody said so."""
    told = released(run.tags) or placed(run.tags) or options.wait == "never"
    return told or run.parent_task_run_id is not None or run.run_count > 1


def arrival(run: FlowRun) -> Arrival:
    """When the run would have started without a policy, as Prefect remembers it."""
    now = datetime.now(UTC)
    if run.deployment_id is None:
        return Arrival(now)
    with get_client(sync_client=True) as client:
        return arrival_of(client.read_flow_run_states(run.id), now)


def _pauses(span: OpenSpan | Unmeasured, policy: CarbonPolicy) -> Iterator[float]:
    """The seconds to sleep, again and again, until the flow may begin."""
    context = FlowRunContext.get()
    if isinstance(span, Unmeasured) or span.outer is not None or context is None or context.flow_run is None:
        return
    run, look = context.flow_run, look_of(span.run_id)
    if look is None or passes(run, look.recorder.settings):
        return
    while look.thread.is_alive():
        yield LOOK_S
    decision = look.decision
    if decision is None or decision.start is None:
        return
    least = WORTH_WAITING if run.deployment_id is None else LEAST
    if decision.start - datetime.now(UTC) < least:
        return
    if run.deployment_id is not None:
        _move(span, run, policy, spread(decision, str(run.id)))
    elif _would_time_out(context.flow, decision):
        warn_once("waiting for a cleaner grid", RuntimeError("the flow's own timeout would end it: it starts now"))
    else:
        yield from _InProcess(span, run, policy, decision).pauses()


def _would_time_out(flow: Any, decision: Decision) -> bool:
    """Whether the flow's time limit, which has begun to run, would be over before its work begins."""
    assert decision.start is not None  # noqa: S101
    limit = getattr(flow, "timeout_seconds", None)
    return limit is not None and (decision.start - datetime.now(UTC)).total_seconds() >= limit


def _move(span: OpenSpan, run: FlowRun, policy: CarbonPolicy, decision: Decision) -> None:
    """Move a deployed run to its hour; unless somebody has cancelled or moved it meanwhile, its process ends.

    Where Prefect fails before the run is moved, it starts now. Whether it has been moved only Prefect can say: where it
    does not, the error is the flow's, for a run that begins twice is worse.
    """
    try:
        with get_client(sync_client=True) as client:
            prepare(client, run, policy)
    except Exception as error:  # noqa: BLE001 - law 5: nothing has happened yet
        warn_once("moving the run to a cleaner hour", error)
        return
    state = _moved(run, decision)
    if waits(state):
        span.note({MOVED: True})
        outbox.put_off(span.recorder.settings, str(run.id))
        raise Pause(message(decision), state=state)


def _moved(run: FlowRun, decision: Decision) -> State[Any] | None:
    """The state of the run once it has been set; after an error, what Prefect says that it is."""
    with get_client(sync_client=True) as client:
        try:
            return client.set_flow_run_state(run.id, awaiting(decision)).state
        except Exception as error:  # noqa: BLE001 - it may have arrived all the same
            warn_once("moving the run to a cleaner hour", error)
            return client.read_flow_run(run.id).state


@contextmanager
def _cancelled_or_over(waiting: OpenSpan | Unmeasured) -> Iterator[None]:
    """A block that is the span's work, which may be cancelled."""
    waiting.run()
    try:
        yield
        waiting.stop(Status.COMPLETED)
    except BaseException as error:
        ended = isinstance(error, Abort | GeneratorExit)  # GeneratorExit: the flow that slept in a pause is no more
        waiting.stop(Status.CANCELLED if ended else status_of(error))
        raise


class _InProcess:
    """Waits in the process of a flow that no worker would start again."""

    def __init__(self, span: OpenSpan, run: FlowRun, policy: CarbonPolicy, decision: Decision) -> None:
        assert decision.start is not None  # noqa: S101
        self.span, self.run, self.policy, self.decision = span, run, policy, decision
        self.arrival = Arrival(datetime.now(UTC))
        self.start, self.told = decision.start, False

    def pauses(self) -> Iterator[float]:
        """Pauses, under a span of its own, until the hour has come, also if that is moved meanwhile."""
        self._schedule()
        power_w = waiting_w(self.span.recorder.settings)
        waiting = self.span.recorder.span("waiting for a cleaner grid", Kind.WAIT)
        with _cancelled_or_over(waiting), Progress(self.decision, str(self.run.id), power_w) as progress:
            asked = planned = time.monotonic()
            while (left := (self.start - datetime.now(UTC)).total_seconds()) > 0:
                yield min(1.0, left)
                progress.tell(self.decision, self.start)
                if time.monotonic() - asked > ASK_S:
                    self._ask()
                    asked = time.monotonic()
                if not self.told and time.monotonic() - planned > REPLAN_S:
                    self._plan_again()
                    planned = time.monotonic()
        self._set(Running())

    def _schedule(self) -> None:
        self._set(awaiting(self.decision))

    def _set(self, state: State[Any]) -> None:
        """Tell Prefect; where that does not answer, the run waits and begins all the same."""
        try:
            with get_client(sync_client=True) as client:
                if not state.is_running():
                    prepare(client, self.run, self.policy)
                client.set_flow_run_state(self.run.id, state, force=True)
        except Exception as error:  # noqa: BLE001 - law 5
            warn_once("telling Prefect that the run waits", error)

    def _ask(self) -> None:
        """What has become of the run in Prefect: released, moved or cancelled. Without an answer nothing changes."""
        state = None
        with suppress(Exception), get_client(sync_client=True) as client:
            state = client.read_flow_run(self.run.id).state
        if state is not None and (state.is_final() or state.is_cancelling()):
            raise Abort("The flow run was cancelled while it waited for a cleaner grid.")
        moved = start_of(state)
        if moved is not None:
            self.start, self.told = moved, not waits(state)

    def _plan_again(self) -> None:
        """Move to another hour, if the latest forecast knows one that is cleaner by enough."""
        now = datetime.now(UTC)
        try:
            options = self.span.recorder.settings
            found = decide_again(self.policy, now, self.arrival, options, lesson_of(self.span.name, options))
            if found.start is None or abs(found.start - self.start) < LEAST or not worth_moving(found, self.start):
                return
            self.decision, self.start = found, found.start
            self.span.recorder.write(to_record(found, self.span.run_id))
            self._schedule()
        except Exception as error:  # noqa: BLE001 - the plan that it has stays good
            warn_once("planning again", error)
