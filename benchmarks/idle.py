"""What an open, idle span costs: CPU of the meter's own thread, and memory.

    .venv/bin/python benchmarks/idle.py

A fresh process opens a span and sleeps; another one of the same imports sleeps without. Memory is the resident set
after the sleep, in a process that has imported Prefect (where the product is used) and in a bare one; CodeCarbon's
tracker beside, with its default of 15 s.
"""

from common import Row, fresh, main

PROGRAM = """
import gc, sys, time
{imports}
def resident():
    gc.collect()
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmRSS"))
before = resident()
{begin}
time.sleep(1)
start = time.process_time()
time.sleep({seconds})
used = time.process_time() - start
print(used, resident() - before)
{end}
"""
SPAN = ("from e2s_tasks import span\none = span('idle')\none.__enter__()", "one.__exit__(None, None, None)")
TRACKER = (
    """from codecarbon import OfflineEmissionsTracker
one = OfflineEmissionsTracker(country_iso_code='GBR', save_to_file=False, log_level='critical')
one.start()""",
    "one.stop()",
)
NOTHING = ("pass", "pass")
PREFECT = "from prefect import flow, task"


def measure(quick: bool) -> list[Row]:
    """Share of a core, and megabytes."""
    seconds = 1.0 if quick else 30.0
    base_cpu, base_mb = _run(PREFECT, NOTHING, seconds)
    cpu, mb = _run(PREFECT, SPAN, seconds)
    _, bare_mb = _run("", SPAN, seconds)
    carbon_cpu, carbon_mb = _run(PREFECT, TRACKER, seconds)
    return [
        Row("CPU while a span is open and idle", (cpu - base_cpu) / seconds * 100, "% of a core", 0.1,
            (carbon_cpu - base_cpu) / seconds * 100, "CodeCarbon", f"{seconds:.0f} s"),
        Row("resident memory more, Prefect imported before", mb - base_mb, "MB", 10, carbon_mb - base_mb, "CodeCarbon"),
        Row("the same in a bare process", bare_mb, "MB"),
    ]  # fmt: skip


def _run(imports: str, work: tuple[str, str], seconds: float) -> tuple[float, float]:
    """CPU seconds over the sleep, and megabytes added."""
    program = PROGRAM.format(imports=imports, begin=work[0], end=work[1], seconds=seconds)
    used, added = fresh(program).splitlines()[-1].split()
    return float(used), float(added)


if __name__ == "__main__":
    main(measure)
