"""100,000 spans in one Prefect flow run: whether memory stays flat and the last ones are as quick as the first.

    .venv/bin/python benchmarks/many_spans.py

The ledger is read at the end: every span has to be there, and their energy, with the rest, has to be what was counted.
"""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from common import Row, main, quiet, run_of

PARTS = 10


@dataclass
class Course:
    """Seconds of each tenth of the spans, and megabytes resident after each."""

    seconds: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)


def measure(quick: bool) -> list[Row]:
    """Megabytes, and the ratio of the last to the first tenth."""
    from e2s_tasks import e2s_flow, span

    count = 2_000 if quick else 100_000
    course = Course()

    def spans(count: int) -> None:
        for _ in range(PARTS):
            start = time.perf_counter()
            for _ in range(count // PARTS):
                with span("one"):
                    pass
            course.seconds.append(time.perf_counter() - start)
            course.resident.append(_resident_mb())

    with quiet():
        e2s_flow(name="many-spans")(spans)(count)
        _wait_for_delivery()
    left = _resident_mb()
    kept = sum(one.name == "one" for one in run_of("many-spans").spans)
    each = [seconds / (count // PARTS) * 1e6 for seconds in course.seconds]
    middle = course.resident[PARTS // 2 :]
    return [
        Row("memory from the 10 % to the 100 % mark", course.resident[-1] - course.resident[0], "MB", 10,
            note=f"{course.resident[0]:.0f} to {max(course.resident):.0f} MB at most"),
        Row("the same, after the summary and the delivery", left - course.resident[0], "MB", 10),
        Row("memory over the last half", middle[-1] - middle[0], "MB", 5),
        Row("last tenth against the first", each[-1] / each[0], "x", 1.2,
            note=f"{each[0]:.1f} us a span at first, {each[-1]:.1f} us at last, mean {sum(each) / PARTS:.1f} us"),
        Row("spans that the ledger has", kept, "spans", count, least=True),
    ]  # fmt: skip


def _resident_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def _wait_for_delivery() -> None:
    from e2s_tasks.recorder import process_recorder

    process_recorder().flush()
    assert process_recorder().delivered, f"the ledger did not answer; {threading.active_count()} threads"


if __name__ == "__main__":
    main(measure)
