"""Zero-code mode: every Prefect task and flow of the process measures itself, without an edit.

`e2s run flow.py`, or E2S_AUTO=true with PREFECT_PLUGINS_ENABLED=true, without which Prefect loads no plugins. Prefect
calls `setup_environment` while it is imported, before any task or flow is defined; worker and runner processes inherit
the variables. Tasks that are pickled into processes of a task runner carry their measuring along.
"""

import functools
from typing import Any

from prefect.plugins import register_hook

from e2s_tasks.recorder.guard import guarded
from e2s_tasks.settings import settings, switched_on


@register_hook
async def setup_environment(ctx: Any = None) -> None:  # noqa: ARG001 - the signature of Prefect's plugin hook
    """Prefect's plugin hook."""
    if switched_on() and settings().auto:
        measure_everything()


@guarded
def measure_everything() -> None:
    """From now on each task and flow that this process defines is measured as by `@e2s_task` and `@e2s_flow`."""
    from prefect import Flow, Task

    from e2s_tasks.integrations.prefect.decorators import measure_flow, measure_task
    from e2s_tasks.integrations.prefect.handed import handing_over

    if hasattr(Flow.__init__, "e2s_measures"):
        return
    _after_init(Task, measure_task)
    _after_init(Flow, measure_flow)
    Flow.__call__ = handing_over(Flow.__call__)  # type: ignore[method-assign]


def _after_init(cls: Any, measure: Any) -> None:
    """Let `measure` have each new task or flow, made from the function that an unmeasured one is made from."""
    from e2s_tasks.integrations.prefect.functions import original

    init = cls.__init__

    @functools.wraps(init)
    def measured_init(self: Any, *args: Any, **kwargs: Any) -> None:
        if "fn" in kwargs:
            kwargs["fn"] = original(kwargs["fn"])
        else:
            args = (original(args[0]), *args[1:]) if args else args
        init(self, *args, **kwargs)
        guarded(measure)(self)

    measured_init.e2s_measures = True  # type: ignore[attr-defined]
    cls.__init__ = measured_init
