"""A DAG run as the root run of the ledger: it lives in Airflow's database, so that no process answers for it.

Every process of Airflow that has to do with it writes down what it knows of it: its tasks that it has begun, the
scheduler (or the API server, where a person has marked it) that it has ended.
"""

from collections.abc import Mapping
from datetime import datetime
from time import time
from typing import Any

from e2s_tasks.core.records import LAST_BEGAN, Kind, SpanRecord, Status
from e2s_tasks.integrations.airflow.identity import dag_run_id

DAG_RUN = "dag_run"  # attribute of the root span: where Airflow has the run
ENDED = {"success": Status.COMPLETED, "failed": Status.FAILED}


def root_span(dag_run: Any, *, solution: str | None = None, attributes: Mapping[str, Any] | None = None) -> SpanRecord:
    """The root span of a DAG run as it stands; it has no energy of its own, since no process is its own.

    dag_run: Airflow's, as tasks or as the scheduler have it. A run that was cleared, or deleted and made anew, begins
    again under the same id; the ledger keeps its first start, and a solution that only somebody else knew.
    """
    status = ENDED.get(str(getattr(dag_run.state, "value", dag_run.state)), Status.RUNNING)
    run_id = dag_run_id(dag_run.dag_id, dag_run.run_id)
    began = _began(dag_run)
    ended = None if status is Status.RUNNING else _seconds(dag_run.end_date) or time()
    return SpanRecord(
        id=run_id.replace("-", ""), seq=_number(began, is_over=ended is not None), process_id=run_id,
        run_id=run_id, flow_run_id=run_id,
        kind=Kind.FLOW, name=dag_run.dag_id, status=status, started_at=began or ended or time(), ended_at=ended,
        attempt=1 + (dag_run.clear_number or 0), solution=solution,
        attributes={
            "flow_run_name": dag_run.run_id, DAG_RUN: {"dag_id": dag_run.dag_id, "run_id": dag_run.run_id},
            **life_of(dag_run), **(attributes or {}),
        },
    )  # fmt: skip


def life_of(dag_run: Any) -> dict[str, Any]:
    """The attribute that tells the life of a run in which something happens; none where Airflow does not know it."""
    began = _began(dag_run)
    return {} if began is None else {LAST_BEGAN: began}


def _number(began: float | None, *, is_over: bool) -> int:
    """The sequence number of what is known: who tells an end later has the last word, until the run begins anew.

    A run that has ended and is marked otherwise keeps its time, so that its end says nothing of the order.
    """
    return int(1000 * time()) if is_over else int(1000 * (began or 0.0))


def _began(dag_run: Any) -> float | None:
    """When a run began; None where Airflow does not know, as in `dags test`, which gives its date out as its start."""
    dates = [getattr(dag_run, name, None) for name in ("logical_date", "run_after")]
    return None if dag_run.start_date in dates else _seconds(dag_run.start_date)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
