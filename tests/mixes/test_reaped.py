"""Children that begin and end within one tick, of several spans at once: each is its own starter's."""

import asyncio
import contextlib
import multiprocessing
import os
import resource
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import e2s_tasks.recorder.recorder as module
from e2s_tasks import span
from e2s_tasks.core import spans
from tests.mixes.burning import burn, burning
from tests.mixes.test_processes import START, cpu_s, grandchild
from tests.mixes.test_processes import together as all_at_once
from tests.recorder.conftest import Recorded

TINY, HEAVY = 0.01, 0.3
fork = multiprocessing.get_context("fork")


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """A recorder that looks every ten seconds only."""
    made = Recorded(tmp_path, tick_s=10)
    monkeypatch.setattr(spans, "factory", lambda: made.recorder)
    monkeypatch.setattr(module, "_recorder", made.recorder)
    module.watch_starts(lambda: made.recorder.meter)
    return made


def together(**work):
    """Run each function in a thread and a span of its own, none of which ends before all are done."""
    all_at_once(until=threading.Barrier(len(work), timeout=30).wait, **work)


def by_run(seconds):
    subprocess.run(burning(seconds), check=True)


def by_polls(seconds):
    child = subprocess.Popen(burning(seconds))
    while child.poll() is None:
        time.sleep(0.002)


def by_a_time_out(seconds):
    subprocess.Popen(burning(seconds)).wait(timeout=10)


def by_a_worker(seconds):
    worker = fork.Process(target=burn, args=(seconds,))
    worker.start()
    worker.join()


def by_a_fork(seconds):
    pid = os.fork()
    if not pid:
        burn(seconds)
        os._exit(0)
    os.wait4(pid, 0)


def by_a_spawn(seconds):
    os.waitpid(os.posix_spawn(sys.executable, burning(seconds), {**os.environ}), 0)


def by_asyncio(seconds):
    async def main():
        child = await asyncio.create_subprocess_exec(*burning(seconds))
        await child.wait()

    asyncio.run(main())


def by_its_child(seconds):
    subprocess.run(grandchild(seconds), check=True)


@pytest.mark.parametrize(
    "do", [by_run, by_polls, by_a_time_out, by_a_worker, by_a_fork, by_a_spawn, by_asyncio, by_its_child]
)
def test_short_children_of_concurrent_spans_are_each_their_own_starters(slow, do):
    together(tiny=lambda: do(TINY), heavy=lambda: do(HEAVY))
    heavy, tiny = (cpu_s(slow.spans()[name]) for name in ("heavy", "tiny"))
    # a process that is forked from this one has as much more as it takes to copy it, and to end the copy
    assert heavy - tiny == pytest.approx(HEAVY - TINY, abs=0.1)


