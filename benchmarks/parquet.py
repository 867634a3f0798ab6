"""What measured Parquet costs on a data set of 1 GB: time against the plain call, interleaved, and peak memory.

    .venv/bin/python benchmarks/parquet.py

Each round does the plain call, ours, and the plain call again, forwards or backwards; a figure is the median over the
rounds of ours against the mean of both, and one plain call against the other is the control. Peak memory (VmHWM) is of
a fresh process for each variant, which does it once. The data set is generated: random doubles, hardly compressible.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from unittest import mock

from common import FOLDER, Row, decided, fresh, interval, main

GOAL = 3.0  # %
GOAL_MEMORY = 2.0  # %
COLUMNS = 8
ROW_GROUP = 1 << 20

# what each variant does: its plain form and ours; `source` is the data set, `target` a new path
OPERATIONS = {
    "read, pyarrow": ("parquet.read_table(source)", "read_parquet(source, to='arrow')"),
    "read, pandas": ("pandas.read_parquet(source)", "read_parquet(source)"),
    "read 2 of 8 columns": (
        "parquet.read_table(source, columns=['c0', 'c5'])", "read_parquet(source, ['c0', 'c5'], to='arrow')"
    ),
    "scan": (
        "sum(batch.num_rows for batch in dataset.dataset(source).to_batches())",
        "sum(batch.num_rows for batch in scan_parquet(source))",
    ),
    "write, pyarrow": ("parquet.write_table(table, target)", "write_parquet(table, target)"),
    "write, pandas": ("frame.to_parquet(target)", "write_parquet(frame, target)"),
    "write a stream": ("write_stream(source, target)", "write_parquet(scan_parquet(source), target)"),
}  # fmt: skip

# the calls of pyarrow that ours consist of
INNER = {
    "read, pyarrow": ("ParquetDataset.__init__", "ParquetDataset.read"),
    "read 2 of 8 columns": ("ParquetDataset.__init__", "ParquetDataset.read"),
    "write, pyarrow": ("write_table",),
}

SETUP = """
import os, sys
source, target, ours = sys.argv[1], sys.argv[2], sys.argv[3] == "ours"
import pandas
from pyarrow import dataset, parquet

def write_stream(source, target):
    data = dataset.dataset(source)
    with parquet.ParquetWriter(target, data.schema) as writer:
        for batch in data.to_batches(batch_size=1 << 20):
            writer.write_batch(batch)

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

