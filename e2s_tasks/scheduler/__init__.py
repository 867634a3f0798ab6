"""When a flow should run, and what its electricity emits."""

from e2s_tasks.scheduler.decide import Decision, average_now, decide, intensity_now, plan, to_record

__all__ = ["Decision", "average_now", "decide", "intensity_now", "plan", "to_record"]
