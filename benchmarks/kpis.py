"""How often the interval of a KPI over few runs holds the truth, beside a bootstrap, and what `e2s kpi` takes.

    .venv/bin/python benchmarks/kpis.py

The runs of the first part are drawn: 1000 units +- 10 %, 5 J a unit and +- 400 J that have nothing to do with them. The
ledger of the second holds a solution's runs of 21 spans each.
"""

import random
import statistics
import time

from common import FOLDER, Row, main

TRUE = 5.0
LEVEL = 95.0
Pairs = list[tuple[float, float]]


def measure(quick: bool) -> list[Row]:
    """The rows of coverage, and of the time of a solution's KPIs."""
    chance = random.Random(20261125)
    cases = 500 if quick else 10_000
    return [*(_coverage(runs, cases, chance) for runs in (3, 5, 10)), *_period(100 if quick else 1000)]


def _draw(runs: int, chance: random.Random) -> Pairs:
    made = [chance.gauss(1000.0, 100.0) for _ in range(runs)]
    return [(TRUE * units + chance.gauss(0.0, 400.0), units) for units in made]


def _coverage(runs: int, cases: int, chance: random.Random) -> Row:
    from e2s_tasks.core.ratios import ratio_interval

    ours = theirs = 0
    for _ in range(cases):
        pairs = _draw(runs, chance)
        found = ratio_interval(pairs, LEVEL / 100)
        ours += found.low is not None and found.high is not None and found.low <= TRUE <= found.high
        low, high = _bootstrap(pairs, chance)
        theirs += low <= TRUE <= high
    what = f"{LEVEL:g} % interval over {runs} runs holds the truth"
    return Row(
        what, 100 * ours / cases, "%", 94, 100 * theirs / cases, "percentile bootstrap", f"{cases} cases", least=True
    )


def _bootstrap(pairs: Pairs, chance: random.Random) -> tuple[float, float]:
    """The percentiles of the ratio over 200 draws with replacement."""
    ratios = []
    for _ in range(200):
        drawn = chance.choices(pairs, k=len(pairs))
        ratios.append(sum(y for y, _ in drawn) / sum(x for _, x in drawn))
    cuts = statistics.quantiles(ratios, n=40)
    return cuts[0], cuts[-1]


def _period(runs: int) -> list[Row]:
    from e2s_tasks.ledger import Ledger
    from e2s_tasks.reporter import energy_by_stage, solution_kpis

    ledger = Ledger.open(f"sqlite:///{FOLDER / 'kpis.db'}")
    now = time.time()
    for number in range(runs):
        ledger.ingest(_run(number, now - 60.0 * number))
    took = []
    for question in (solution_kpis, energy_by_stage):
        start = time.perf_counter()
        question(ledger, "scoring")
        took.append(time.perf_counter() - start)
    return [
        Row(f"KPIs and stages of {runs} runs of 21 spans", took[0], "s", note=f"{1000 * took[0] / runs:.2g} ms a run"),
        Row(f"the stages alone of {runs} runs", took[1], "s"),
    ]


def _run(number: int, at: float) -> list:
    from e2s_tasks.core.records import OutcomeRecord, SpanRecord

    run_id = f"run-{number}"
    given = {
        "seq": 1, "process_id": "p", "run_id": run_id, "flow_run_id": run_id, "started_at": at, "ended_at": at + 50.0,
        "status": "completed", "cpu_j": 2.0, "dram_j": 0.1,
    }  # fmt: skip
    flow = SpanRecord(id=f"{run_id}-f", kind="flow", name="score", solution="scoring", **given)
    steps = [
        SpanRecord(
            id=f"{run_id}-{step}", kind="attempt", name=f"step {step}", parent_id=flow.id, stage="inference",
            task_run_id=f"{run_id}-t{step}", **given,
        )
        for step in range(20)
    ]  # fmt: skip
    outcome = OutcomeRecord(f"{run_id}-o", run_id, steps[-1].id, at, "prediction", 100.0, accurate=80.0)
    return [flow, *steps, outcome]


if __name__ == "__main__":
    main(measure)
