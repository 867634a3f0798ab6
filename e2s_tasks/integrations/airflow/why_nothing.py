"""Why a tab has nothing to show: what may be so, each with its remedy."""

from collections.abc import Sequence

Reasons = list[tuple[str, str]]

NOT_BEGUN = {None, "scheduled", "queued", "upstream_failed", "removed"}
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


def of_run(state: str | None) -> Reasons:
    """Why nothing is known of a DAG run that is in this state in Airflow."""
    if state == "queued":
        return [("Not begun", "It waits in Airflow's queue. Reload when it has begun.")]
    return [
        ("Measured from then on", BEFORE), ("Another ledger", ELSEWHERE), ("Not installed", NOT_INSTALLED),
        ("To find out", SEE),
    ]  # fmt: skip


def of_task(states: Sequence[str | None]) -> tuple[str, Reasons]:
    """What is said of task instances in these states of which no attempt is known, and why that may be."""
    if states and all(state in NOT_BEGUN for state in states):
        return "It has not begun", [("So far", "It has used nothing. Reload when Airflow has started it.")]
    if states and all(state == "skipped" for state in states):
        return "It was skipped", [("No attempt", "Airflow started no process for it, so it used nothing.")]
    return "This task was not measured", [("Nothing to do", IDLE), *of_run(None)]
