"""What the Energy tabs show of a DAG, a DAG run and a task instance; who asks may see them, as `views.py` has found.

The ledger is asked by ids that are made of the DAG's, so that a run is only ever found under its own DAG.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec
from urllib.parse import quote, urlencode

from e2s_tasks.core.records import LOST, OF_STEP, WAITS, SpanRecord
from e2s_tasks.errors import E2SError
from e2s_tasks.integrations.airflow import states, why_nothing
from e2s_tasks.integrations.airflow.identity import TASK_INSTANCE, dag_run_id, task_instance_id
from e2s_tasks.ledger import Ledger
from e2s_tasks.ledger.glances import RunRow

if TYPE_CHECKING:
    from e2s_tasks.reporter.html.page import Row

P = ParamSpec("P")
OK, NOT_FOUND, UNAVAILABLE = 200, 404, 503
NOT_MEASURED = "This run was not measured"
_log = logging.getLogger(__name__)
_opening = threading.Lock()  # many who open a tab at once need not all take in the same journals


@dataclass(frozen=True, slots=True)
class Page:
    """A page, and its status in HTTP."""

    html: str
    status: int = OK


def _answered(page: Callable[P, Page]) -> Callable[P, Page]:
    """The page; where the ledger or a setting keeps it from being made, one that says so, and the log why."""

    @wraps(page)
    def answered(*args: P.args, **kwargs: P.kwargs) -> Page:
        try:
            return page(*args, **kwargs)
        except E2SError as error:  # its message may name places and hosts, which not everybody here need know
            from e2s_tasks.reporter.html.task_run_page import render_nothing

            _log.warning("e2s: the Energy tab cannot be shown: %s", error)
            reasons = [("What to do", "The log of Airflow's API server says why. Reload when it is mended.")]
            return Page(render_nothing("Energy", "The ledger does not answer", reasons), UNAVAILABLE)

    return answered


@contextmanager
def _ledger() -> Iterator[Ledger]:
    """The ledger, with what this host's journals still hold."""
    with _opening:
        ledger = Ledger.open()
    try:
        yield ledger
    finally:
        ledger.close()


def _measured(ledger: Ledger, dag_id: str, run_id: str) -> RunRow | None:
    """The run in the ledger; None where it has none that is this DAG's by name, too.

    An id alone is not enough: who may name a DAG as he likes can make two parts of the text that another one's id is
    made from.
    """
    found = ledger.known_runs([dag_run_id(dag_id, run_id)])
    return found[0] if found and (found[0].name, found[0].flow_run_name) == (dag_id, run_id) else None


@_answered
def dag(dag_id: str) -> Page:
    """The latest runs of a DAG, each with its energy."""
    from e2s_tasks.reporter.html.task_run_page import render_nothing, render_runs
    from e2s_tasks.reporter.run import lower_bounds_among

    run_ids = states.latest_runs(dag_id)
    if not run_ids and not states.is_known(dag_id):
        reasons = [("No DAG", "Airflow knows none of that name: it may have been renamed or deleted.")]
        return Page(render_nothing(dag_id, "There is no such DAG", reasons), NOT_FOUND)
    if not run_ids:
        reasons = [("No run", "Its runs will be listed here, with what each used.")]
        return Page(render_nothing(dag_id, "This DAG has not run yet", reasons))
    with _ledger() as ledger:
        rows = ledger.known_runs([dag_run_id(dag_id, run_id) for run_id in run_ids])
        found = {row.flow_run_name: row for row in rows if row.name == dag_id}
        lower = lower_bounds_among(ledger, [row.run_id for row in found.values()])
    return Page(render_runs(dag_id, [_run(dag_id, run_id, found.get(run_id), lower) for run_id in run_ids]))


