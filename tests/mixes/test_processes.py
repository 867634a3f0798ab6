"""Processes that measured work starts, forks and shares the host with."""

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from e2s_tasks import span
from e2s_tasks.core.records import Kind
from e2s_tasks.recorder import drive
from tests.mixes.burning import BURN, burn, burning

START = 0.04  # CPU seconds that starting a bare interpreter may take
OUTER = "import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', sys.argv[1]])"


def grandchild(seconds):
    return [sys.executable, "-S", "-c", OUTER, BURN.format(seconds)]


def together(*, until=lambda: None, **work):
    """Run each function in a thread and a span of its own, all at once. until: what each span waits for at its end."""

    def measured(name, one):
        with span(name):
            one()
            until()

    threads = [threading.Thread(target=measured, args=item) for item in work.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def cpu_s(record):
    return record.cpu_ns / 1e9


def test_concurrent_spans_are_given_their_own_children(recorded):
    together(
        long=lambda: subprocess.run(burning(0.4), check=True),
        short=lambda: [subprocess.run(burning(0.05), check=True) for _ in range(3)],
        below=lambda: subprocess.run(grandchild(0.2), check=True),
        none=lambda: burn(0.1),
    )
    spans = recorded.spans()
    assert cpu_s(spans["long"]) == pytest.approx(0.4 + START / 2, abs=START)
    assert cpu_s(spans["short"]) == pytest.approx(0.15 + 3 * START / 2, abs=3 * START)
    assert cpu_s(spans["below"]) == pytest.approx(0.2 + START, abs=2 * START)
    assert cpu_s(spans["none"]) == pytest.approx(0.1, abs=START)


def test_children_of_concurrent_coroutines_are_their_own(recorded):
    async def child(seconds):
        process = await asyncio.create_subprocess_exec(*burning(seconds))
        await process.wait()

    async def main():
        attempt = recorded.recorder.span
        await asyncio.gather(
            drive(attempt("one", Kind.ATTEMPT), child(0.3)), drive(attempt("two", Kind.ATTEMPT), child(0.1))
        )

    asyncio.run(main())
    spans = recorded.spans()
    assert cpu_s(spans["one"]) == pytest.approx(0.3 + START / 2, abs=START)
    assert cpu_s(spans["two"]) == pytest.approx(0.1 + START / 2, abs=START)


def test_a_child_that_outlives_its_span_goes_on_at_the_span_around_it(recorded):
    with span("outer"):
        with span("inner"):
            child = subprocess.Popen(burning(0.3))
        child.wait()
    spans = recorded.spans()
    assert cpu_s(spans["inner"]) < 2 * START
    assert cpu_s(spans["outer"]) == pytest.approx(0.3, abs=2 * START)


def test_a_shell_pipeline_is_counted_whole(recorded):
    part = " ".join([sys.executable, "-S", "-c", f"'{BURN.format(0.1)}'"])
    with span("pipeline"):
        subprocess.run(f"{part} | {part} | {part}", shell=True, check=True)
    assert cpu_s(recorded.spans()["pipeline"]) == pytest.approx(0.3 + 1.5 * START, abs=2 * START)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_without_a_meter_is_its_starters(recorded, method):
    context = multiprocessing.get_context(method)
    with span("starter"):
        worker = context.Process(target=burn, args=(0.3,))
        worker.start()
        worker.join()
    # what its interpreter and imports use is the starter's, too
    assert 0.29 < cpu_s(recorded.spans()["starter"]) < 1.5


def run_program(tmp_path, program, **options):
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path), "E2S_TICK_S": "0.1", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False, **options)


def ledger_spans(tmp_path):
    """The spans by name, as the ledger knows them once all journals are taken in."""
    from e2s_tasks.ledger import Ledger, replay

    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    replay(tmp_path / "journal", ledger)
    runs = ledger.runs(limit=100)
    return {one.name: one for row in runs for one in ledger.run(row.run_id).spans}


def test_a_forked_child_that_leaves_its_parents_block_ends_nothing_of_its_parents(tmp_path):
    program = """
        import os, time
        from e2s_tasks import span
        from tests.mixes.burning import burn
        with span("parents"):
            began = time.process_time()
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
                burn(0.2)
                print("parents", time.process_time() - began, flush=True)
        if not pid:
            with span("childs"):
                began = time.process_time()
                burn(0.1)
                print("childs", time.process_time() - began, flush=True)
    """
    done = run_program(tmp_path, program)
    assert (done.returncode, done.stderr) == (0, "")
    burnt = {name: float(seconds) for name, seconds in map(str.split, done.stdout.splitlines())}
    spans = ledger_spans(tmp_path)
    assert {name: one.status for name, one in spans.items()} == {"parents": "completed", "childs": "completed"}
    assert cpu_s(spans["parents"]) == pytest.approx(burnt["parents"], abs=START)
    assert cpu_s(spans["childs"]) == pytest.approx(burnt["childs"], abs=START)


