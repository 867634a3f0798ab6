"""Child processes of measured work, for real."""

import os
import subprocess
import sys
import time

import pytest

from e2s_tasks.meters.account import Account, Role
from e2s_tasks.meters.children import Children
from e2s_tasks.meters.clocks import host_busy_clock
from e2s_tasks.meters.meter import Meter

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
        pids[child.pid] = os.getpid()
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
print(inner.cpu_ns, flush=True)
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
    parent, child = (int(word) / 1e9 for word in done.stdout.split())
    assert child > 0.5
    assert parent < 0.6  # the child's imports, before it had a meter
