"""What a fresh process pays: importing, and its first measured span; CodeCarbon's first start beside.

    .venv/bin/python benchmarks/startup.py

Every figure is the median over fresh Python processes, the compared ones in turns. The hardware profile is known, as
after the first measured process of a host.
"""

import statistics

from common import Row, fresh, main

TIMED = "import time; start = time.perf_counter()\n{}\nprint(time.perf_counter() - start)"
PROGRAMS = {
    "e2s": TIMED.format("import e2s_tasks"),
    "span": "from e2s_tasks import span\n" + TIMED.format("with span('x'): pass"),
    "both": TIMED.format("from e2s_tasks import span\nwith span('x'): pass"),
    "prefect": TIMED.format("from prefect import flow, task"),
    "over prefect": "from prefect import flow, task\n" + TIMED.format("from e2s_tasks import e2s_flow, e2s_task"),
    "codecarbon": TIMED.format("import codecarbon"),
    "tracker": "from codecarbon import OfflineEmissionsTracker\n"
    + TIMED.format(
        "tracker = OfflineEmissionsTracker(country_iso_code='GBR', save_to_file=False, log_level='critical')\n"
        "tracker.start()"
    )
    + "\ntracker.stop()",
}


def measure(quick: bool) -> list[Row]:
    """Milliseconds."""
    rounds = 1 if quick else 9
    names = [name for name in PROGRAMS if not (quick and name == "tracker")]
    found: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name in names:
            found[name].append(float(fresh(PROGRAMS[name]).splitlines()[-1]) * 1e3)
    ms = {name: statistics.median(times) for name, times in found.items() if times}
    return [
        Row("import e2s_tasks", ms["e2s"], "ms", 50, ms["codecarbon"], "CodeCarbon"),
        Row("first measured span, profile known", ms["span"], "ms", 30, ms.get("tracker"), "CodeCarbon's first start"),
        Row("the import and the first span together", ms["both"], "ms"),
        Row("e2s_task and e2s_flow after prefect's task and flow", ms["over prefect"], "ms", 60,
            ms["prefect"], "prefect"),
    ]  # fmt: skip


if __name__ == "__main__":
    main(measure)
