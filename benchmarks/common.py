"""What every benchmark shares: a folder of its own, rows with a goal and a peer beside them, fresh processes, burning.

Importing it points `E2S_*` and Prefect at a temporary folder, before anything of `e2s_tasks` is imported.
"""

import argparse
import atexit
import hashlib
import io
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BLOCK = bytes(1 << 19)  # hashing it takes about a third of a millisecond, without the interpreter's lock


def _remove(folder: str, pid: int) -> None:
    if os.getpid() == pid:  # not in a forked child
        shutil.rmtree(folder, ignore_errors=True)


def _own_folder() -> Path:
    """A folder for this run; the processes that it starts share it."""
    if "E2S_BENCHMARK_FOLDER" not in os.environ:
        folder = tempfile.mkdtemp(prefix="e2s-benchmark-")
        atexit.register(_remove, folder, os.getpid())
        for name in [name for name in os.environ if name.startswith("E2S_")]:
            del os.environ[name]
        os.environ |= {
            "E2S_BENCHMARK_FOLDER": folder,
            "E2S_DATA_DIR": f"{folder}/data",
            "E2S_PRINT_SUMMARY": "never",
            "PREFECT_HOME": f"{folder}/prefect",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
            "DO_NOT_TRACK": "1",
            "PYTHONDONTWRITEBYTECODE": "",  # an installed package has its bytecode: processes must find it
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        }
    return Path(os.environ["E2S_BENCHMARK_FOLDER"])


FOLDER = _own_folder()
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


# -- rows ---------------------------------------------------------------------------------------------


@dataclass
class Row:
    """One figure. goal: the most it may be, or the least. peer: the same of another library, in the same unit and run.

    resolved: whether the run could tell the figure from noise; if not, neither met nor missed is claimed.
    """

    what: str
    figure: float
    unit: str
    goal: float | None = None
    peer: float | None = None
    peer_name: str = ""
    note: str = ""
    resolved: bool = True
    least: bool = False

    @property
    def verdict(self) -> str:
        """met, missed, inconclusive, or "" where there is no goal."""
        if self.goal is None:
            return ""
        if not self.resolved:
            return "inconclusive"
        met = self.figure >= self.goal if self.least else self.figure <= self.goal
        return "met" if met else "missed"

    @property
    def ratio(self) -> float | None:
        """How many times the peer's figure is ours."""
        return self.peer / self.figure if self.peer is not None and self.figure else None

    def cells(self) -> list[str]:
        """The row as text."""
        goal = "" if self.goal is None else f"{'>=' if self.least else '<='} {self.goal:.4g} {self.unit}"
        peer = "" if self.peer is None else f"{self.peer_name} {self.peer:.4g} {self.unit}"
        ratio = "" if self.ratio is None else f"x {self.ratio:.3g}"
        return [self.what, f"{self.figure:.4g} {self.unit}", goal, self.verdict, peer, ratio, self.note]


