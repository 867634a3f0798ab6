"""How long after the end of a flow run of 1,000 steps its summary is on its page, and how long a run's end takes more.

    .venv/bin/python benchmarks/summary_page.py

The spans are those of real tasks in a flow run on Prefect's server; publishing it is then repeated. A page is
published when Prefect has taken it; event and history come later.
"""

import statistics
import time
from typing import Any

from common import Row, main, quiet

GOAL_MS = 200.0


def measure(quick: bool) -> list[Row]:
    """Milliseconds."""
    from prefect import flow
    from prefect.client.orchestration import get_client

    from e2s_tasks import e2s_flow, e2s_task
    from e2s_tasks.integrations.prefect import history, publish
    from e2s_tasks.ledger import Ledger, replay
    from e2s_tasks.recorder import process_recorder
    from e2s_tasks.reporter import summarise_run
    from e2s_tasks.settings import settings

    steps, repeats = (50, 3) if quick else (1_000, 15)

    def nothing() -> None:
        return

    work = e2s_task(nothing, name="work")
    ends: list[float] = []

    @e2s_flow(name="many-steps")
    def many() -> None:
        for _ in range(steps):
            work()
        ends.append(time.perf_counter())

    took: dict[str, list[float]] = {"summary": [], "page": [], "follow": [], "hook": []}
    put_page, follow = publish.put_page, history.follow

    def timed(name: str, call: Any) -> Any:
        def called(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            if name == "hook":
                hooked.append(start)
            found = call(*args, **kwargs)
            took[name].append(time.perf_counter() - start)
            if name == "page":
                published.append(time.perf_counter())
            return found

        return called

    published: list[float] = []
    hooked: list[float] = []
    publish.put_page, history.follow = timed("page", put_page), timed("follow", follow)
    publish.end_live = timed("hook", publish.end_live)  # the first that our hook does
    with quiet():
        flow(name="warm-up")(nothing)()
        run_id = str(many(return_state=True).state_details.flow_run_id)
        ledger = Ledger.open(settings().ledger)
        process_recorder().flush()
        replay(settings().journals, ledger)
        with get_client(sync_client=True) as client:
            for _ in range(repeats):
                start = time.perf_counter()
                summary = summarise_run(ledger, run_id)
                took["summary"].append(time.perf_counter() - start)
                publish.put_summary(client, summary, run_id)
    size = len(summary["steps"])
    mine = {name: statistics.median(times[1:] or times) * 1e3 for name, times in took.items()}
    return [
        Row("summary and page of a run, again and again, median", mine["summary"] + mine["page"], "ms", GOAL_MS,
            note=f"{size} rows; the summary {mine['summary']:.0f} ms of it"),
        Row("from the end of the flow's function to its page, once", (published[0] - ends[0]) * 1e3, "ms", GOAL_MS,
            note=f"{(hooked[0] - ends[0]) * 1e3:.0f} ms of it are Prefect's own ending of the run"),
        Row("of it from Prefect's call of our hook to the page", (published[0] - hooked[0]) * 1e3, "ms", GOAL_MS,
            note="the last writes, the ledger's opening, the summary, and Prefect's taking of the page"),
        Row("event and history, after it", mine["follow"], "ms"),
    ]  # fmt: skip


if __name__ == "__main__":
    main(measure)