@pytest.fixture
def program(tmp_path):
    """What starts a measured program whose span uses 0.2 CPU seconds, and the environment that it needs."""
    text = "from e2s_tasks import span\nfrom tests.mixes.burning import burn\nwith span('inner'): burn(0.2)\n"
    (tmp_path / "program.py").write_text(text)
    environment = {**os.environ, "E2S_DATA_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    return f"{sys.executable} {tmp_path / 'program.py'}", environment


def ended_s():
    """CPU seconds of all ended children of this process."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("last", ["", "; true"])  # the shell becomes the program, or starts it
def test_what_a_measured_program_below_a_shell_does_outside_its_spans_is_its_starters(slow, program, last):
    command, environment = program
    before = ended_s()
    with span("starts"):
        subprocess.run(["sh", "-c", command + last], env=environment, check=True)
    used_s = ended_s() - before
    assert used_s > 0.25
    assert cpu_s(slow.spans()["starts"]) == pytest.approx(used_s - 0.2, abs=0.03)


def test_what_a_shell_starts_after_the_end_of_a_measured_program_was_seen_is_its_starters(slow, program, tmp_path):
    command, environment = program
    ended = tmp_path / "ended"
    before = ended_s()
    with span("starts"):
        lines = f"{command}; touch {ended}; read line; {shlex.join(burning(0.15))}"
        shell = subprocess.Popen(["sh", "-c", lines], env=environment, stdin=subprocess.PIPE)
        slow.recorder.meter.tick()
        while not ended.exists():
            time.sleep(0.002)
        slow.recorder.meter.tick()
        shell.communicate(b"go\n")
    assert cpu_s(slow.spans()["starts"]) == pytest.approx(ended_s() - before - 0.2, abs=0.03)


def test_children_that_no_span_has_started_take_nothing_from_those_that_nobody_sees_reaped(slow):
    def beside():
        while not done.wait(0.01):
            subprocess.run(["true"], check=True)

    done = threading.Event()
    thread = threading.Thread(target=beside)
    thread.start()
    with span("work"):
        for _ in range(3):
            os.system(shlex.join(burning(0.1)))  # which C code reaps
        slow.recorder.meter.tick()
    done.set()
    thread.join()
    assert cpu_s(slow.spans()["work"]) == pytest.approx(0.3 + 3 * START / 2, abs=3 * START)


def test_what_nobody_sees_reaped_is_not_of_who_has_had_all_that_is_its_own(slow):
    def by_c_code():
        for _ in range(3):
            os.system(shlex.join(burning(0.1)))

    together(told=lambda: [by_run(0.01) for _ in range(3)], untold=by_c_code)
    told, untold = (slow.spans()[name] for name in ("told", "untold"))
    assert cpu_s(told) - told.shared_cpu_ns / 1e9 < 0.1 + 3 * START
    assert untold.shared_cpu_ns == pytest.approx(told.shared_cpu_ns, rel=0.5)
    assert (told.shared_cpu_ns + untold.shared_cpu_ns) / 1e9 == pytest.approx(0.3 + 3 * START / 2, abs=3 * START)


def test_a_child_that_is_reaped_among_any_is_its_starters(slow):
    def start():
        child = subprocess.Popen(burning(0.1))
        while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            time.sleep(0.002)
        os.wait()
        child.returncode = 0

    together(alone=start)
    assert cpu_s(slow.spans()["alone"]) == pytest.approx(0.1 + START / 2, abs=START)


def test_a_child_is_reaped_by_whatever_call_and_arguments(slow):
    calls = [
        lambda pid: os.waitpid(pid, 0), lambda pid: os.wait4(pid, 0), lambda pid: os.wait4(pid=pid, options=0),
        lambda _: os.wait3(0), lambda _: os.wait3(options=0), lambda _: os.wait(), lambda _: os.waitpid(-1, 0),
    ]  # fmt: skip
    with span("waits"):
        for call in calls:
            pid = os.posix_spawn(sys.executable, [sys.executable, "-S", "-c", "raise SystemExit(3)"], {**os.environ})
            reaped, status, *_ = call(pid)
            assert (reaped, os.waitstatus_to_exitcode(status)) == (pid, 3)


def test_waiting_for_a_child_ends_as_ever(slow):
    def work():
        stopped = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
        with pytest.raises(subprocess.TimeoutExpired):
            stopped.wait(timeout=0.05)
        os.kill(stopped.pid, signal.SIGSTOP)
        _, status = os.waitpid(stopped.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        stopped.kill()
        assert stopped.wait() == -signal.SIGKILL
        with pytest.raises(ChildProcessError):
            os.waitpid(stopped.pid, 0)
        assert subprocess.run([sys.executable, "-S", "-c", "raise SystemExit(3)"], check=False).returncode == 3

    together(work=work)
    assert slow.spans()["work"].status == "completed"


def test_who_waits_for_a_child_has_it_before_a_handler_that_reaps_any(slow):
    def reap(*_):
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    before = signal.signal(signal.SIGCHLD, reap)
    try:
        with span("waits"):
            child = subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(3)"])
            assert child.wait() == 3
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_signal_handlers_error_leaves_the_wait_for_a_child(slow):
    class EnoughError(Exception):
        """Of the user's."""

    def enough(*_):
        raise EnoughError

    before = signal.signal(signal.SIGALRM, enough)
    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])

    def work():
        with span("waits"):
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            child.wait()

    try:
        with pytest.raises(EnoughError):
            work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        child.kill()
        child.wait()
    assert slow.spans()["waits"].status == "failed"
