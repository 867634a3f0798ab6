"""Which tasks come after the one that a run begins with, as the decision to have it wait writes them down."""

from typing import Any

from e2s_tasks.core.records import HELD_BACK

MOST = 100  # of a task with more after it, all that its run does after it counts as held back


def written_down(task: Any) -> dict[str, Any]:
    """What the plan of a decision holds of the tasks after this one: their keys as the ledger has them, if not many."""
    after = task.get_flat_relative_ids(upstream=False)
    return {} if len(after) > MOST else {HELD_BACK: sorted(f"{task.dag_id}.{task_id}" for task_id in after)}