def main(measure: Callable[[bool], list[Row]]) -> None:
    """Run a benchmark from the command line: `--quick` for a glance (its figures are no figures), `--json`."""
    parser = argparse.ArgumentParser(description=sys.modules[measure.__module__].__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; says nothing about the goals")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    know_the_host()
    start = time.perf_counter()
    rows = measure(arguments.quick)
    if arguments.json:
        found = [asdict(row) | {"verdict": row.verdict, "ratio": row.ratio} for row in rows]
        print(json.dumps({"host": host(), "quick": arguments.quick, "rows": found}, indent=1))
        return
    print(host() + (", quick" if arguments.quick else ""))
    table = [["what", "figure", "goal", "", "peer", "ratio", ""], *(row.cells() for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(table[0]))]
    for cells in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    print(f"({time.perf_counter() - start:.0f} s)")


def host() -> str:
    """The machine in words."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} x {cpu}, Python {platform.python_version()}, load {load:.1f}"


# -- statistics ---------------------------------------------------------------------------------------------


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile, of the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def interval(values: Sequence[float], rounds: int = 2000) -> tuple[float, float]:
    """The 95 % confidence interval of the median, by bootstrap."""
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(rounds))
    return medians[int(0.025 * rounds)], medians[int(0.975 * rounds)]


def decided(goal: float, found: tuple[float, float], control: tuple[float, float]) -> bool:
    """Whether an interval lies on one side of the goal, by more than the control differs from nothing."""
    noise = max(abs(bound) for bound in control)
    return found[1] + noise <= goal or found[0] - noise > goal


def per_call(call: Callable[[], object], repeats: int, batch: int = 100) -> float:
    """Median seconds of one call, over batches."""
    times = []
    for _ in range(max(1, repeats // batch)):
        start = time.perf_counter()
        for _ in range(batch):
            call()
        times.append((time.perf_counter() - start) / batch)
    return statistics.median(times)


# -- work ---------------------------------------------------------------------------------------------


def burn(cpu_s: float, duty: float = 1.0, chunk_s: float = 0.01) -> float:
    """Use CPU on this thread, without the interpreter's lock, at a duty cycle; returns the CPU seconds really used."""
    start = time.thread_time()
    while (used := time.thread_time() - start) < cpu_s:
        wall = time.perf_counter()
        end = time.thread_time() + min(chunk_s, cpu_s - used)
        while time.thread_time() < end:
            hashlib.sha256(BLOCK)
        if duty < 1:
            time.sleep((time.perf_counter() - wall) * (1 - duty) / duty)
    return time.thread_time() - start


def burn_for(seconds: float, duty: float = 1.0, chunk_s: float = 0.01) -> float:
    """Use CPU on this thread for a time, at a duty cycle; returns the CPU seconds really used."""
    begun, start = time.perf_counter(), time.thread_time()
    while time.perf_counter() - begun < seconds:
        wall = time.perf_counter()
        while time.perf_counter() - wall < chunk_s:
            hashlib.sha256(BLOCK)
        if duty < 1:
            time.sleep(chunk_s * (1 - duty) / duty)
    return time.thread_time() - start


def fresh(program: str, *arguments: str) -> str:
    """What a program prints in a Python process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the measured program failed:\n{done.stderr}")
    return done.stdout


def know_the_host() -> None:
    """Find the hardware profile, which is done once per host and takes a second."""
    fresh("from e2s_tasks import span\nwith span('x'): pass")


def runs_of(name: str) -> list[Any]:
    """What the ledger has of the runs of this name, the latest first, found as a command that reads it finds them."""
    from e2s_tasks.ledger import Ledger
    from e2s_tasks.ledger.replaying import replay
    from e2s_tasks.settings import settings

    ledger = Ledger.open(settings().ledger)
    replay(settings().journals, ledger)  # what processes left that were killed, or whose ledger was locked
    return [ledger.run(row.run_id) for row in ledger.runs(limit=None) if row.name == name]


def run_of(name: str) -> Any:
    """The latest of them."""
    return runs_of(name)[0]


def own_cpu_s() -> float:
    """CPU seconds of the recorder's own thread in this process so far."""
    threads = [one for one in threading.enumerate() if one.name == "e2s-recorder" and one.ident is not None]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(one.ident)) for one in threads if one.ident)


def span_joules(record: Any) -> float:
    """The host energy of a span's record: cpu, dram, gpu and static, in joules."""
    parts = (record.cpu_j, record.dram_j, record.gpu_j, record.static_j)
    return float(sum(part for part in parts if part is not None))


# -- peers ---------------------------------------------------------------------------------------------


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the peers print and warn of."""
    import logging
    import warnings

    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def codecarbon(mode: str = "machine") -> Any:
    """A CodeCarbon tracker without network and files."""
    from codecarbon import OfflineEmissionsTracker

    return OfflineEmissionsTracker(
        country_iso_code="GBR", tracking_mode=mode, save_to_file=False, log_level="critical", measure_power_secs=15
    )
