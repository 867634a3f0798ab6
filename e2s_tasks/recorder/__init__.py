"""The recorder: opens spans, feeds the meter, and writes down what each piece of work used."""

from e2s_tasks.recorder.outcomes import record_outcome
from e2s_tasks.recorder.recorder import SpanRecorder, process_recorder
from e2s_tasks.recorder.steps import drive, drive_async_generator, drive_generator

__all__ = ["SpanRecorder", "drive", "drive_async_generator", "drive_generator", "process_recorder", "record_outcome"]
