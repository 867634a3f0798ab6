"""A carbon policy in a run's `conf` comes too late: which tasks wait is fixed when the DAG's file is read."""

from typing import Any

from e2s_tasks import users_code
from e2s_tasks.errors import SettingError
from e2s_tasks.integrations.airflow import declared, gating
from e2s_tasks.recorder.guard import MeteringWarning, guarded

REMEDY = (
    "which tasks wait, and for which zone, is fixed when the DAG's file is read, so that what its tags or params say"
    " holds. Say it there, or in a task's params; {'e2s': {'wait': false}} in the conf has nothing of the run wait."
)


@guarded
def tell_of_a_policy(task: Any, conf: Any) -> None:
    """Warn, in the log of a task that the run begins with, of a policy in its conf other than that of its DAG.

    Who triggers a run by hand is handed the DAG's own params in the conf.
    """
    said, of_dag = policy_in(declared.param_in(conf)), policy_in(declared.param_of(task.dag))
    names = sorted(name for name, value in said.items() if of_dag.get(name) != value)
    if names and gating.is_first(task):
        named = ", ".join(names)
        users_code.warn(f"e2s: a carbon policy in a run's conf ({named}) does nothing: {REMEDY}", MeteringWarning)


def policy_in(param: Any) -> dict[str, Any]:
    """The parts of a policy that a param `e2s` has; none where it is somebody else's, or a mistake, which is told."""
    try:
        given = declared.ours(param)
    except SettingError:
        return {}
    return {name: value for name, value in given.items() if name in declared.OF_A_POLICY}
