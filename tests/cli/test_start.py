"""How `e2s` starts and stops, as a process of its own."""

import os
import subprocess
import sys

import pytest

from e2s_tasks.ledger import Ledger
from tests.reporter.runs import full_run

HEAVY = {"prefect", "pandas", "numpy", "pyarrow", "codecarbon", "sklearn", "httpx", "rich", "alembic"}
CHECK = """
import sys
from e2s_tasks.integrations.cli import main
try:
    main({arguments!r})
except SystemExit as ended:
    print(ended.code, *sorted({{name.split(".")[0] for name in sys.modules}}), file=sys.stderr)
"""


@pytest.fixture
def environment(tmp_path):
    records = full_run()
    Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}").ingest([*records.processes, *records.spans, *records.versions])
    return os.environ | {"E2S_DATA_DIR": str(tmp_path), "COLUMNS": "80"}


@pytest.mark.parametrize("arguments", [["show", "--json"], ["runs", "--json"], ["artifact", "features", "--json"]])
def test_reading_loads_no_heavy_package(environment, arguments):
    check = [sys.executable, "-c", CHECK.format(arguments=arguments)]
    ended = subprocess.run(check, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert HEAVY & set(ended.stderr.split()) == set()


def test_a_reader_that_stops_early_gets_no_traceback(environment):
    command = f"{sys.executable} -c 'from e2s_tasks.integrations.cli import main; main()' show | head -c 1"
    ended = subprocess.run(command, shell=True, env=environment, capture_output=True, timeout=60, check=True)
    assert ended.stderr == b""
