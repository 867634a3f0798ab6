"""These tests run in an environment of their own, by `make test-airflow`, without what the others share."""

import os
import tempfile
import time
from datetime import UTC, datetime

import pytest
from daemons import Airflow
from serving import receiving

from e2s_tasks.settings import settings

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp()  # of what these tests themselves import of Airflow
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "false"


@pytest.fixture(scope="session")
def statsd():
    """A StatsD server, to which the Airflow of the tests tells its metrics."""
    with receiving() as running:
        yield running


@pytest.fixture(scope="session")
def airflow(tmp_path_factory, statsd):
    """A real Airflow with all its daemons."""
    with Airflow(tmp_path_factory.mktemp("airflow"), **statsd.switches) as running:
        yield running


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """Has the grid be dirty, then clean after so many seconds; settings are those of a triggerer."""
    trace = tmp_path / "trace.csv"

    def dirty_for(seconds, dirty=300):
        begin = time.time() - 10
        rows = (
            f"{datetime.fromtimestamp(begin + i, UTC).isoformat()},{dirty if i < seconds + 10 else 100}"
            for i in range(600)
        )
        trace.write_text("\n".join(["ts_utc,ci_g_per_kwh", *rows]) + "\n")
        return begin + seconds + 10

    for name, value in {"TRACE": trace, "DATA_DIR": tmp_path, "AUTO": "true", "LEAST_WAIT_S": "0.5"}.items():
        monkeypatch.setenv(f"E2S_{name}", str(value))
    settings.cache_clear()
    yield dirty_for
    settings.cache_clear()