def _run(dag_id: str, run_id: str, row: RunRow | None, lower: set[str]) -> "Row":
    """The run's row. lower: the ids of those whose energy is a lower bound."""
    from e2s_tasks.reporter import phrases, units
    from e2s_tasks.reporter.html.page import Row

    name = units.printable(run_id)
    if row is None:
        return Row([name, "not measured", units.UNKNOWN, "", ""], "more")
    took = None if row.ended_at is None else row.ended_at - row.started_at
    so_far = " so far" if row.status == "running" else ""
    joules = units.at_least(units.joules(row.energy.total), row.run_id in lower)
    cells = [
        name, phrases.mark({"status": row.status}), joules + so_far, units.seconds(took),
        units.clock(units.iso(row.started_at)),
    ]  # fmt: skip
    href = f"{quote(dag_id, safe='')}/run?{urlencode({'run_id': run_id})}"
    return Row(cells, "lost" if row.status in phrases.BROKEN else "", 0, href)


@_answered
def dag_run(dag_id: str, run_id: str) -> Page:
    """The report of a DAG run, whose task instances lead to their own pages."""
    from e2s_tasks.reporter.html import render_run
    from e2s_tasks.reporter.html.task_run_page import render_nothing

    with _ledger() as ledger:
        row = _measured(ledger, dag_id, run_id)
        if row is None:
            reasons = why_nothing.of_run(states.of_run(dag_id, run_id), is_behind=ledger.is_behind)
            return Page(render_nothing(f"{dag_id} {run_id}", NOT_MEASURED, reasons), NOT_FOUND)
        return Page(render_run(ledger, row.run_id, inside=lambda span: _task_href(run_id, span)))


def _task_href(run_id: str, span: SpanRecord) -> str:
    """The page of the task instance that an attempt is of, beside that of its run."""
    told = span.attributes.get(TASK_INSTANCE)
    if not told:
        return ""
    asked = {"run_id": run_id, "task_id": told["task_id"], "map_index": told["map_index"]}
    return f"task-instance?{urlencode(asked)}"


@_answered
def task_instance(dag_id: str, run_id: str, task_id: str, map_index: str) -> Page:
    """Every try of a task instance; of a mapped task without an index, those of all its instances."""
    from e2s_tasks.reporter.html.task_run_page import render_nothing, render_task_run
    from e2s_tasks.reporter.run import summarise_records
    from e2s_tasks.reporter.task_run import summarise_task_runs

    known = states.of_task(dag_id, run_id, task_id)
    index = _index(map_index)
    whole = index < 0 and index not in known
    indices = sorted({-1, *known}) if whole else [index]
    wanted = [task_instance_id(dag_id, run_id, task_id, one) for one in indices]
    title = task_id if index < 0 else f"{task_id} [{index}]"
    with _ledger() as ledger:
        if _measured(ledger, dag_id, run_id) is None:
            reasons = why_nothing.of_run(states.of_run(dag_id, run_id), is_behind=ledger.is_behind)
            return Page(render_nothing(title, NOT_MEASURED, reasons), NOT_FOUND)
        run = ledger.run(dag_run_id(dag_id, run_id))
        found = summarise_task_runs(summarise_records(ledger, run), run, wanted)
        marks = [] if found["attempts"] else ledger.marks(run.run_id)
    if not found["attempts"]:
        last = {one.plan[OF_STEP]: one for one in run.decisions if one.plan.get(OF_STEP) in wanted}
        waits = sorted(last.values(), key=lambda one: bool(one.plan.get(WAITS)))  # those that wait still at the end
        marked = {one.task_run_id: states.LOST if LOST in one.attributes else states.MARKED for one in marks}
        its_states = [
            marked.get(name, known[one]) if known[one] in states.BY_HAND else known[one]
            for one, name in zip(indices, wanted, strict=True) if one in known
        ]  # fmt: skip
        said, reasons = why_nothing.of_task(its_states, states.of_run(dag_id, run_id), waits[-1] if waits else None)
        return Page(render_nothing(title, said, reasons), NOT_FOUND)
    return Page(render_task_run(found, title, f"run?{urlencode({'run_id': run_id})}"))


def _index(text: str) -> int:
    """A map index; -1 for the literal placeholder that Airflow leaves where a task is not mapped, as for none."""
    try:
        return int(text)
    except ValueError:
        return -1
