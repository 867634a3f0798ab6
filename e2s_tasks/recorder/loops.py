"""Event loops on which measured work runs: each task and each call in a thread belongs to the span that spawned it.

The first span that begins on a loop adopts it: the loop's task factory then drives every new task step by step, and
what the loop runs in threads takes the span along. Other loops are left alone.
"""

import sys
from collections.abc import Callable
from typing import Any

from e2s_tasks.recorder.guard import guarded
from e2s_tasks.recorder.inherited import Inherited
from e2s_tasks.recorder.open_span import CURRENT, current_span
from e2s_tasks.recorder.steps import Steps

_MARK = "_e2s_adopted"


def _no_loop_yet() -> Any:
    """The loop that runs in this thread; nobody runs one before asyncio is imported."""
    global running  # noqa: PLW0603
    events = sys.modules.get("asyncio.events")
    if events is None:
        return None
    running = events._get_running_loop  # noqa: SLF001 - documented, and asks without raising
    return running()


running: Callable[[], Any] = _no_loop_yet


@guarded
def adopt(loop: Any) -> None:
    """From now on each task and each call in a thread of the loop belongs to the span that spawned it."""
    if not hasattr(loop, _MARK):
        setattr(loop, _MARK, True)
        loop.set_task_factory(_task_factory(loop.get_task_factory()))
        loop.run_in_executor = _run_in_executor(loop.run_in_executor)


def _task_factory(previous: Callable[..., Any] | None) -> Callable[..., Any]:
    from asyncio import Task

    def make(loop: Any, work: Any, **options: Any) -> Any:
        context = options.get("context")
        span = current_span() if context is None else context.get(CURRENT)
        steps = work if isinstance(work, Steps) else Steps(Inherited(span), work)
        return Task(steps, loop=loop, **options) if previous is None else previous(loop, steps, **options)

    return make


def _run_in_executor(run: Callable[..., Any]) -> Callable[..., Any]:
    from concurrent.futures import ThreadPoolExecutor

    def run_in_executor(executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        span = current_span()
        if span is None or not (executor is None or isinstance(executor, ThreadPoolExecutor)):
            return run(executor, func, *args)

        def measured(*args: Any) -> Any:
            inherited = Inherited(span)
            inherited.resume()
            try:
                return func(*args)
            finally:
                inherited.suspend()

        return run(executor, measured, *args)

    return run_in_executor
