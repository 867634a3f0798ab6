"""What the system counts of a measured process's reading and writing, and how much of it no span recorded."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from threading import Thread

import pandas as pd
import pytest

from e2s_tasks import span
from e2s_tasks.io import read_parquet, write_parquet
from e2s_tasks.ledger import Ledger
from e2s_tasks.meters import process_io
from e2s_tasks.meters.process_io import ProcessIO, moved
from e2s_tasks.recorder import process_recorder
from e2s_tasks.reporter import provenance, summarise, summarise_run
from e2s_tasks.settings import settings

pytestmark = pytest.mark.skipif(moved("/proc/self") is None, reason="this system does not count it")
MB = 1_000_000
SLACK = MB // 2  # for what Python itself reads


@pytest.fixture
def io_of():
    def of(work):
        block = span("work")
        with block:
            work()
        process_recorder().flush()
        return summarise_run(Ledger.open(settings().ledger), block.id)["io"]

    return of


def test_plain_files_are_unrecorded(io_of, tmp_path):
    def work():
        (tmp_path / "plain").write_bytes(bytes(8 * MB))
        (tmp_path / "plain").read_bytes()
        (tmp_path / "plain").read_bytes()

    found = io_of(work)
    assert found["recorded_read"] == found["recorded_written"] == 0
    assert found["unrecorded_read"] == found["read_bytes"] == pytest.approx(16 * MB, abs=SLACK)
    assert found["unrecorded_written"] == found["written_bytes"] == pytest.approx(8 * MB, abs=SLACK)
    assert (found["processes"], found["unknown"]) == (1, 0)


def test_what_spans_recorded_is_taken_off(io_of, tmp_path):
    frame = pd.DataFrame({"a": [float(i * i % 1_000_003) for i in range(800_000)]})
    write_parquet(frame, tmp_path / "before.parquet")

    def work():
        write_parquet(read_parquet(tmp_path / "before.parquet"), tmp_path / "after.parquet")

    found, size = io_of(work), (tmp_path / "after.parquet").stat().st_size
    assert size > 3 * MB
    assert found["recorded_written"] == size
    assert found["written_bytes"] == pytest.approx(size, abs=SLACK)
    assert found["unrecorded_written"] < SLACK
    assert found["unrecorded_read"] < 2 * SLACK  # what is imported for it, too


@pytest.mark.slow
def test_measuring_itself_counts_for_nothing(io_of):
    def work():
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            with span("inside"):
                pass

    found = io_of(work)
    assert found["written_bytes"] < SLACK
    assert found["read_bytes"] < SLACK


def test_own_work_counts_for_nothing_also_while_it_goes_on(tmp_path):
    looks = ProcessIO(dict, lambda: 0)
    before = looks.now()
    with looks.own_work():
        (tmp_path / "own").write_bytes(bytes(8 * MB))
        time.sleep(0.01)  # a reading that is younger is not repeated
        during = looks.now()
    time.sleep(0.01)
    after = looks.now()
    (tmp_path / "work").write_bytes(bytes(8 * MB))
    time.sleep(0.01)
    assert during.minus(before).written < SLACK
    assert after.minus(before).written < SLACK
    assert looks.now().minus(before).written == pytest.approx(8 * MB, abs=SLACK)


def test_an_unmeasured_child_counts_to_its_parent(io_of, tmp_path):
    (tmp_path / "a").write_bytes(bytes(8 * MB))
    copy = "import sys, shutil; shutil.copy(*sys.argv[1:])"
    command = [sys.executable, "-S", "-c", copy, str(tmp_path / "a"), str(tmp_path / "b")]
    found = io_of(lambda: subprocess.run(command, check=True))
    assert found["written_bytes"] == pytest.approx(8 * MB, abs=SLACK)
    assert found["read_bytes"] == pytest.approx(8 * MB, abs=3 * SLACK)  # Python's start among it


PROGRAM = """
    import multiprocessing, sys, time
    from e2s_tasks import span

    def work(path):
        with span("inside"):
            open(path, "wb").write(bytes(8_000_000))
            time.sleep(1.5)

    if __name__ == "__main__":
        block = span("outside")
        with block:
            child = multiprocessing.get_context("spawn").Process(target=work, args=(sys.argv[1],))
            child.start()
            child.join()
            time.sleep(0.1)
        print(block.id)
        if sys.argv[2:]:
            with span("killed") as killed:
                print(killed.id, flush=True)
                open(sys.argv[1], "wb").write(bytes(8_000_000))
                time.sleep(60)
"""


def run_program(tmp_path, *arguments):
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(PROGRAM))
    command = [sys.executable, script, str(tmp_path / "file"), *arguments]
    return subprocess.Popen(
        command, env=os.environ | {"E2S_DATA_DIR": str(tmp_path / "data")}, stdout=subprocess.PIPE, text=True
    )


def shown(run_id, tmp_path):
    command = [Path(sys.executable).parent / "e2s", "show", run_id, "--json"]
    done = subprocess.run(
        command, env=os.environ | {"E2S_DATA_DIR": str(tmp_path / "data")}, capture_output=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_measured_child_counts_once_and_a_killed_process_up_to_its_last_tick(tmp_path):
    with run_program(tmp_path, "and be killed") as program:
        outside, killed = program.stdout.readline().strip(), program.stdout.readline().strip()
        time.sleep(2.5)
        program.kill()
    written = shown(outside, tmp_path)["io"]["written_bytes"]  # the child is of its run
    assert written == pytest.approx(8 * MB, abs=SLACK)
    found = shown(killed, tmp_path)
    assert found["flow_run"]["status"] == "crashed"
    assert found["io"]["written_bytes"] == pytest.approx(8 * MB, abs=SLACK)


def test_where_the_system_does_not_tell_the_figures_are_missing(tmp_path):
    block = span("work")
    with block:
        pass
    process_recorder().flush()
    run = Ledger.open(settings().ledger).run(block.id)
    for one in run.spans:
        one.attributes.clear()
    summary = summarise(run)
    assert summary["io"]["read_bytes"] is summary["io"]["unrecorded_read"] is None
    assert summary["io"]["unknown"] == 1
    assert provenance.unrecorded(summary) is None
    assert moved(str(tmp_path)) is None


def test_a_reading_serves_longer_where_several_outermost_spans_share_it(monkeypatch):
    now = time.monotonic_ns() + 1_000_000_000
    monkeypatch.setattr(process_io, "monotonic_ns", lambda: now)
    first, second = span("first"), span("second")
    with first:
        now += 5_000_000
        Thread(target=second.__enter__).start()
        while not second.opened_ns:
            time.sleep(0.001)
    assert second.io_since is first.io_since is first.io_until  # at its end the second one is open
    now += 5_000_000
    second.__exit__(None, None, None)
    assert second.io_until is not second.io_since  # alone


def test_a_reading_that_a_signal_handlers_exception_left_locked_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(process_io, "STUCK_NS", 50_000_000)
    counters = ProcessIO(dict, lambda: 0)
    before = counters.now()
    counters._lock.acquire()  # and never given back
    time.sleep(0.1)
    assert counters.now() is before
    assert counters.now() is not before
    counters._lock.acquire()
    with counters.own_work():
        pass
    assert counters.now() is not None
