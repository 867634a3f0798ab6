"""How `e2s` starts and stops, as a process of its own."""

import os
import subprocess
import sys
import time

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


@pytest.mark.parametrize("arguments", ["['runs']", "['runs', '--json']"])
def test_what_waits_is_published_though_the_reader_stopped_early_and_that_is_no_failure(
    environment, tmp_path, arguments
):
    (tmp_path / "unpublished").mkdir()
    (tmp_path / "unpublished" / "run-1").write_text("http://127.0.0.1:9/api")
    (tmp_path / "told.py").write_text("from pathlib import Path\nPath('published').touch()\n")
    code = (
        "import sys; from e2s_tasks.integrations.cli import main; from e2s_tasks.ledger import orphans\n"
        f"orphans.PUBLISHER = 'told'; sys.argv[1:] = {arguments}; sys.stdin.readline(); main()\n"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment | {"PYTHONPATH": str(tmp_path)}, cwd=tmp_path,
    )  # fmt: skip
    command.stdout.close()
    _, err = command.communicate(b"\n", timeout=60)
    assert (command.returncode, err) == (0, b"")
    give_up = time.monotonic() + 20
    while not (tmp_path / "published").exists() and time.monotonic() < give_up:
        time.sleep(0.02)
    assert (tmp_path / "published").exists()


def test_a_prune_says_how_far_it_is_on_a_terminal_and_nothing_in_a_pipe(environment):
    code = "from e2s_tasks.integrations.cli import main; main()"
    command = [sys.executable, "-c", code, "prune", "--keep", "1d", "--dry-run"]
    terminal, end = os.openpty()
    subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=end, timeout=60, check=True)
    os.close(end)
    said = os.read(terminal, 10_000).decode()
    os.close(terminal)
    assert "inner spans looked at" in said
    assert said.endswith("\r\x1b[K")
    assert subprocess.run(command, env=environment, capture_output=True, timeout=60, check=True).stderr == b""
