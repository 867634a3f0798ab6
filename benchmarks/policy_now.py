"""A flow run under a carbon policy that says "now", against one without a policy: what deciding costs.

    .venv/bin/python benchmarks/policy_now.py [--quick]

Flow runs of one no-op flow on a temporary Prefect server take turns: without a policy, without one again (the A/A
control), and with one. The forecast comes from a local server that answers as the GB API does, flat, so that no start
is cleaner than now; after the first run it is cached.
"""

import statistics
import time
from datetime import UTC, datetime, timedelta

from common import FOLDER, Row, decided, interval, main, quiet

GOAL = 50.0


def measure(quick: bool) -> list[Row]:
    """Milliseconds per flow run."""
    import os

    from prefect.testing.utilities import prefect_test_harness

    from tests.fakes.grid_server import GridServer, half_hours

    with GridServer() as grid, quiet(), prefect_test_harness(server_startup_timeout=90):
        begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
        grid.say(half_hours(begin, [150] * 200))
        os.environ |= {"E2S_GB_API_URL": grid.url, "E2S_DATA_DIR": str(FOLDER / "data"), "NO_PROXY": "*"}
        walls = _turns(5 if quick else 30)
        asked = len(grid.paths)
    more, low, high = _more(walls["policy"], walls["plain"])
    _, control_low, control_high = _more(walls["again"], walls["plain"])
    resolved = decided(GOAL, (low, high), (control_low, control_high))
    return [
        Row("with a policy that says now, more than without", more, "ms", GOAL, resolved=resolved,
            note=f"95 % interval {low:+.1f} to {high:+.1f}; control {control_low:+.1f} to {control_high:+.1f}"),
        Row("a flow run without a policy, median", statistics.median(walls["plain"]), "ms"),
        Row("requests for the forecast", asked, "requests", 1),
    ]  # fmt: skip


def _turns(count: int) -> dict[str, list[float]]:
    from e2s_tasks import CarbonPolicy, e2s_flow

    def nothing() -> None:
        return None

    policy = CarbonPolicy("GB", max_delay="12h", expected_duration="1h")
    flows = {
        "plain": e2s_flow(nothing),
        "again": e2s_flow(nothing),
        "policy": e2s_flow(carbon=policy)(nothing),
    }
    walls: dict[str, list[float]] = {name: [] for name in flows}
    for turn in range(count + 1):
        for name, one in flows.items():
            start = time.perf_counter()
            one()
            if turn:
                walls[name].append((time.perf_counter() - start) * 1e3)
    return walls


def _more(these: list[float], those: list[float]) -> tuple[float, float, float]:
    differences = [this - that for this, that in zip(these, those, strict=True)]
    return statistics.median(differences), *interval(differences, rounds=500)


if __name__ == "__main__":
    main(measure)
