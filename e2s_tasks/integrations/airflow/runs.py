"""DAG runs as the scheduler and the API server see them: that they begin and end, and the grid of their time."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic, time
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from e2s_tasks.core.records import LOST, OF_STEP, WAITS, DecisionRecord, Kind, SpanRecord, Status
from e2s_tasks.errors import E2SError, SettingError
from e2s_tasks.integrations.airflow import aside, declared
from e2s_tasks.integrations.airflow.connections import with_keys
from e2s_tasks.integrations.airflow.dag_runs import DAG_RUN, root_span
from e2s_tasks.integrations.airflow.gate import BEGIN, HOUR_HAS_COME
from e2s_tasks.integrations.airflow.identity import dag_run_id, task_instance_id
from e2s_tasks.integrations.airflow.states import NOTHING_STARTS
from e2s_tasks.recorder import process_recorder
from e2s_tasks.recorder.guard import guarded, warn_once

MOST = 10_000
LATEST = 500  # runs that are looked through for ends that nobody told
SEARCH_EVERY_S = 600.0
LONG_S = 1800.0  # of a shorter run what was forecast is what was
WAITING = {BEGIN, HOUR_HAS_COME}
MARKED_AS = {"success": Status.COMPLETED, "failed": Status.FAILED, "skipped": Status.SKIPPED}
LOOKING = "looking at the grid of a DAG run"
KNOWN = {"trace", "service", "cached", "profile"}  # rungs whose source may tell what the grid was


@guarded
def begun(dag_run: Any) -> None:
    """Write down that a run has begun, and look at the grid, on a thread: Airflow waits for nothing of it.

    At the first one, and every now and then, runs are ended of whose end nobody was there to tell.
    """
    global _searched  # noqa: PLW0603
    record = _root_span(dag_run)
    if _searched is None or monotonic() - _searched >= SEARCH_EVERY_S:
        _searched = monotonic()
        aside.write("ending the DAG runs of whose end nobody told", end_what_has_ended)
    process_recorder().write(record)
    if len(_begun) > MOST:  # of runs that end in another process, such as those that a person marks, nothing is heard
        _begun.clear()
    _begun.add(record.run_id)
    zone = _zone(dag_run)
    aside.look(LOOKING, lambda: _look(record.run_id, zone))


@guarded
def ended(dag_run: Any) -> None:
    """Write down that a run has ended; where nobody saw it begin, as in `dags test`, look at the grid now."""
    record = _root_span(dag_run)
    process_recorder().write(record)
    if record.run_id in _begun:
        _begun.discard(record.run_id)
        if _is_long(record):
            aside.look("looking back at the grid of a DAG run", lambda: _look_back(record))
        else:
            aside.write("delivering the end of a DAG run", _deliver)
    else:
        zone = _zone(dag_run)
        aside.look(LOOKING, lambda: _deliver() if _decisions_of(record.run_id) else _look(record.run_id, zone))


@guarded
def marked(task_instance: Any, *, by_hand: bool) -> None:
    """Write down that a task has an end of which its process may not tell: it waits no more for a cleaner grid.

    by_hand: somebody has given it that end, which cancels an attempt that is suspended or at work. Else Airflow has
    failed it, whether it is tried again or not, as its executor had lost it.
    """
    one, state = task_instance, str(getattr(task_instance.state, "value", task_instance.state))
    run, step = dag_run_id(one.dag_id, one.run_id), task_instance_id(one.dag_id, one.run_id, one.task_id, one.map_index)
    now, recorder = time(), process_recorder()
    known = uuid5(NAMESPACE_URL, f"e2s:marked:{step}:{now}").hex
    waits = getattr(one, "next_method", None) in WAITING
    if waits:
        reason = f"{NOTHING_STARTS}the task was marked {state} while it waited"
        plan = {OF_STEP: step, WAITS: False}
        recorder.write(DecisionRecord(known, run, now, "missing", "none", reason, plan=plan))
    if one.try_number:  # else nothing has begun
        status = MARKED_AS.get(state, Status.CANCELLED) if by_hand else Status.FAILED
        mark = SpanRecord(known, 0, run, run, Kind.MARK, one.task_id, status, now, run.replace("-", ""))
        mark.attributes = {} if by_hand else {LOST: True}
        mark.flow_run_id, mark.task_run_id, mark.attempt = run, step, one.try_number
        recorder.write(mark)
    if waits or one.try_number:
        aside.write("delivering that a task was marked", _deliver)


_begun: set[str] = set()  # runs that have begun in this process
_searched: float | None = None  # when it was last looked for runs of whose end nobody told


def _root_span(dag_run: Any) -> SpanRecord:
    return root_span(dag_run, solution=_solution(dag_run), attributes=process_recorder().declared)


def _look(run_id: str, zone: str | None) -> None:
    from e2s_tasks import scheduler

    recorder, now = process_recorder(), datetime.now(UTC)
    try:
        found = scheduler.intensity_now(zone, now, with_keys(recorder.settings))
    except E2SError as error:
        warn_once("looking at the grid", error)
        found = scheduler.average_now(zone, now, str(error))
    recorder.write(scheduler.to_record(found, run_id))
    _deliver()


def _decisions_of(run_id: str) -> list[DecisionRecord]:
    from e2s_tasks.ledger import Ledger, replay

    recorder = process_recorder()
    with closing(Ledger.open(recorder.settings.ledger)) as ledger:
        replay(recorder.settings.journals, ledger)
        return ledger.run(run_id).decisions


def _is_long(run: SpanRecord) -> bool:
    return run.ended_at is not None and run.ended_at - run.started_at >= LONG_S


def _look_back(run: SpanRecord) -> None:
    """Write down what the grid was while a long run went on, or while tasks of it waited."""
    from e2s_tasks import scheduler

    recorder = process_recorder()
    known = [one for one in _decisions_of(run.run_id) if one.plan.get("rung") in KNOWN]
    if known and run.ended_at is not None:
        last = max(known, key=lambda one: (one.start is not None, one.at))
        end = datetime.fromtimestamp(run.ended_at, UTC)
        seen = scheduler.Decision(at=end, zone=last.zone, signal=last.signal, source=last.source, reason=last.reason)
        start = datetime.fromtimestamp(run.started_at, UTC)
        found = scheduler.observed(seen, start, end, with_keys(recorder.settings))
        if found is not None:
            recorder.write(scheduler.to_record(found, run.run_id))
    _deliver()


def _deliver() -> None:
    """Where the ledger is not this host's own, nobody may ever read it here."""
    recorder = process_recorder()
    if recorder.settings.ledger_url is not None:
        recorder.flush()


