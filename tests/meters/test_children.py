"""Child processes of measured work, for real."""

import json
import os
import resource
import subprocess
import sys
import threading
import time

import pytest

from e2s_tasks.host import process_stat, start_ticks
from e2s_tasks.meters.account import Account, Role
from e2s_tasks.meters.children import Children
from e2s_tasks.meters.clocks import host_busy_clock
from e2s_tasks.meters.meter import Meter
from e2s_tasks.meters.page import Claims, Measured

BURN = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass"


def burning(seconds, then=""):
    return [sys.executable, "-S", "-c", BURN.format(seconds) + then]


@pytest.fixture
def meter():
    return Meter([], host_busy_clock(), children=Children(dict))


def measured(meter, work):
    """CPU seconds that are booked on a span around the work."""
    account = Account(Role.ATTEMPT)
    meter.begin(account)
    work()
    meter.finish(account)
    meter.settle(force=True)
    return account.cpu_ns / 1e9


def test_a_child_that_a_span_waits_for_is_counted_to_it(meter):
    assert measured(meter, lambda: subprocess.run(burning(0.3), check=True)) == pytest.approx(0.32, abs=0.06)


def test_several_short_children_are_all_counted(meter):
    work = lambda: [subprocess.run(burning(0.05), check=True) for _ in range(5)]  # noqa: E731
    assert measured(meter, work) == pytest.approx(0.25 + 5 * 0.02, abs=0.12)


def test_a_child_that_still_runs_is_counted_as_far_as_it_got_and_once(meter):
    def work():
        child = subprocess.Popen(burning(0.4, "\ntime.sleep(0.3)"))
        for _ in range(8):
            time.sleep(0.05)
            meter.tick()
        child.wait()

    assert measured(meter, work) == pytest.approx(0.42, abs=0.08)


def test_a_grandchild_is_counted_once(meter):
    outer = "import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', sys.argv[1]])"

    def work():
        child = subprocess.Popen([sys.executable, "-S", "-c", outer, BURN.format(0.3)])
        while child.poll() is None:
            time.sleep(0.05)
            meter.tick()

    assert measured(meter, work) == pytest.approx(0.36, abs=0.1)


def test_a_child_from_before_the_span_is_nobodys(meter):
    child = subprocess.Popen(burning(0.5))
    time.sleep(0.05)
    assert measured(meter, child.wait) < 0.05


def test_a_child_with_a_meter_of_its_own_is_not_counted_again():
    pids = {}
    meter = Meter([], host_busy_clock(), children=Children(lambda: pids))

    def work():
        child = subprocess.Popen(burning(0.4))
        pids[child.pid] = Measured(
            (os.getpid(),), start_ticks(child.pid), 0, 0, None, lambda: Claims(0, 0, open=True, all_ns=10**12)
        )
        while child.poll() is None:
            time.sleep(0.02)
            meter.tick()

    assert measured(meter, work) < 0.1


CHILD = """
import time
from e2s_tasks import span
from e2s_tasks.recorder import process_recorder

with span("child") as inner:
    end = time.process_time() + 1.0
    while time.process_time() < end:
        pass
process_recorder().flush()
print(inner.cpu_ns, time.process_time_ns(), flush=True)
"""
PARENT = """
import subprocess, sys
from e2s_tasks import span
from e2s_tasks.recorder import process_recorder

with span("parent") as outer:
    done = subprocess.run([sys.executable, "child.py"], capture_output=True, text=True, check=True)
process_recorder().flush()
print(outer.cpu_ns, done.stdout.strip())
"""


def test_measured_work_in_a_child_process_is_not_counted_to_its_parent_again(tmp_path):
    (tmp_path / "child.py").write_text(CHILD)
    (tmp_path / "parent.py").write_text(PARENT)
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path), "E2S_TICK_S": "0.05"}
    command = [sys.executable, "parent.py"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    parent, child, all_of_child = (int(word) / 1e9 for word in done.stdout.split())
    assert child > 0.5
    assert parent < all_of_child - child + 0.3  # what it did before its span and after it, and its end


AGENT = """
import json, os, resource, sys, time

def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

def used():
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime

def answer():
    print(json.dumps([os.getpid(), used()]), flush=True)

for line in sys.stdin:
    command, _, seconds = line.strip().partition(" ")
    if command == "start":
        held, hold = os.pipe()
        child = os.fork()
        if not child:
            os.close(hold)
            burn(float(seconds))
            answer()
            os.read(held, 1)
            os._exit(0)
        os.close(held)
    elif command == "reap":
        os.close(hold)
        os.waitpid(child, 0)
        answer()
    elif command == "descend":
        inner = os.fork()
        if inner:
            os.waitpid(inner, 0)
        answer()
    else:
        answer()
        os._exit(0)
"""
TRUNCATED = 0.02  # two clock ticks, to which the system tells the sums of other processes
EXACT = 0.003  # what a process uses between its last word and its end


class Agent:
    """A process that does as it is told: it starts children that burn, and waits for their ends."""

    def __init__(self):
        command = [sys.executable, "-S", "-c", AGENT]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid

    def tell(self, *words):
        """Who answers, and the CPU seconds that it and its ended children have used so far."""
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self):
        return json.loads(self.process.stdout.readline())

    def child(self, seconds):
        """It starts a child, which ends before anybody else can see it."""
        self.tell("start", seconds)
        return self.tell("reap")[1]

    def end(self):
        used = self.tell("end")[1]
        self.process.wait()
        return used


