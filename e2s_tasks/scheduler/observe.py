"""What the grid was while a run went on, once it has ended: as observed, not as it had been forecast."""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from e2s_tasks.core.emissions import OBSERVED
from e2s_tasks.errors import E2SError
from e2s_tasks.grid.ladder import actual_for
from e2s_tasks.scheduler.decide import Decision

if TYPE_CHECKING:
    from e2s_tasks.settings import Settings


def observed(decision: Decision, start: datetime, end: datetime, settings: "Settings") -> Decision | None:
    """The decision of a run as it reads once its time is over: with what was observed from `start` to `end`.

    None where nothing was: the newest half-hours of many grids are only known later.
    """
    if decision.zone is None:
        return None
    try:
        found = actual_for(decision.zone, start, end, settings)
    except E2SError:
        return None
    slots = [[one.start.timestamp(), one.end.timestamp(), one.intensity] for one in found.between(start, end)]
    if not slots:
        return None
    mean = sum(s * i for s, i in ((e - b, i) for b, e, i in slots)) / sum(e - b for b, e, _ in slots)
    return replace(
        decision,
        at=end,
        signal=found.signal,
        source=f"{found.source}, observed",
        reason="what the grid was while the run went on",
        intensity=mean,
        start=None,
        end=None,
        expected=None,
        run_now=None,
        plan={OBSERVED: True, "slots": slots},
    )
