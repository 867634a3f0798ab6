"""What measuring costs: a span's enter and exit, the first span of a process, importing, starting the command line.

Run it with `.venv/bin/python benchmarks/costs.py`. Figures of one run on one machine: compare them with each other.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPEATS = 20_000


def main() -> None:
    """Print a table of medians."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"E2S_DATA_DIR": folder}
        python("from e2s_tasks import span\nwith span('x'): pass")  # finds the hardware profile, once per host
        rows = [
            ("enter + exit of a span inside a span", f"{enter_and_exit() * 1e6:.1f} microseconds"),
            ("reading a thread's CPU clock twice (floor)", f"{clock_reads() * 1e6:.1f} microseconds"),
            ("first span of a process, profile known", f"{first_span() * 1e3:.0f} ms"),
            ("import e2s_tasks", f"{imports('e2s_tasks') * 1e3:.0f} ms"),
            ("import prefect", f"{imports('prefect') * 1e3:.0f} ms"),
            ("e2s runs --json, whole command", f"{command('runs', '--json') * 1e3:.0f} ms"),
            ("python -c pass, whole command (floor)", f"{python('pass') * 1e3:.0f} ms"),
        ]
    width = max(len(name) for name, _ in rows)
    for name, figure in rows:
        print(f"{name:<{width}}  {figure}")


def enter_and_exit() -> float:
    """Median seconds of one `with span(...)` inside an open span, over batches of 100."""
    from e2s_tasks import span

    batches = []
    with span("outer"):
        for _ in range(REPEATS // 100):
            start = time.perf_counter()
            for _ in range(100):
                with span("inner"):
                    pass
            batches.append((time.perf_counter() - start) / 100)
    return statistics.median(batches)


def clock_reads() -> float:
    """Seconds of two reads of the own thread's CPU clock."""
    start = time.perf_counter()
    for _ in range(REPEATS):
        time.thread_time_ns()
        time.thread_time_ns()
    return (time.perf_counter() - start) / REPEATS


def first_span() -> float:
    """Median seconds from before the import of e2s_tasks to inside the first span, in a fresh process."""
    program = "import time; t = time.perf_counter()\nfrom e2s_tasks import span\n"
    program += "with span('x'): print(time.perf_counter() - t)"
    return statistics.median(
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    )


def imports(package: str) -> float:
    """Median seconds that importing a package takes in a fresh process."""
    program = f"import time; t = time.perf_counter(); import {package}; print(time.perf_counter() - t)"
    return statistics.median(
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    )


def python(program: str) -> float:
    """Seconds of a whole Python process."""
    return _whole([sys.executable, "-c", program])


def command(*arguments: str) -> float:
    """Seconds of a whole `e2s` command."""
    return _whole([str(Path(sys.executable).parent / "e2s"), *arguments])


def _whole(arguments: list[str]) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(arguments, capture_output=True, check=False)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
