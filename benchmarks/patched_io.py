"""What the patch of pandas and pyarrow costs: a call outside measured work, and a read and a write inside it.

    .venv/bin/python benchmarks/patched_io.py

Plain, patched and plain calls in turns, in one process; a figure is the median over the rounds.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

from common import FOLDER, Row, main, per_call

MS, US = 1e3, 1e6
ROUNDS, FEW = 41, 3


def measure(quick: bool) -> list[Row]:
    """Rows without a goal of the issue: milliseconds and parts."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    from e2s_tasks import span
    from e2s_tasks.io import patch, unpatch

    rounds = FEW if quick else ROUNDS
    random = np.random.default_rng(1)
    frame = pd.DataFrame({f"c{i}": random.random(100_000 if quick else 2_000_000) for i in range(4)})
    table, source, target = pa.Table.from_pandas(frame), str(FOLDER / "in.parquet"), str(FOLDER / "out.parquet")
    frame.to_parquet(source)
    pd.DataFrame({"a": [1]}).to_parquet(FOLDER / "tiny.parquet")
    tiny = str(FOLDER / "tiny.parquet")

    def compared(call: Callable[[], Any], block: Any) -> tuple[float, float]:
        """Seconds of the plain call, and what the patched one takes more."""
        plain, more = [], []
        for _ in range(rounds):
            times = []
            for patched in (False, True, False):
                (patch if patched else unpatch)()
                with block():
                    begun = time.perf_counter()
                    call()
                    times.append(time.perf_counter() - begun)
            plain.append((times[0] + times[2]) / 2)
            more.append(times[1] - plain[-1])
        unpatch()
        return statistics.median(plain), statistics.median(more)

    def measured() -> Any:
        return span("work")

    rows = []
    for what, call in (
        ("pandas.read_parquet", lambda: pd.read_parquet(source)),
        ("DataFrame.to_parquet", lambda: frame.to_parquet(target)),
        ("write_table", lambda: parquet.write_table(table, target)),
    ):
        plain, more = compared(call, measured)
        rows.append(Row(f"{what} of {frame.size * 8e-6:.0f} MB, more time", 100 * more / plain, "%", note=_of(plain)))
    plain, more = compared(lambda: pd.read_parquet(tiny), measured)
    rows.append(Row("pandas.read_parquet of a tiny file, more time", more * MS, "ms", note=_of(plain)))
    return [*rows, Row("a patched call outside measured work, more time", _outside() * US, "us")]


def _outside() -> float:
    """Seconds that going through the patch adds where nothing is measured."""
    from e2s_tasks.io.patching.reads import dataset_read

    class Nothing:
        def read(self) -> None:
            return None

    class Patched:
        read = dataset_read(Nothing.read)

    return per_call(Patched().read, 200) - per_call(Nothing().read, 200)


def _of(seconds: float) -> str:
    return f"of {seconds * MS:.3g} ms"


if __name__ == "__main__":
    main(measure)
