"""The grid beside a flow run: what the policy would have planned, and the intensity that emissions use."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.errors import E2SError, PolicyError
from e2s_tasks.recorder import SpanRecorder
from e2s_tasks.recorder.guard import warn_once

if TYPE_CHECKING:
    from e2s_tasks import scheduler

_looking: dict[str, tuple[threading.Thread, str | None, datetime]] = {}
PATIENCE_S = 0.2
TOO_LATE = "the run starts at once (the service has not answered in time)"


def look_at_the_grid(recorder: SpanRecorder, run_id: str, policy: CarbonPolicy | None) -> None:
    """Ask the grid on a thread of its own, so that a slow service delays nothing."""
    zone = policy.zone if policy else recorder.settings.zone
    thread = threading.Thread(target=_look, args=(recorder, run_id, policy, zone), name="e2s-grid", daemon=True)
    _looking[run_id] = thread, zone, datetime.now(UTC)
    thread.start()


def _look(recorder: SpanRecorder, run_id: str, policy: CarbonPolicy | None, zone: str | None) -> None:
    try:
        from e2s_tasks import scheduler

        now = datetime.now(UTC)
        try:
            decision = _decision(recorder, policy, zone, now)
        except E2SError as error:  # a broken trace, or a zone that nobody knows: the summary says so, too
            warn_once("looking at the grid", error)
            decision = scheduler.average_now(zone, now, str(error))
        recorder.write(scheduler.to_record(decision, run_id))
    except Exception as error:  # noqa: BLE001 - law 5: emissions stay unknown
        warn_once("looking at the grid", error)


def _decision(
    recorder: SpanRecorder, policy: CarbonPolicy | None, zone: str | None, now: datetime
) -> "scheduler.Decision":
    from e2s_tasks import scheduler

    if policy is None:
        return scheduler.intensity_now(zone, now, recorder.settings)
    try:
        return scheduler.decide(policy, now, recorder.settings)
    except PolicyError as error:
        return replace(scheduler.intensity_now(zone, now, recorder.settings), reason=str(error))


def wait_for_the_grid(recorder: SpanRecorder, run_id: str) -> None:
    """Give the answer a last moment before the summary is written; without one the yearly average has to do.

    The average is dated before the question, so that an answer that still comes is the last word in the ledger.
    """
    thread, zone, asked = _looking.pop(run_id, (None, None, None))
    if thread is None or asked is None:
        return
    thread.join(PATIENCE_S)
    if thread.is_alive():
        from e2s_tasks import scheduler

        before = asked - timedelta(microseconds=1)
        recorder.write(scheduler.to_record(scheduler.average_now(zone, before, TOO_LATE), run_id))