def test_a_fork_while_other_threads_hold_the_meters_lock_blocks_nobody(tmp_path):
    program = """
        import os, threading, time
        from e2s_tasks import span
        stop = False
        def spin():
            while not stop:
                with span("spin"):
                    pass
        threads = [threading.Thread(target=spin) for _ in range(3)]
        [thread.start() for thread in threads]
        with span("forking") as forking:
            for number in range(20):
                pid = os.fork()
                if not pid:
                    with span("in child"):
                        pass
                    forking.note({"child": number})
                    os._exit(7)
                assert os.waitpid(pid, 0)[1] == 7 << 8
        stop = True
        print("done")
    """
    done = run_program(tmp_path, program)
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_what_a_worker_of_multiprocessing_measured_last_is_written_down(tmp_path):
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
        import multiprocessing
        from e2s_tasks import span
        from tests.mixes.burning import burn
        def work(number):
            with span(f"work {number}"):
                burn(0.1)
        if __name__ == "__main__":
            with span("main"):
                for method in ("fork", "spawn"):
                    worker = multiprocessing.get_context(method).Process(target=work, args=(method,))
                    worker.start()
                    worker.join()
    """)
    )
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    subprocess.run([sys.executable, tmp_path / "program.py"], env=environment, timeout=60, check=True)
    spans = ledger_spans(tmp_path)
    for method in ("fork", "spawn"):
        assert cpu_s(spans[f"work {method}"]) == pytest.approx(0.1, abs=START)
        assert spans[f"work {method}"].status == "completed"
    assert cpu_s(spans["main"]) < 1.0  # starting interpreters, not the work that measured itself


def test_another_program_on_the_host_is_other(recorded):
    busy = subprocess.Popen(burning(0.5))
    with span("work"):
        burn(0.2)
        busy.wait()
    work = recorded.spans()["work"]
    assert cpu_s(work) == pytest.approx(0.2, abs=START)
    assert work.other_j > work.cpu_j


@pytest.mark.slow
def test_two_processes_at_once_hold_the_hosts_idle_power_once(tmp_path):
    program = """
        import sys, time, json
        from e2s_tasks import span
        from e2s_tasks.recorder import process_recorder
        recorder = process_recorder()
        print("ready", flush=True)
        sys.stdin.readline()
        with span("whole"):
            for number in range(5):
                with span("part"):
                    time.sleep(0.1)
        recorder.flush()
        meter = recorder.meter
        print(json.dumps([meter.counted_j, meter.other_j, meter.idle_j]))
    """
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path), "E2S_CPU_TDP_W": "100", "E2S_CPU_IDLE_W": "10"}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
    assert [one.stdout.readline() for one in both] == ["ready\n"] * 2
    begin = time.monotonic()
    answers = [json.loads(one.communicate("go\n")[0].splitlines()[-1]) for one in both]
    elapsed = time.monotonic() - begin
    from e2s_tasks.ledger import Ledger, replay

    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    replay(tmp_path / "journal", ledger)
    spans = [one for row in ledger.runs(limit=10) for one in ledger.run(row.run_id).spans]
    static = sum(one.static_j for one in spans)
    assert 0.4 * 10 < static <= 10 * elapsed * 1.001
    host = sum(one.cpu_j + one.dram_j + one.static_j for one in spans)
    assert host + sum(other + idle for _, other, idle in answers) == pytest.approx(sum(a[0] for a in answers), rel=1e-9)


@pytest.mark.slow
def test_a_kill_under_many_computing_threads_loses_a_tick_and_not_more(scene):
    running = scene.start("""
        import threading, time
        from e2s_tasks.core.records import Kind
        from e2s_tasks.recorder import process_recorder
        recorder = process_recorder()
        def work():
            with recorder.span("work", Kind.ATTEMPT):
                while True:
                    pass
        [threading.Thread(target=work).start() for _ in range(16)]
        time.sleep(1)  # it wakes among threads that compute
        print(recorder.process.pid, flush=True)
        time.sleep(60)
    """)
    pid = int(running.line())
    time.sleep(2)
    os.kill(pid, signal.SIGKILL)
    seen = running.end()
    assert {one.status for one in seen.all_spans} == {"crashed"}
    assert len(seen.all_spans) == 16
    assert seen.cpu("work") > seen.cpu_s - 1.5  # a tick of 0.1 s, and what a thread waits for the interpreter


def test_what_has_ended_is_written_down_before_the_process_becomes_another_program(scene):
    seen = scene.run(
        """
        import os
        from e2s_tasks import span
        from tests.mixes.burning import burn
        with span("before"):
            burn(0.2)
        os.execvp("sh", ["sh", "-c", "exit 3"])
        """,
        E2S_TICK_S="10",
    )
    assert (seen.code, seen.stderr) == (3, "")
    assert seen.spans["before"].status == "completed"
    assert seen.cpu("before") == pytest.approx(0.2, abs=0.03)
