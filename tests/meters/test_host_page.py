"""Idle power over several processes of a host: each second is answered for once."""

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.meters import host_page as module
from e2s_tasks.meters.account import Account, Role
from e2s_tasks.meters.host_page import HEADER, MAGIC, PARENTS, SIZE, SLOT, HostPage, host_page, page_name
from e2s_tasks.meters.meter import Meter
from e2s_tasks.meters.page import Claims, LocalPage
from tests.fakes.world import IDLE_W, World, WorldBusy, WorldCounter, WorldMeter

S = 1_000_000_000


@pytest.fixture
def two(tmp_path):
    """Two processes on one page."""
    path = tmp_path / "page"
    return HostPage(path), HostPage(path)


def test_work_of_two_processes_shares_the_time_that_it_overlaps(two):
    one, other = two
    first = one.advance(1 * S, 1, 0)[0]
    second = other.advance(3 * S, 1, 0)[0]
    assert one.advance(5 * S, -1, 0)[0] - first == pytest.approx(2 + 1)
    assert other.advance(9 * S, -1, 0)[0] - second == pytest.approx(1 + 4)


def test_a_flow_run_holds_only_while_no_work_is_open_in_any_process(two):
    one, other = two
    flow = one.advance(0, 0, 1)[1]
    other.advance(2 * S, 1, 0)
    other.advance(5 * S, -1, 0)
    assert one.advance(6 * S, 0, -1)[1] - flow == pytest.approx(3)


def test_time_in_which_nobody_works_is_nobodys(two):
    one, other = two
    before = one.integrals(1 * S)
    assert other.integrals(100 * S) == before


def test_what_a_dead_process_held_is_taken_back(two, tmp_path):
    one, other = two
    one.advance(0, 1, 0)
    # As if another process, dead by now, held too.
    SLOT.pack_into(other._map, other._slot, 2**22 + 12345, 1, 0, *[0] * PARENTS, *[0] * 7, 77)
    HEADER.pack_into(other._map, 0, MAGIC, 0, 0, 0.0, 0.0, 2, 0, 1, 2)
    assert one.integrals(2 * S)[0] == pytest.approx(1.0)
    one.sweep(2 * S)
    assert one.integrals(4 * S)[0] == pytest.approx(3.0)


def test_a_lock_that_is_taken_is_not_waited_for_and_the_change_is_not_lost(two):
    one, other = two
    assert other._locked()
    assert one.advance(1 * S, 1, 0) == (0.0, 0.0)
    fcntl.flock(other._fd, fcntl.LOCK_UN)
    one.integrals(2 * S)
    assert one.integrals(4 * S)[0] == pytest.approx(2.0)


def test_who_begins_while_the_lock_is_taken_answers_for_nothing_that_was_before(two, tmp_path):
    one, other = two
    one.advance(0, 1, 0)
    one.advance(100 * S, -1, 0)
    late = HostPage(tmp_path / "page")
    assert other._locked()
    start = late.advance(200 * S, 1, 0)[0]
    fcntl.flock(other._fd, fcntl.LOCK_UN)
    assert late.advance(201 * S, -1, 0)[0] == start


STEPS = st.tuples(st.integers(0, 2), st.integers(0, 3), st.sampled_from(["begin", "end", "look"]), st.booleans())


@given(st.lists(STEPS, max_size=30))
def test_no_second_is_answered_for_twice_however_often_the_lock_is_taken(tmp_path_factory, history):
    """history: which process, after how many seconds, does what, and whether the lock is taken just then."""
    path = tmp_path_factory.mktemp("host") / "page"
    pages = [HostPage(path) for _ in range(3)]
    locker = os.open(path, os.O_RDWR)
    begun, given_s, now, held_s = {page: [] for page in pages}, 0.0, 0, 0.0
    for which, later_s, what, taken in [*history, *[(n, 0, "end", False) for n in (0, 1, 2) for _ in range(30)]]:
        page = pages[which]
        now += later_s * S
        held_s += later_s if any(begun.values()) else 0
        if taken:
            fcntl.flock(locker, fcntl.LOCK_EX)
        if what == "begin":
            begun[page].append(page.advance(now, 1, 0)[0])
        elif what == "end" and begun[page]:
            given_s += page.advance(now, -1, 0)[0] - begun[page].pop()
        else:
            page.integrals(now)
        fcntl.flock(locker, fcntl.LOCK_UN)
    for fd in (locker, *(page._fd for page in pages)):
        os.close(fd)
    assert given_s <= held_s + 1e-9
    if not any(taken for *_, taken in history):
        assert given_s == pytest.approx(held_s)


