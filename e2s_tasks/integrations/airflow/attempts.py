"""The measuring of an attempt, in the process that the supervisor starts for it.

A span of kind orchestration is open from the process's start to its end: what Airflow itself does there, such as
reading the DAG's file, is the DAG run's own energy. The attempt inside it is what the operator does, with the loading
of what it is handed and the keeping of its result (`runner`). How it has ended is known once its state is reported: one
that is killed until then has crashed, and one whose report is refused was cancelled, by whoever has marked or cleared
the task meanwhile. Its callbacks come after that, and are a part of it whose own ends change nothing of its; only that
it skipped Airflow is told once its process has ended in order, and else that it failed.
"""

import atexit
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from e2s_tasks.core.records import MOVED, PEAK_MEMORY, STOPPED, TRY_ID, EdgeRecord, Kind, Status, VersionRecord
from e2s_tasks.errors import SettingError
from e2s_tasks.integrations.airflow import assets, declared, metrics, pulls, runner, xcoms
from e2s_tasks.integrations.airflow.conf import tell_of_a_policy
from e2s_tasks.integrations.airflow.dag_runs import life_of, root_span
from e2s_tasks.integrations.airflow.ending import ending
from e2s_tasks.integrations.airflow.identity import TASK_INSTANCE, dag_run_id, task_instance_id
from e2s_tasks.recorder import process_recorder
from e2s_tasks.recorder.guard import guarded, warn_once
from e2s_tasks.recorder.open_span import OpenSpan
from e2s_tasks.recorder.unmeasured import Unmeasured

ORCHESTRATOR = "airflow"
OPERATOR = "operator"
KIB = 1 if sys.platform == "darwin" else 1024  # what the system counts memory in
NAME = "task_run_name"


@dataclass(slots=True)
class Attempt:
    """The attempt of this process.

    works: its work goes on, on the thread that it began on. stopped: it was told to end. made: of its outlets, to be
    written down once its success has been taken. over: its state has been reported. skips: so that it skipped, if its
    process ends in order.
    """

    task_instance: Any
    span: OpenSpan | Unmeasured
    works: bool = True
    stopped: bool = False
    error: BaseException | str | None = None
    made: list[VersionRecord] = field(default_factory=list)
    over: bool = False
    skips: bool = False


@dataclass(slots=True)
class Process:
    """What goes on in this process; `dags test` has one attempt after another in it."""

    around: OpenSpan | Unmeasured | None = None
    attempt: Attempt | None = None
    run_id: str | None = field(default=None)


_here = Process()


@guarded
def process_begins() -> None:
    """The process of an attempt has started, and is about to read the DAG's file."""
    _watch()
    told = _told_to_the_log()
    if "dag_id" in told and "run_id" in told:
        _open_around(str(told["dag_id"]), str(told["run_id"]))


def _watch() -> None:
    pulls.watch()
    runner.watch(runner.Follower(attempt_begins, _worked, _pause, _end, _callbacks))


def _told_to_the_log() -> dict[str, Any]:
    """What the supervisor has told of the task instance: at this moment only the log has it."""
    from structlog.contextvars import get_contextvars

    found: dict[str, Any] = get_contextvars()
    return found


def _open_around(dag_id: str, run_id: str) -> None:
    if _here.around is not None:
        _close_around()
    facts = {"flow_run_id": dag_run_id(dag_id, run_id)}
    _here.around = process_recorder().span(f"{ORCHESTRATOR} process", Kind.ORCHESTRATION, facts)
    _here.run_id = facts["flow_run_id"]
    _here.around.run()
    atexit.unregister(_leave)
    atexit.register(_leave)  # after the recorder's own, so that it is called before that


