"""When a flow should run, and what its electricity emits."""

from e2s_tasks.scheduler.decide import Decision, average_now, decide, intensity_now, not_planned_by, plan, to_record
from e2s_tasks.scheduler.observe import observed

__all__ = ["Decision", "average_now", "decide", "intensity_now", "not_planned_by", "observed", "plan", "to_record"]
