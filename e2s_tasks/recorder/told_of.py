"""Whose work a call in the user's code tells of: an outcome, an artifact, energy that was used elsewhere."""

from collections.abc import Mapping
from typing import Any

from e2s_tasks.core.records import Kind
from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.recorder.open_span import OpenSpan, current_span
from e2s_tasks.recorder.recorder import SpanRecorder, process_recorder
from e2s_tasks.recorder.starter import Starter, starter
from e2s_tasks.settings import switched_on


def told_of(call: str) -> OpenSpan | None:
    """The current span, else the one in which this process was started; None, with a warning, where there is none."""
    span = current_span()
    if span is not None or not switched_on():
        return span
    recorder = process_recorder()
    found = starter(recorder.settings) if recorder.settings.enabled else None
    if found is not None:
        return StartersSpan(recorder, found)
    warn_once(call, RuntimeError("called outside measured work, so it belongs to no run"))
    return None


class StartersSpan(OpenSpan):
    """Stands for the span of another process: what is told of it is written down by this one."""

    announced = True  # by its own process

    def __init__(self, recorder: SpanRecorder, found: Starter) -> None:
        super().__init__(recorder, "", Kind.SPAN, found.facts)
        self.outer = None
        self._id, self.started_at = found.facts["parent_id"], found.began_at

    def used_elsewhere(self, entry: Mapping[str, Any]) -> None:
        """Add energy by a span of this process, since that one's record is written by its own."""
        with OpenSpan(self.recorder, str(entry["source"]), Kind.SPAN) as span:
            span.used_elsewhere(entry)
