"""Why a tab has nothing to show: what may be so, each with its remedy."""

from collections.abc import Sequence

from e2s_tasks.core.records import WAITS, DecisionRecord
from e2s_tasks.integrations.airflow.states import LOST, MARKED, NOTHING_STARTS
from e2s_tasks.reporter import units

Reasons = list[tuple[str, str]]

NOT_BEGUN = {None, "scheduled", "queued"}
NEVER_BEGINS = {"upstream_failed", "removed"}
ENDED = {"success", "failed"}  # states of a run
SET_ASIDE = {
    "skipped": ("It was skipped", "Airflow started no process for it, so it used nothing."),
    MARKED: ("It was marked before it began", "Somebody has ended it, or its run, so it used nothing."),
    LOST: ("It was lost before it began", "Its process was killed, or not heard of again. What it used is not known."),
}
CUT_SHORT = (
    "It ended while it waited, by somebody's hand or with its run, or its process was killed as it began: then what it"
    " used is not known."
)
LOST_WAITING = (
    "Airflow has failed it, as its process was killed or not heard of. What that had used is in the run's row"
    " 'moving to a cleaner hour'."
)
BEHIND = "Another process holds the ledger's lock, so that the newest records wait. Reload when it has let go of it."
BEFORE = (
    "It ran before E2S_AUTO=true was in the environment of Airflow's workers: set it there, and in that of the"
    " scheduler and the API server, and restart them. What has run cannot be measured afterwards."
)
ELSEWHERE = (
    "The workers wrote to another ledger than this page reads: where they run on other hosts than the API server, or as"
    " another user, give all of Airflow's components the same E2S_LEDGER_URL, a PostgreSQL database."
)
NOT_INSTALLED = "The environment of the workers, or the image of their pods, lacks e2s-tasks: install it there, too."
SEE = "`e2s doctor`, run where the workers run and with their environment, says what is measured and where it is kept."
IDLE = "An operator that does nothing itself, such as EmptyOperator, is ended by the scheduler: then it used nothing."


def of_run(state: str | None, *, is_behind: bool = False) -> Reasons:
    """Why nothing is known of a DAG run that is in this state in Airflow; None: it has no such run.

    is_behind: whether records wait to be taken in.
    """
    if is_behind:
        return [("Not yet", BEHIND)]
    if state is None:
        return [("No run", "Airflow has none of that id: it may have been deleted.")]
    if state == "queued":
        return [("Not begun", "It waits in Airflow's queue. Reload when it has begun.")]
    return [
        ("Measured from then on", BEFORE), ("Another ledger", ELSEWHERE), ("Not installed", NOT_INSTALLED),
        ("To find out", SEE),
    ]  # fmt: skip


def of_task(states: Sequence[str | None], run_state: str | None, waits: DecisionRecord | None) -> tuple[str, Reasons]:
    """What is said of task instances in these states of which no attempt is known, and why that may be.

    run_state: that of their run. waits: the last decision about one of them that was to wait for a cleaner grid.
    """
    if not states:
        return "There is no such task in this run", [("No task", "Airflow has none of that name and index in it.")]
    if waits is not None and (waits.plan.get(WAITS) or waits.reason.startswith(NOTHING_STARTS)):
        return _of_waiting(waits, states, goes_on=run_state not in ENDED and "deferred" in states)
    if all(state in NEVER_BEGINS or (state in NOT_BEGUN and run_state in ENDED) for state in states):
        return "It did not begin", [("No attempt", "What it depends on failed, or its run had ended before.")]
    if all(state in NOT_BEGUN | NEVER_BEGINS | SET_ASIDE.keys() for state in states) and NOT_BEGUN.intersection(states):
        return "It has not begun", [("So far", "It has used nothing. Reload when Airflow has started it.")]
    if all(state in NEVER_BEGINS | SET_ASIDE.keys() for state in states):
        said, why = next(SET_ASIDE[state] for state in (LOST, MARKED, "skipped") if state in states)
        return said, [("No attempt", why)]
    return "This task was not measured", [("Nothing to do", IDLE), *of_run("")]


def _of_waiting(decision: DecisionRecord, states: Sequence[str | None], *, goes_on: bool) -> tuple[str, Reasons]:
    if LOST in states:
        return "It was lost while it waited for a cleaner grid, or decided to", [("No work of its own", LOST_WAITING)]
    if not decision.plan.get(WAITS):
        why = f"Somebody has ended it before its work began: {decision.reason.removeprefix(NOTHING_STARTS)}."
        return "It was marked while it waited for a cleaner grid", [("No attempt", why)]
    until = f"Until {units.clock(units.iso(decision.start))}: {decision.reason}."
    if goes_on:
        return "It waits for a cleaner grid", [("So far", f"It has used nothing. {until}")]
    if all(state in NOT_BEGUN | NEVER_BEGINS | {"deferred", "skipped"} for state in states):
        return "It was to wait for a cleaner grid, and has not begun", [("No attempt", until)]
    return "It was to wait for a cleaner grid, and no attempt of it is known", [("No attempt", f"{CUT_SHORT} {until}")]