@guarded
def attempt_begins(task_instance: Any) -> None:
    """The attempt is about to begin; told again once its templates are rendered, and with them its label."""
    if _here.attempt is not None and _here.attempt.task_instance is task_instance:
        _rendered(_here.attempt)
        return
    _has_skipped()
    dag_run = task_instance._ti_context_from_server.dag_run  # noqa: SLF001 - Airflow has no other place for it
    if _here.run_id != dag_run_id(dag_run.dag_id, dag_run.run_id) or _here.around is None:
        _open_around(dag_run.dag_id, dag_run.run_id)
    _watch()  # again, for `dags test`, which has no beginning of a process
    task = task_instance.task
    recorder = process_recorder()
    given = _given(task_instance)
    recorder.write(root_span(dag_run, solution=_solution(task, given), attributes=recorder.declared))
    tell_of_a_policy(task, dag_run.conf)
    span = recorder.span(task_instance.task_id, Kind.ATTEMPT, _facts(task_instance, given))
    _here.attempt = Attempt(task_instance, span)
    span.start()
    span.resume()
    _watch_for_the_end()
    if isinstance(span, OpenSpan):
        assets.begun(span, task_instance)
        metrics.wanted(span)


def _rendered(attempt: Attempt) -> None:
    """The attempt's templates are rendered: a mapped one has its label and operator now, and params of its own."""
    one, span = attempt.task_instance, attempt.span
    span.note({NAME: _name(one), OPERATOR: type(one.task).__name__})
    if isinstance(span, OpenSpan) and _index_of(one) >= 0:
        span.record.stage = declared.stage(_given(one))
    _write_edges(attempt)


@guarded
def _write_edges(attempt: Attempt) -> None:
    """What the attempt has pulled so far."""
    if not isinstance(attempt.span, OpenSpan):
        return
    for upstream, downstream in xcoms.edges_of(attempt.task_instance, pulls.taken()):
        record = EdgeRecord(f"{upstream}>{downstream}", _here.run_id or "", upstream, downstream)
        process_recorder().write(record)


