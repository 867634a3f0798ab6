"""A program run in a process tree of its own, what that tree really used, and what the ledger holds of it afterwards.

The truth comes from a reaper around the program: every process of the tree ends as its child, daemons and killed ones
included, so that its `ru_utime + ru_stime` of ended children is what all of them used.
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from e2s_tasks.core.records import SpanRecord, Status
from e2s_tasks.ledger import Ledger, replay

ROOT = Path(__file__).parents[2]
IDLE_W = 10.0
J_PER_CPU_S = 45.0  # of the model, fixed by E2S_CPU_TDP_W
REAPER = """
import ctypes, json, os, resource, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: orphans end as children of this process
child = subprocess.Popen(sys.argv[2:])
code = child.wait()
end = time.monotonic() + 30
while time.monotonic() < end:
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        break
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    json.dump({"code": code, "cpu_s": used.ru_utime + used.ru_stime}, file)
"""


@dataclass
class Seen:
    """What came out of a program. truth: what it printed.

    cpu_s: the CPU seconds of its whole tree, by the kernel, less what its first process used before any span.
    """

    code: int
    cpu_s: float
    elapsed_s: float
    stderr: str
    spans: dict[str, SpanRecord]
    all_spans: list[SpanRecord]
    truth: dict[str, float] = field(default_factory=dict)
    books: dict[str, list[float]] = field(default_factory=dict)

    def cpu(self, name: str) -> float:
        """CPU seconds of the span(s) of a name."""
        return sum(one.cpu_ns for one in self.all_spans if one.name == name) / 1e9


class Scene:
    """A data directory, and the programs that run with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        (folder / "books").mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("E2S_")},
            "E2S_DATA_DIR": str(self.data),
            "E2S_TICK_S": "0.1",
            "E2S_CPU_IDLE_W": str(IDLE_W),
            "E2S_CPU_TDP_W": str(IDLE_W + J_PER_CPU_S * (os.cpu_count() or 1)),
            "E2S_STATIC_POLICY": "dedicated",
            "E2S_PRINT_SUMMARY": "never",
            "E2S_GB_API_URL": "http://127.0.0.1:9",
            "E2S_TEST_BOOKS": str(folder / "books"),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore::DeprecationWarning",
        }
        self._count = 0

    def start(self, program: str, *arguments: str, **environment: str) -> "Running":
        """The program, as a file that processes of its own can import, started in a process group of its own."""
        self._count += 1
        path = self.folder / f"program{self._count}.py"
        path.write_text(textwrap.dedent(program))
        report = self.folder / f"report{self._count}.json"
        command = [sys.executable, "-S", "-c", REAPER, str(report), sys.executable, str(path), *arguments]
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.environment | environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        return Running(self, process, report)

    def run(self, program: str, *arguments: str, within: float = 60, **environment: str) -> Seen:
        """Start the program and wait for its end."""
        return self.start(program, *arguments, **environment).end(within)

    def ledger(self) -> Ledger:
        """The ledger, after all journals of ended processes were taken in."""
        ledger = Ledger.open(f"sqlite:///{self.data / 'ledger.db'}")
        replay(self.data / "journal", ledger)
        return ledger

    def spans(self) -> list[SpanRecord]:
        """Every span that the ledger holds."""
        ledger = self.ledger()
        return [one for row in ledger.runs(limit=None) for one in ledger.run(row.run_id).spans]


class Running:
    """A program that runs."""

    def __init__(self, scene: Scene, process: "subprocess.Popen[str]", report: Path) -> None:
        self.scene = scene
        self.process = process
        self._report = report
        self._begun = time.monotonic()

    def line(self) -> str:
        """The next line that the program prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, within: float = 60) -> Seen:
        """What came out of it, once the whole tree has ended."""
        try:
            stdout, stderr = self.process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        elapsed = time.monotonic() - self._begun
        report = json.loads(self._report.read_text())
        spans = self.scene.spans()
        truth: dict[str, float] = {}
        for text in stdout.splitlines():
            if text.startswith("{"):
                truth |= json.loads(text)
        books = {path.stem: json.loads(path.read_text()) for path in (self.scene.folder / "books").glob("*.json")}
        before = self.scene.folder / "books" / "before"
        used = report["cpu_s"] - (float(before.read_text()) if before.exists() else 0.0)
        return Seen(report["code"], used, elapsed, stderr, {one.name: one for one in spans}, spans, truth, books)


def host_j(one: SpanRecord) -> float:
    """The conserved energy of a span, in joules."""
    return sum(joules or 0.0 for joules in (one.cpu_j, one.dram_j, one.gpu_j, one.static_j))


def check_laws(seen: Seen, *, runs_s: float | None = None) -> None:
    """What holds for every mix: nothing twice, nothing negative, nothing invented, every process's books in balance."""
    told = [(one.name, one.cpu_ns / 1e9) for one in seen.all_spans]
    assert sum(cpu_s for _, cpu_s in told) <= seen.cpu_s * 1.001 + 0.002, (seen.cpu_s, told)
    for one in seen.all_spans:
        for joules in (one.cpu_j, one.dram_j, one.static_j, one.other_j, one.idle_j):
            assert joules is None or joules >= 0, one
        assert 0 <= one.shared_cpu_ns <= one.cpu_ns
        assert one.status != Status.RUNNING
        assert one.cpu_j is None or abs(one.cpu_j - J_PER_CPU_S * one.cpu_ns / 1e9) <= 1e-4 + 1e-6 * one.cpu_j, one
    static = sum(one.static_j or 0.0 for one in seen.all_spans)
    assert static <= IDLE_W * (runs_s or seen.elapsed_s) * 1.001
    for process_id, (counted, other, idle) in seen.books.items():
        booked = sum(host_j(one) for one in seen.all_spans if one.process_id == process_id)
        assert abs(booked + other + idle - counted) <= 1e-6 * max(1.0, counted), (process_id, booked, other, idle)


def wait_until(true: Callable[[], bool], within: float = 20) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)
