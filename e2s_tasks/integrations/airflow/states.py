"""What Airflow's database knows of DAG runs and task instances, for the tabs: that they are there, and their states."""

from typing import Any

LATEST = 25  # runs of a DAG that its tab lists
BY_HAND = {"success", "failed"}  # what somebody may mark a task as
LOST = "lost"  # the state, to us, of one that Airflow has failed since its process was lost before its attempt began
NOTHING_STARTS = "nothing starts: "  # begins the reason of the decision by which a marked task waits no more
MARKED = "marked"  # the state, to us, of a task instance that has an end and no try: somebody has marked it, or its run


def latest_runs(dag_id: str) -> list[str]:
    """The run ids of a DAG's latest runs, the newest first, `LATEST` at most."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = select(DagRun.run_id).where(DagRun.dag_id == dag_id).order_by(DagRun.id.desc()).limit(LATEST)
    with create_session() as session:
        return list(session.scalars(query))


def is_known(dag_id: str) -> bool:
    """Whether Airflow has a DAG of that name, be it one that has never run."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return session.scalar(select(DagModel.dag_id).where(DagModel.dag_id == dag_id)) is not None


def of_run(dag_id: str, run_id: str) -> str | None:
    """The state of a DAG run; None where there is no such run."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    with create_session() as session:
        return _word(session.scalar(query))


def of_task(dag_id: str, run_id: str, task_id: str) -> dict[int, str | None]:
    """The states of a task's instances in a run by map index, -1 where it is not mapped; None before it is scheduled.

    Airflow makes the row of a mapped task's instance when it expands the task. One that has ended without a try is
    `MARKED`: what the scheduler itself ends, such as an EmptyOperator, has a try.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    here = (TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id, TaskInstance.task_id == task_id)
    query = select(TaskInstance.map_index, TaskInstance.state, TaskInstance.try_number).where(*here)
    with create_session() as session:
        return {index: _of_try(_word(state), number) for index, state, number in session.execute(query)}


def _of_try(state: str | None, number: int) -> str | None:
    return MARKED if state in BY_HAND and not number else state


def _word(state: Any) -> str | None:
    return None if state is None else str(getattr(state, "value", state))
