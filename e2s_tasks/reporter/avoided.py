"""What waiting for a cleaner grid avoided: of a run that waited as a whole, or of the steps of it that did."""

from typing import Any

from e2s_tasks.core.records import OF_STEP, RunRecords
from e2s_tasks.reporter import grid, task_waits


def waited(run: RunRecords, joules: float | None, waiting_j: float, pue: float | None) -> dict[str, Any] | None:
    """What waiting avoided, by the names in `grid.WAITED`; None where nothing waited."""
    if any(one.plan.get(OF_STEP) is not None for one in run.decisions):
        return task_waits.waited(run, pue)
    return grid.waited(run, joules, waiting_j, pue)
