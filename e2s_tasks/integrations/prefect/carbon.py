"""The grid beside a flow run: what the policy would have planned, and the intensity that emissions use."""

import threading
from dataclasses import replace
from datetime import UTC, datetime

from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.errors import PolicyError
from e2s_tasks.recorder import SpanRecorder
from e2s_tasks.recorder.guard import warn_once

_looking: dict[str, tuple[threading.Thread, CarbonPolicy | None]] = {}
PATIENCE_S = 1.0


def look_at_the_grid(recorder: SpanRecorder, run_id: str, policy: CarbonPolicy | None) -> None:
    """Ask the grid on a thread of its own, so that a slow service delays nothing."""
    thread = threading.Thread(target=_look, args=(recorder, run_id, policy), name="e2s-grid", daemon=True)
    _looking[run_id] = thread, policy
    thread.start()


def _look(recorder: SpanRecorder, run_id: str, policy: CarbonPolicy | None) -> None:
    try:
        from e2s_tasks import scheduler

        now = datetime.now(UTC)
        if policy is None:
            decision = scheduler.intensity_now(recorder.settings.zone, now, recorder.settings)
        else:
            try:
                decision = scheduler.decide(policy, now, recorder.settings)
            except PolicyError as error:
                decision = replace(scheduler.intensity_now(policy.zone, now, recorder.settings), reason=str(error))
        recorder.write(scheduler.to_record(decision, run_id))
    except Exception as error:  # noqa: BLE001 - law 5: emissions stay unknown
        warn_once("looking at the grid", error)


def wait_for_the_grid(recorder: SpanRecorder, run_id: str) -> None:
    """Give the answer a last second before the summary is written; without one the yearly average has to do."""
    thread, policy = _looking.pop(run_id, (None, None))
    if thread is None:
        return
    thread.join(PATIENCE_S)
    if thread.is_alive():
        from e2s_tasks import scheduler

        zone = policy.zone if policy else recorder.settings.zone
        recorder.write(scheduler.to_record(scheduler.average_now(zone, datetime.now(UTC)), run_id))