class Counted:
    """What is counted to the starter of all children; `measured` is the page."""

    def __init__(self):
        self.measured = {}
        self.children = Children(lambda: dict(self.measured))
        self.children.begin()
        self.starter = Account(Role.ATTEMPT)
        self.given = {}

    def agent(self):
        agent = Agent()
        self.children.started(agent.pid, self.starter)
        return agent

    def poll(self):
        for starter, ns in self.children.poll().items():
            assert ns >= 0
            self.given[starter] = self.given.get(starter, 0) + ns
        return sum(self.given.values()) / 1e9

    def tick(self):
        self.children.meet(self.children.look(), lambda tid: self.starter)
        return self.poll()

    def has_meter(self, *line, begun=0.0, claimed=0.0, used=None, claims=None, ended=0):
        """claims: by default a span has been open since the process got its meter; claimed: all that it used, s."""
        pid, *parents = line
        begun_ns = int(begun * 1e9)
        claims = claims or Claims(0, begun_ns, open=True, all_ns=int(claimed * 1e9))
        self.measured[pid] = Measured(
            (*parents, os.getpid()), start_ticks(pid), begun_ns, ended, used and int(used * 1e9), lambda: claims
        )


@pytest.fixture
def counted():
    return Counted()


def test_what_ended_below_a_process_that_still_lives_is_counted_but_for_a_clock_tick(counted):
    agent = counted.agent()
    for _ in range(10):
        truth = agent.child(0.017)
        assert truth - TRUNCATED - EXACT <= counted.tick() <= truth + EXACT
    truth = agent.end()
    assert counted.poll() == pytest.approx(truth, abs=EXACT)
    assert counted.given.keys() == {counted.starter}


def test_a_worker_that_was_seen_is_counted_to_its_end_at_the_next_boundary(counted):
    agent = counted.agent()
    worker, _ = agent.tell("start", 0.05)
    counted.tick()
    assert worker in counted.children.look()
    truth = agent.tell("reap")[1]
    assert truth - TRUNCATED - EXACT <= counted.poll() <= truth + EXACT


def test_below_a_shell_only_what_its_measured_child_has_claimed_is_left_out(counted):
    shell = counted.agent()
    measured, used = shell.tell("start", 0.1)
    counted.has_meter(measured, shell.pid, begun=0.03)
    assert counted.tick() >= 0.03
    counted.has_meter(measured, shell.pid, begun=0.03, claimed=used - 0.03)
    shell.tell("reap")
    shell.child(0.05)
    counted.poll()
    truth = shell.end() - used + 0.03  # before it had its meter it was its starter's
    assert counted.poll() == pytest.approx(truth, abs=EXACT)


def test_below_a_shell_what_a_killed_measured_process_had_not_claimed_is_counted(counted):
    shell = counted.agent()
    measured, _ = shell.tell("start", 0.1)
    counted.has_meter(measured, shell.pid, claimed=0.06)
    counted.tick()
    shell.tell("reap")
    counted.poll()
    shell.child(0.05)
    truth = shell.end() - 0.06
    assert counted.poll() == pytest.approx(truth, abs=2 * EXACT)


@pytest.mark.parametrize("looks", ["while it runs", "after its end", "after its shell's end"])
def test_a_measured_process_below_one_that_nobody_has_seen_start_is_not_counted_again(counted, looks):
    shell = Agent()
    measured, used = shell.tell("start", 0.1)
    counted.has_meter(measured, shell.pid, claimed=used, used=used)
    if looks == "while it runs":
        counted.tick()
    shell.tell("reap")
    if looks == "after its end":
        counted.tick()
    shell.child(0.05)
    truth = shell.end() - used
    assert counted.poll() == pytest.approx(truth, abs=EXACT)


def test_what_a_measured_process_starts_is_its_own_business_and_of_its_end_only_the_rest_is_counted(counted):
    shell = counted.agent()
    measured, begun = shell.tell("descend")
    counted.has_meter(measured, shell.pid, begun=begun)
    counted.tick()
    shell.child(0.05)
    inner, its_own = shell.tell("start", 0.1)
    counted.has_meter(inner, measured, shell.pid, claimed=its_own)
    before = counted.tick()
    shell.tell("reap")
    assert counted.tick() == pytest.approx(before, abs=EXACT)
    used = shell.tell("end")[1]
    counted.has_meter(measured, shell.pid, begun=begun, claimed=used - begun - its_own)
    shell.answer()
    shell.child(0.05)
    truth = shell.end() - used + begun
    assert counted.poll() == pytest.approx(truth, abs=2 * EXACT)