"""


def measure(quick: bool) -> list[Row]:
    """The rows of the issue on time and memory of the Parquet wrappers."""
    source = FOLDER / "source.parquet"
    _generate(source, 0.02 if quick else 1.0)
    rows = []
    for name in OPERATIONS:
        rows += _rows(name, _rounds(name, source, 2 if quick else 9), quick=quick)
    rows += [_own_part(name, source, 3 if quick else 9) for name in INNER]
    weighed = list(OPERATIONS)[:1] if quick else OPERATIONS
    return rows + [_memory(name, source, 1 if quick else 3) for name in weighed]


def _generate(path: Path, gigabytes: float) -> None:
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    draw = np.random.default_rng(1)
    rows = int(gigabytes * 1e9 / 8 / COLUMNS)
    schema = pa.schema({f"c{i}": pa.float64() for i in range(COLUMNS)})
    with parquet.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for begin in range(0, rows, ROW_GROUP):
            size = min(ROW_GROUP, rows - begin)
            writer.write_table(pa.table([draw.random(size) for _ in schema.names], schema=schema))


def _rounds(name: str, source: Path, rounds: int) -> list[tuple[float, float, float, float]]:
    """Per round, ours over the mean of the plain calls and one plain call over the other, in wall and in CPU time."""
    plain, ours = _calls(name, source)
    ours()
    plain()
    found = []
    for number in range(rounds):
        order = [("first", plain), ("ours", ours), ("second", plain)]
        times = {what: _timed(call) for what, call in (order if number % 2 else order[::-1])}
        a, b, c = times["first"], times["ours"], times["second"]
        mean = [(x + y) / 2 for x, y in zip(a, c, strict=True)]
        found.append((b[0] / mean[0], c[0] / a[0], b[1] / mean[1], c[1] / a[1]))
    return found


def _calls(name: str, source: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    from e2s_tasks import span

    target = FOLDER / "target.parquet"
    scope: dict[str, object] = {}
    code = SETUP.replace("sys.argv[1], sys.argv[2], sys.argv[3]", f"{str(source)!r}, {str(target)!r}, ''")
    exec(code + "from e2s_tasks.io import read_parquet, scan_parquet, write_parquet", scope)
    if name.startswith("write"):
        exec("table = parquet.read_table(source)", scope)
    if name == "write, pandas":
        exec("frame = table.to_pandas(); del table", scope)

    def call(form: str, *, measured: bool) -> Callable[[], object]:
        def run() -> None:
            target.unlink(missing_ok=True)
            with span("benchmark") if measured else nullcontext():
                exec(form, scope)

        return run

    plain, ours = OPERATIONS[name]
    return call(plain, measured=False), call(ours, measured=True)


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def _rows(name: str, found: list[tuple[float, float, float, float]], *, quick: bool) -> Iterator[Row]:
    walls, controls, cpus, cpu_controls = ([100 * (x - 1) for x in column] for column in zip(*found, strict=True))
    for what, values, control in (("wall", walls, controls), ("CPU", cpus, cpu_controls)):
        bounds, noise = interval(values), interval(control)
        between = f"95 %: {bounds[0]:.1f} to {bounds[1]:.1f}"
        note = f"{between}; plain against plain: {statistics.median(control):.1f} ({noise[0]:.1f} to {noise[1]:.1f})"
        resolved = not quick and decided(GOAL, bounds, (0.0, 0.0))
        yield Row(f"{name}: more {what} time", statistics.median(values), "%", GOAL, note=note, resolved=resolved)


def _own_part(name: str, source: Path, rounds: int) -> Row:
    """What our call takes beside the calls of pyarrow in it: told within one call, so that noise cancels out."""
    from pyarrow import parquet

    _, ours = _calls(name, source)
    ours()
    inside: list[float] = []
    shares = []
    with ExitStack() as patches:
        for path in INNER[name]:
            owner, _, method = path.rpartition(".")
            holder = getattr(parquet, owner) if owner else parquet
            patches.enter_context(mock.patch.object(holder, method, _clocked(getattr(holder, method), inside)))
        for _ in range(rounds):
            inside.clear()
            (FOLDER / "target.parquet").unlink(missing_ok=True)
            total, _ = _timed(ours)
            shares.append(100 * (total / sum(inside) - 1))
    bounds = interval(shares)
    note = f"95 %: {bounds[0]:.2f} to {bounds[1]:.2f}"
    return Row(f"{name}: our own part of the call", statistics.median(shares), "%", GOAL, note=note)


def _clocked(call: Callable[..., object], inside: list[float]) -> Callable[..., object]:
    def clocked(*arguments: object, **options: object) -> object:
        begin = time.perf_counter()
        try:
            return call(*arguments, **options)
        finally:
            inside.append(time.perf_counter() - begin)

    return clocked


def _memory(name: str, source: Path, repeats: int) -> Row:
    """How much more memory ours takes at its peak, in fresh processes that take turns."""
    prepare = "table = parquet.read_table(source)\n" if name in ("write, pyarrow", "write, pandas") else ""
    if name == "write, pandas":
        prepare += "frame = table.to_pandas(); del table\n"
    plain, ours = OPERATIONS[name]
    measured = (
        "from e2s_tasks import span\nfrom e2s_tasks.io import read_parquet, scan_parquet, write_parquet\n"
        f"with span('benchmark'):\n    result = {ours}\n"
    )
    programs = {
        "plain": f"{SETUP}{prepare}result = {plain}\nprint(peak())",
        "ours": f"{SETUP}{prepare}{measured}print(peak())",
    }
    peaks: dict[str, list[float]] = {"plain": [], "ours": []}
    target = FOLDER / "target.parquet"
    for _ in range(repeats):
        for which, program in programs.items():
            target.unlink(missing_ok=True)
            peaks[which].append(int(fresh(program, str(source), str(target), which)) / 1000)
    a, b = (statistics.median(peaks[which]) for which in ("plain", "ours"))
    spread = 100 * (max(peaks["plain"]) / min(peaks["plain"]) - 1)
    note = f"{a:.0f} MB plain, {b:.0f} MB ours; plain varied by {spread:.1f} %"
    return Row(f"{name}: more peak memory", 100 * (b / a - 1), "%", GOAL_MEMORY, note=note)


if __name__ == "__main__":
    main(measure)
