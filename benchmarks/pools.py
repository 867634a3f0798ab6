"""Whose the work of a pool is that several steps use, against known burns, and what handing it a piece costs.

    .venv/bin/python benchmarks/pools.py

Pools of two, made and used before any span. In turn: one step after the other hands its pieces to the pool. At once:
two steps do so from two threads, so that the pool works for both; how it is divided then is an estimate. Each piece
tells what its own thread's clock saw; what the pool itself uses (joblib's 10 ms a call) is not in that.
"""

import statistics
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.pool import Pool, ThreadPool
from typing import Any

from common import Row, burn, fresh, main, run_of

PIECES = {"many": 6, "few": 2}
SUBMITS = """
import sys, time
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
span = nullcontext
if sys.argv[1] == "measured":
    from e2s_tasks import span
pool = ProcessPoolExecutor(2, get_context("fork"))
list(pool.map(len, [()] * 4))
with span("step"):
    list(pool.map(len, [()] * 4))
    used = []
    for _ in range(int(sys.argv[2])):
        start = time.perf_counter()
        piece = pool.submit(len, ())
        used.append(time.perf_counter() - start)
        piece.result()
print(sorted(used)[len(used) // 2] * 1e6)
pool.shutdown()
"""
Use = Callable[[list[float]], Any]


def measure(quick: bool) -> list[Row]:
    """Errors in percent, costs in microseconds."""
    piece_s = 0.05 if quick else 0.3
    rows = []
    for name, make in _kinds().items():
        pool, use = make()
        use([0.01] * 4)
        in_turn = _errors(f"{name}, in turn", use, piece_s, at_once=False)
        at_once = _errors(f"{name}, at once", use, piece_s, at_once=True)
        getattr(pool, "shutdown", getattr(pool, "terminate", lambda: None))()
        rows.append(Row(f"{name}: steps in turn, the worst", max(in_turn.values()), "%", 1))
        parts = ", ".join(f"{step} {error:.1f} %" for step, error in at_once.items())
        rows.append(Row(f"{name}: two steps at once, both together", _both(f"{name}, at once"), "%", 1, note=parts))
    return [*rows, *_submits(200 if quick else 3000, 2 if quick else 7)]


def _kinds() -> dict[str, Callable[[], tuple[Any, Use]]]:
    def executor(pool: Any) -> tuple[Any, Use]:
        return pool, lambda burns: list(pool.map(burn, burns))

    def pool(made: Pool) -> tuple[Any, Use]:
        return made, lambda burns: made.map(burn, burns, 1)

    def joblib() -> tuple[Any, Use]:
        from joblib import Parallel, delayed

        return None, lambda burns: Parallel(n_jobs=2)(delayed(burn)(seconds) for seconds in burns)

    return {
        "ProcessPoolExecutor": lambda: executor(ProcessPoolExecutor(2, get_context("fork"))),
        "ProcessPoolExecutor, forkserver": lambda: executor(ProcessPoolExecutor(2, get_context("forkserver"))),
        "multiprocessing.Pool": lambda: pool(get_context("fork").Pool(2)),
        "joblib (loky)": joblib,
        "ThreadPoolExecutor": lambda: executor(ThreadPoolExecutor(2)),
        "multiprocessing's ThreadPool": lambda: pool(ThreadPool(2)),
    }


_burned: dict[str, dict[str, float]] = {}


def _errors(run: str, use: Use, piece_s: float, *, at_once: bool) -> dict[str, float]:
    """By step, how many percent what it is given is off what its pieces burned."""
    from e2s_tasks import span
    from e2s_tasks.recorder import process_recorder

    burned = _burned[run] = {}

    def step(name: str) -> None:
        with span(name):
            burned[name] = sum(use([piece_s] * PIECES[name]))

    with span(run):
        steps = [threading.Thread(target=step, args=(name,)) for name in PIECES]
        for one in steps:
            one.start()
            if not at_once:
                one.join()
        for one in steps:
            one.join()
    process_recorder().flush()
    return {name: abs(given / burned[name] - 1) * 100 for name, given in _given(run).items()}


def _given(run: str) -> dict[str, float]:
    return {one.name: one.cpu_ns * 1e-9 for one in run_of(run).spans if one.name in PIECES}


def _both(run: str) -> float:
    return abs(sum(_given(run).values()) / sum(_burned[run].values()) - 1) * 100


def _submits(count: int, rounds: int) -> list[Row]:
    found = {how: [float(fresh(SUBMITS, how, str(count))) for _ in range(rounds)] for how in ("plain", "measured")}
    plain, measured = (statistics.median(found[how]) for how in ("plain", "measured"))
    return [Row("a submit to a ProcessPoolExecutor, more time", measured - plain, "us", note=f"of {plain:.0f} us")]


if __name__ == "__main__":
    main(measure)