def _facts(task_instance: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The fields of the attempt's span."""
    return {
        "task_run_id": _step_of(task_instance),
        "task_key": f"{task_instance.dag_id}.{task_instance.task_id}",
        "attempt": max(1, task_instance.try_number),
        "attributes": {
            NAME: _name(task_instance),
            OPERATOR: type(task_instance.task).__name__,
            TRY_ID: str(task_instance.id),
            TASK_INSTANCE: {
                "task_id": task_instance.task_id,
                "map_index": _index_of(task_instance),
                "try": task_instance.try_number,
            },
            **life_of(task_instance._ti_context_from_server.dag_run),  # noqa: SLF001
        },
        "stage": declared.stage(given),
    }


def _index_of(task_instance: Any) -> int:
    return -1 if task_instance.map_index is None else int(task_instance.map_index)


def _name(task_instance: Any) -> str:
    index = task_instance.map_index
    label = getattr(task_instance, "rendered_map_index", None) or (None if index in {None, -1} else index)
    return str(task_instance.task_id) if label is None else f"{task_instance.task_id}[{label}]"


def _step_of(task_instance: Any) -> str:
    one = task_instance
    return task_instance_id(one.dag_id, one.run_id, one.task_id, one.map_index)


def _given(task_instance: Any) -> dict[str, Any]:
    task = task_instance.task
    conf = task_instance._ti_context_from_server.dag_run.conf  # noqa: SLF001
    return declared.told_in_a_run(task.dag, task, conf)


def _solution(task: Any, given: dict[str, Any]) -> str | None:
    try:
        return declared.solution_of(task.dag.tags or (), given)
    except SettingError as error:
        warn_once("reading the solution of a DAG (it has none)", error)
        return None


@guarded
def _worked() -> None:
    """The attempt has done its work: what it made is told to who follows the assets, with the report."""
    attempt = _here.attempt
    if attempt is None:
        return
    if isinstance(attempt.span, OpenSpan):
        assets.made(attempt.span, attempt.task_instance, attempt.made)
    _pause(succeeded=True)
    if isinstance(attempt.span, OpenSpan):
        assets.tell(attempt.span, attempt.task_instance, attempt.made)


def _watch_for_the_end() -> None:
    """Note when Airflow tells the process to stop, before it does what it does at that."""
    tells, here = signal.getsignal(signal.SIGTERM), os.getpid()
    if threading.current_thread() is not threading.main_thread():
        return
    if not callable(tells) or isinstance(tells, runner.Told):
        return

    def note() -> None:
        if os.getpid() == here and _here.attempt is not None and _here.attempt.works:
            _here.attempt.stopped = True
            for span in (_here.attempt.span, _here.around):
                if span is not None:  # the next tick writes it down
                    span.note({STOPPED: True})

    signal.signal(signal.SIGTERM, runner.Told(tells, note))


@guarded
def _pause(error: BaseException | None = None, *, succeeded: bool = False) -> None:
    """The work is over: what the attempt pulled and what it used is known."""
    attempt = _here.attempt
    if attempt is not None and attempt.works:
        attempt.works = False
        attempt.error = error
        if succeeded or not attempt.stopped:
            _write_edges(attempt)
        attempt.span.suspend()
        attempt.span.note({PEAK_MEMORY: _peak_memory()})
        attempt.span.worked()


@guarded
def only_waits() -> None:
    """The process does no more than have its task wait for a cleaner grid."""
    if _here.around is not None:
        _here.around.note({MOVED: True})


@guarded
def attempt_failed(error: Any) -> None:
    """The attempt has failed, of which this error is the reason; it may have come after the work."""
    if _here.attempt is not None and error is not None:
        _here.attempt.error = error


@guarded
def _end(error: BaseException | None = None, taken: bool = True) -> None:
    """The state of the attempt has been reported: what it made is there if that was taken.

    Where its work goes on and an error ends it, what was not taken was no report.
    """
    attempt = _here.attempt
    if attempt is None or attempt.over:
        return
    taken = taken or (attempt.works and error is not None)
    if attempt.error is None:
        attempt.error = error
    _pause(attempt.error if isinstance(attempt.error, BaseException) else None)
    attempt.over = True
    attempt.span.note({NAME: _name(attempt.task_instance)})  # a label may have been made meanwhile
    status = ending(attempt.task_instance, attempt.error, stopped=attempt.stopped, taken=taken)
    if isinstance(attempt.span, OpenSpan) and status is Status.COMPLETED:
        for one in attempt.made:
            process_recorder().write(one, attempt.span)
    attempt.skips = status is Status.SKIPPED
    if not attempt.skips:
        _close(attempt, status)


def _close(attempt: Attempt, status: Status) -> None:
    attempt.skips = False
    attempt.span.end(status)
    if isinstance(attempt.span, OpenSpan):
        metrics.tell(attempt.span, attempt.task_instance)


def _has_skipped() -> None:
    """The attempt's process ends in order, or goes on with the next one, as in `dags test`."""
    if _here.attempt is not None and _here.attempt.skips:
        _close(_here.attempt, Status.SKIPPED)


@contextmanager
def _callbacks(kind: str) -> Iterator[None]:
    """Around callbacks of the attempt: they are a part of it."""
    attempt = _here.attempt
    if attempt is None or not isinstance(attempt.span, OpenSpan):
        yield
        return
    try:
        with process_recorder().span(kind, Kind.SPAN, {"parent_id": attempt.span.id}):
            yield
    except SystemExit as error:
        if attempt.skips:
            _close(attempt, Status.FAILED if error.code else Status.SKIPPED)
        raise


@guarded
def process_ends() -> None:
    """The process is about to end: what was measured is written down, and delivered where it must be."""
    _end()
    _has_skipped()
    _here.attempt = None
    pulls.taken()  # by callbacks, after the work: it went into nothing
    _close_around()
    process_recorder().close()


def _leave() -> None:
    """The process ends, of which Airflow told nothing: by an error of its own, or by `sys.exit()`, as of a callback.

    Airflow's processes run what `atexit` has, and not what multiprocessing has for its children, which they may be.
    """
    if _here.around is not None:
        if _here.attempt is not None and _here.attempt.skips:
            _close(_here.attempt, Status.FAILED)
        process_ends()


def _forget() -> None:
    """What goes on is the parent's in a process that was forked in the middle of it."""
    _here.around = _here.attempt = _here.run_id = None


os.register_at_fork(after_in_child=_forget)


def _close_around() -> None:
    around, _here.around, _here.run_id = _here.around, None, None
    if around is not None:
        around.stop(Status.COMPLETED)


def _peak_memory() -> int:
    return KIB * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