@pytest.mark.parametrize("looks", ["before its workers end", "after it"])
def test_what_measured_ones_claimed_below_a_worker_is_left_out_once_also_if_that_measures_later(counted, looks):
    shell = counted.agent()
    worker, _ = shell.tell("descend")
    inner, claimed = shell.tell("start", 0.1)
    counted.has_meter(inner, worker, shell.pid, claimed=claimed, used=claimed)
    counted.tick()
    used = shell.tell("reap")[1]
    if looks == "before its workers end":
        counted.poll()
    counted.has_meter(worker, shell.pid, begun=used - claimed, ended=None)
    counted.poll()
    shell.child(0.05)  # of which the worker's own meter takes half
    counted.has_meter(worker, shell.pid, begun=used - claimed, claimed=0.025, ended=None)
    shell.tell("end")
    shell.answer()
    shell.child(0.05)
    truth = shell.end() - claimed - 0.025
    assert counted.poll() == pytest.approx(truth, abs=3 * EXACT)


@pytest.mark.parametrize("swept", [False, True])
def test_of_a_measured_child_that_is_first_seen_when_it_waits_to_be_reaped_only_the_rest_is_counted(counted, swept):
    agent = counted.agent()
    agent.tell("start", 0.1)
    agent.tell("reap")
    counted.has_meter(agent.pid, claimed=0.06)
    used = agent.tell("end")[1]
    while process_stat(agent.pid)[0] != "Z":
        time.sleep(0.001)
    if swept:
        counted.measured[agent.pid] = counted.measured[agent.pid]._replace(ticks=-time.monotonic_ns())
    counted.poll()
    agent.process.wait()
    assert counted.poll() == pytest.approx(used - 0.06, abs=EXACT)


def test_a_child_that_was_found_before_it_is_known_to_be_started_is_counted_once(counted):
    agent = Agent()
    agent.child(0.05)
    counted.tick()
    counted.children.started(agent.pid, counted.starter)
    assert counted.poll() <= agent.end() + EXACT


def test_a_child_that_has_ended_since_it_was_found_disturbs_nobodys_sum(counted):
    one, other = counted.agent(), counted.agent()
    found = counted.children.look()
    truth = one.end()
    counted.poll()
    counted.children.meet(found, lambda tid: counted.starter)
    other.child(0.05)
    truth += other.end()
    assert counted.poll() == pytest.approx(truth, abs=EXACT)


def test_children_that_other_threads_reap_in_the_middle_of_a_poll_are_counted_once(counted):
    def ended_s():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def work():
        while time.monotonic() < end:
            child = os.posix_spawn("/bin/sh", ["sh", "-c", "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done"], {})
            counted.children.started(child, counted.starter)
            os.waitpid(child, 0)

    before, end = ended_s(), time.monotonic() + 1.5
    threads = [threading.Thread(target=work) for _ in range(2)]
    [one.start() for one in threads]
    while any(one.is_alive() for one in threads):
        counted.poll()
    assert counted.poll() == pytest.approx(ended_s() - before, abs=0.0001)


def test_of_a_measured_child_what_its_spans_have_not_claimed_is_counted_while_it_runs(counted):
    agent = counted.agent()
    agent.tell("start", 0.0)
    used = time.clock_gettime_ns(((~agent.pid) << 3) | 2)
    counted.has_meter(agent.pid, claims=Claims(used // 2, used // 2, open=True, all_ns=used // 2))
    assert counted.tick() == 0.0  # all that it has used until then it has claimed, and what comes is claimed
    counted.has_meter(agent.pid, claims=Claims(used // 2, used // 2, open=False, all_ns=used // 2))
    assert counted.tick() >= (used - used // 2) / 1e9
    agent.tell("reap")
    truth = agent.end() - used // 2 / 1e9
    assert counted.poll() == pytest.approx(truth, abs=EXACT)


def test_of_a_measured_child_that_was_killed_all_but_its_claims_is_counted(counted):
    agent = counted.agent()
    counted.has_meter(agent.pid, claims=Claims(3_000_000, 10_000_000, open=True, all_ns=5_000_000))
    counted.tick()
    agent.child(0.05)
    truth = agent.end() - 0.005
    assert counted.poll() == pytest.approx(truth, abs=EXACT)


def test_what_was_counted_before_a_child_had_its_meter_is_not_counted_again(counted):
    agent = counted.agent()
    agent.child(0.05)
    before = counted.tick()
    counted.has_meter(agent.pid, claims=Claims(0, 0, open=True, all_ns=0))
    assert counted.tick() == pytest.approx(before, abs=2 * EXACT + TRUNCATED)
    assert counted.poll() <= agent.end() + EXACT
    counted.poll()


def test_what_the_page_tells_of_an_earlier_process_with_a_childs_pid_is_not_its_own(counted):
    agent = counted.agent()
    earlier = Claims(0, 0, open=True, all_ns=10**9)
    counted.measured[agent.pid] = Measured((os.getpid(),), -5, 7, 0, None, lambda: earlier)
    agent.child(0.05)
    assert counted.tick() > 0.03
    truth = agent.end()
    assert counted.poll() == pytest.approx(truth, abs=EXACT)