def test_a_page_that_cannot_be_made_is_kept_in_the_process(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert isinstance(host_page(blocked), LocalPage)


@pytest.fixture
def full_disk(tmp_path):
    """A directory on a disk of its own, 64 KiB, without a free block."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill(disk):
    """Take the disk's last block."""
    with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
        any(filler.write(bytes(4096)) == 0 for _ in range(64))


PAGE_ON_FULL_DISK = """
import sys
from pathlib import Path
from e2s_tasks.meters.host_page import host_page
page = host_page(Path(sys.argv[1]))
page.advance(1, 1, 0)
print(type(page).__name__)
"""


@pytest.mark.parametrize("left_sparse", [False, True])
def test_a_full_disk_never_kills_the_process_that_keeps_the_page(full_disk, left_sparse):
    data = full_disk / "data"
    data.mkdir()
    if left_sparse:
        with host_page_file(data).open("wb") as page:
            page.truncate(SIZE)
    fill(full_disk)
    ran = subprocess.run(
        [sys.executable, "-c", PAGE_ON_FULL_DISK, str(data)], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "LocalPage"), ran.stderr


def host_page_file(folder):
    return folder / page_name()


def test_two_meters_of_one_host_count_its_idle_power_once(tmp_path):
    world = World()
    meters = []
    for _ in range(2):
        meter = WorldMeter(world, WorldCounter(world))
        Meter.__init__(meter, [WorldCounter(world)], WorldBusy(world), world.clocks(), HostPage(tmp_path / "page"))
        meters.append(meter)
    first, second = (meter.start(Account(Role.ATTEMPT)) for meter in meters)
    world.run(1 * S, {})
    meters[0].stop(first)
    world.run(2 * S, {})
    meters[1].stop(second)
    for meter in meters:
        meter.settle(force=True)
    assert first.joules["static"] == pytest.approx(0.5 * IDLE_W)
    assert second.joules["static"] == pytest.approx(2.5 * IDLE_W)


def in_child(work):
    """Run work in a forked child; returns its pid once it has ended."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_others_see_whose_child_a_measured_process_is_and_what_it_used_before(tmp_path):
    page = HostPage(tmp_path / "page")
    pid = in_child(lambda: HostPage(tmp_path / "page").advance(1 * S, 1, 0))
    one = page.processes()[pid]
    assert one.parents[0] == os.getpid()
    assert 0 <= one.begun_ns < S
    assert one.ended_ns == 0
    assert os.getppid() in page.processes()[os.getpid()].parents


def test_others_see_what_the_spans_of_a_process_have_claimed(tmp_path):
    page = HostPage(tmp_path / "page")

    def work():
        mine = HostPage(tmp_path / "page")
        mine.claim(0, 0, 100, open_=True)
        mine.claim(50, 7, 150, open_=True)
        mine.claim(20, 0, 170, open_=False)

    pid = in_child(work)
    one = page.processes()[pid]
    assert one.claims() == Claims(70, 170, open=False, all_ns=77)
    assert one.unclaimed_ns(1000) == 930
    assert one.unclaimed_ns(None) == 100


def test_while_a_span_is_open_what_comes_is_claimed(tmp_path):
    page = HostPage(tmp_path / "page")
    one = page.processes()[os.getpid()]
    begun = one.unclaimed_ns(None)
    until = time.process_time_ns()
    page.claim(0, 0, until, open_=True)
    assert begun <= one.unclaimed_ns(until) == one.unclaimed_ns(until + S) == one.unclaimed_ns(None)
    page.claim(30, 0, until + 30, open_=True)
    assert one.unclaimed_ns(until + S) == one.unclaimed_ns(None)


def test_a_process_that_measures_anew_keeps_its_claims(tmp_path):
    page = HostPage(tmp_path / "page")
    page.claim(30, 4, 1000, open_=False)
    before = page.processes()[os.getpid()].claims()
    again = HostPage(tmp_path / "page")
    again.claim(5, 0, 2000, open_=False)
    after = page.processes()[os.getpid()].claims()
    assert (after.own_ns - before.own_ns, after.all_ns) == (5, 39)


def test_what_a_process_had_used_when_it_stopped_measuring_is_told_until_it_measures_again(tmp_path):
    page = HostPage(tmp_path / "page")
    mine = lambda: page.processes()[os.getpid()].used_ns  # noqa: E731
    assert mine() is None
    page.release(1 * S, at_rest=False)
    assert mine() is None
    page.release(1 * S, at_rest=True)
    assert mine() >= time.process_time_ns() - S
    page.advance(2 * S, 1, 0)
    assert mine() is None


@pytest.mark.slow
def test_what_children_had_used_before_a_process_measured_is_unknown_where_measured_ones_were_among_them(tmp_path):
    page = HostPage(tmp_path / "page")

    def work():
        subprocess.run([sys.executable, "-S", "-c", ""], check=True)
        HostPage(tmp_path / "page")

    pid = in_child(work)
    assert page.processes()[pid].ended_ns > 0
    pid = in_child(lambda: (in_child(lambda: HostPage(tmp_path / "page")), HostPage(tmp_path / "page")))
    assert page.processes()[pid].ended_ns is None


def test_who_comes_when_others_have_been_dead_for_long_finds_the_page_in_order(tmp_path, monkeypatch):
    in_child(lambda: HostPage(tmp_path / "page").claim(1, 0, 1, open_=False))
    HostPage(tmp_path / "page")  # which finds it dead
    monkeypatch.setattr(module, "REMEMBER_NS", 0)
    assert HostPage(tmp_path / "page").processes().keys() == {os.getpid()}


def test_what_a_forgotten_process_claimed_is_kept_with_who_is_above_it(tmp_path):
    page = HostPage(tmp_path / "page")
    page.claim(1, 2, 10, open_=False)

    def work():
        mine = HostPage(tmp_path / "page")
        mine.claim(20, 10, 20, open_=False)
        in_child(lambda: HostPage(tmp_path / "page").claim(300, 100, 300, open_=False))

    pid = in_child(work)
    page.sweep(time.monotonic_ns())
    assert len(page.processes()) == 3
    assert page.processes()[pid].claims().all_ns == 30
    page.sweep(time.monotonic_ns() + 100 * S)
    assert page.processes().keys() == {os.getpid()}
    assert page.processes()[os.getpid()].claims().all_ns == 433


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20))
def test_who_reads_while_it_is_written_never_takes_claimed_time_for_unclaimed(periods):
    """Each store of a claim is followed by a look, as if the reader came between it and the next one."""

    class Watched:
        def __init__(self, cells):
            self.cells = cells

        def __getitem__(self, at):
            return self.cells[at]

        def __setitem__(self, at, value):
            self.cells[at] = value
            seen.append((one.unclaimed_ns(clock) - offset, truth))

    seen, truth, clock = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        page = HostPage(Path(folder) / "page")
        one = page.processes()[os.getpid()]
        page.claim(0, 0, 0, open_=False)
        offset = one.unclaimed_ns(0)
        page._cells = Watched(page._cells)
        for rest, work in periods:
            clock += rest
            truth += rest
            page.claim(0, 0, clock, open_=True)
            clock += work
            page.claim(work, 0, clock, open_=True)
            page.claim(0, 0, clock, open_=False)
            assert one.unclaimed_ns(clock) - offset == truth
    assert all(unclaimed <= limit for unclaimed, limit in seen)


@pytest.mark.slow
def test_the_slots_of_the_dead_are_kept_while_there_are_others(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SLOTS", 4)
    page = HostPage(tmp_path / "page")
    dead = []
    for _ in range(5):
        dead.append(in_child(lambda: HostPage(tmp_path / "page")))
        page.sweep(time.monotonic_ns())
    assert page.processes().keys() == {os.getpid(), *dead[-3:]}
    page.sweep(time.monotonic_ns() + 100 * S)
    assert page.processes().keys() == {os.getpid()}


changes = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([-1, 0, 1]), st.integers(0, 5)), max_size=30)


@given(changes)
def test_holders_of_two_processes_answer_for_exactly_the_time_in_which_one_was_open(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("page") / "page"
    pages = [HostPage(path), HostPage(path)]
    held, answered, truth, now = [[], []], 0.0, 0.0, 0
    for who, change, seconds in changes:
        truth += seconds * bool(held[0] or held[1])
        now += seconds * S
        if change > 0:
            held[who].append(pages[who].advance(now, 1, 0)[0])
        elif change < 0 and held[who]:
            answered += pages[who].advance(now, -1, 0)[0] - held[who].pop()
    for page, left in zip(pages, held, strict=True):
        answered += sum(page.integrals(now)[0] - since for since in left)
    assert answered == pytest.approx(truth)


@pytest.mark.slow
def test_two_real_processes_share_the_hosts_idle_power(tmp_path):
    program = """
        import sys, time
        from e2s_tasks import span
        from e2s_tasks.recorder import process_recorder
        recorder = process_recorder()
        print("ready", flush=True)
        sys.stdin.readline()
        start = time.monotonic()
        with span("work") as work:
            time.sleep(1.0)
        elapsed = time.monotonic() - start
        recorder.flush()
        print(work.joules["static"] / elapsed, flush=True)
    """
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path), "E2S_CPU_TDP_W": "100", "E2S_CPU_IDLE_W": "10"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    watts = [json.loads(process.communicate()[0]) for process in both]
    assert watts == [pytest.approx(5.0, rel=0.1)] * 2


def test_a_page_whose_lock_stays_taken_is_gone_without(tmp_path):
    host_page(tmp_path)
    (path,) = tmp_path.glob(".idle-*.page")
    with path.open("r+b") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        begin = time.monotonic()
        assert isinstance(host_page(tmp_path), LocalPage)
        assert time.monotonic() - begin < 10


def test_another_hosts_page_in_the_same_folder_is_left_until_nobody_has_opened_it_for_a_day(tmp_path):
    other = tmp_path / ".idle-another-boot-1-1.page"
    other.touch()
    host_page(tmp_path)
    assert other.exists()
    os.utime(other, (time.time() - 2 * 86_400,) * 2)
    host_page(tmp_path)
    assert [one.name for one in tmp_path.glob(".idle-*.page")] == [page_name()]


def test_an_old_page_that_cannot_be_removed_or_is_gone_already_costs_nobody_the_hosts_page(tmp_path, monkeypatch):
    long_ago = (time.time() - 2 * 86_400,) * 2
    stuck, gone = (tmp_path / f".idle-another-boot-1-{number}.page" for number in (1, 2))
    stuck.mkdir()
    os.utime(stuck, long_ago)
    find = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [*find(self, pattern), gone])  # another was quicker
    assert isinstance(host_page(tmp_path), HostPage)


def test_a_page_in_use_is_not_removed_however_long_ago_it_was_opened(tmp_path):
    page = HostPage(tmp_path / ".idle-another-boot-1-1.page")
    os.utime(tmp_path / ".idle-another-boot-1-1.page", (time.time() - 2 * 86_400,) * 2)
    page.sweep(time.monotonic_ns())
    host_page(tmp_path)
    assert (tmp_path / ".idle-another-boot-1-1.page").exists()