def end_what_has_ended() -> None:
    """Write down the ends, as Airflow has them, of the latest runs that the ledger takes to go on.

    A run that Airflow has no more, as that of `tasks test`, was cancelled. Those of other Airflows are left alone.
    """
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from e2s_tasks.ledger import Ledger, replay

    recorder = process_recorder()
    ledger = Ledger.open(recorder.settings.ledger)
    replay(recorder.settings.journals, ledger)
    open_runs = []
    for row in ledger.runs(limit=LATEST):
        if row.status == "running" and row.flow_run_id:
            spans = ledger.as_written(row.run_id).spans
            seen = max(one.ended_at or one.started_at for one in spans)
            open_runs += [(one, seen) for one in spans if one.is_of_no_process and DAG_RUN in one.attributes]
    with create_session() as session:
        for known, seen in open_runs:
            if dag_run_id(**known.attributes[DAG_RUN]) != known.run_id:
                continue
            wanted = select(DagRun).filter_by(**known.attributes[DAG_RUN])
            dag_run = session.scalar(wanted)
            if dag_run is None:
                recorder.write(replace(known, seq=known.seq + 1, status=Status.CANCELLED, ended_at=seen))
            elif dag_run.end_date is not None:
                recorder.write(_root_span(dag_run))
    _deliver()


def _dag(dag_run: Any) -> Any:
    try:
        return dag_run.dag or dag_run.get_dag()
    except Exception:  # noqa: BLE001 - it may have been deleted
        return None


def _told(dag_run: Any) -> tuple[list[str], dict[str, Any]]:
    dag = _dag(dag_run)
    return list(getattr(dag, "tags", None) or ()), declared.told_in_a_run(dag, None, dag_run.conf)


def _solution(dag_run: Any) -> str | None:
    try:
        return declared.solution_of(*_told(dag_run))
    except SettingError as error:
        warn_once("reading the solution of a DAG (it has none)", error)
        return None


def _zone(dag_run: Any) -> str | None:
    try:
        policy = declared.policy(*_told(dag_run))
    except SettingError as error:
        warn_once("reading the carbon policy of a DAG (it has none)", error)
        policy = None
    return policy.zone if policy is not None else process_recorder().settings.zone
