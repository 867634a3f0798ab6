"""Prefect: tasks and flows that measure themselves, attempt by attempt."""

from e2s_tasks.integrations.prefect.decorators import e2s_flow, e2s_task

__all__ = ["e2s_flow", "e2s_task"]
