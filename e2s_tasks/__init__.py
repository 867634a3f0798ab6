"""Energy-to-Solution for data and ML pipelines: what a result costs in joules and grams CO2eq.

    from e2s_tasks import e2s_task, e2s_flow, span, record_outcome, record_energy, CarbonPolicy
    from e2s_tasks.io import read_parquet, write_parquet

Importing this package loads none of Prefect, pandas or CodeCarbon: each name is found where it is first used.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from e2s_tasks.core import spans as _spans

if TYPE_CHECKING:
    from e2s_tasks.core.policy import CarbonPolicy
    from e2s_tasks.integrations.prefect import e2s_flow, e2s_task
    from e2s_tasks.recorder.artifacts import record_artifact, record_input
    from e2s_tasks.recorder.outcomes import record_outcome
    from e2s_tasks.recorder.outside import record_energy

__all__ = [
    "CarbonPolicy",
    "e2s_flow",
    "e2s_task",
    "record_artifact",
    "record_energy",
    "record_input",
    "record_outcome",
    "span",
]

_HOMES = {
    "CarbonPolicy": "e2s_tasks.core.policy",
    "e2s_flow": "e2s_tasks.integrations.prefect",
    "e2s_task": "e2s_tasks.integrations.prefect",
    "record_artifact": "e2s_tasks.recorder.artifacts",
    "record_energy": "e2s_tasks.recorder.outside",
    "record_input": "e2s_tasks.recorder.artifacts",
    "record_outcome": "e2s_tasks.recorder.outcomes",
}


class _NotYet:
    """Stands in for the recorder while it is loaded."""

    def span(self, *_: Any, **__: Any) -> Any:
        """A span that is not measured."""
        from e2s_tasks.recorder.unmeasured import Unmeasured

        return Unmeasured()


def _is_loading() -> bool:
    """Whether any module is only half loaded."""
    specs = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
    return any(getattr(spec, "_initializing", False) for spec in specs)


def _process_recorder() -> _spans.Recorder:
    try:
        from e2s_tasks.recorder.recorder import process_recorder
    except (ImportError, AttributeError, KeyError) as error:
        # A signal handler's span, or a finalizer's, in its middle; Python 3.11 then fails around it, by a KeyError.
        if isinstance(error, KeyError) or _is_loading():
            return _NotYet()
        raise

    _spans.use(process_recorder)  # from the second span on without looking for it
    return process_recorder()


_spans.use(_process_recorder)


def span(name: str, *, stage: str | None = None) -> _spans.Block:
    """Measure the block of a `with` statement, in or outside Prefect.

    Inside measured work, and in a program or worker that this starts by `subprocess` or `multiprocessing`, it is a part
    of that work; outside it is a run of its own. stage: of the solution's life cycle (data_preparation, training,
    evaluation, inference or maintenance); it holds for the spans inside as well.

    Raises:
        SettingError: there is no such stage.
    """
    if stage is None:
        return _spans.factory().span(name)
    from e2s_tasks.core.stages import stage_of

    return _spans.factory().span(name, facts={"stage": stage_of(stage)})


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'e2s_tasks' has no attribute {name!r}")
    return getattr(import_module(home), name)
