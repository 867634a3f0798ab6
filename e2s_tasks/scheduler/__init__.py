"""When a flow should run, and what its electricity emits."""

from e2s_tasks.scheduler.decide import Decision, decide, intensity_now, plan, to_record

__all__ = ["Decision", "decide", "intensity_now", "plan", "to_record"]
