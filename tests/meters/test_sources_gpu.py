"""The real NVML code against a fake of NVML's functions; no card is at hand here."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.core.attribution import Segment, split
from e2s_tasks.meters import gpu_sharing, nvml
from e2s_tasks.meters.nvml import GpuCounter, GpuPower, gpus
from e2s_tasks.meters.visible import visible_devices
from tests.fakes.nvml import Card, FakeNvml

UUIDS = ["GPU-aaaa1111", "GPU-aaaa2222", "GPU-bbbb3333"]


@pytest.fixture(autouse=True)
def first_namespace(monkeypatch):
    """NVML's pids are the test's pids, and the driver is asked at each reading."""
    monkeypatch.setattr(gpu_sharing, "_sees_every_pid", lambda: True)
    monkeypatch.setattr(gpu_sharing, "LOOK_EVERY_S", 0.0)


@pytest.fixture
def other():
    """A process that is no child of this test's process: its parent has ended."""
    program = (
        "import subprocess as s, sys; p = s.Popen(['sleep', '60'], stdout=s.DEVNULL, stderr=s.DEVNULL); print(p.pid)"
    )
    pid = int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
    yield pid
    os.kill(pid, 9)


def test_a_gpus_energy_counter_is_read_in_joules():
    fake = FakeNvml(Card(energy_mj=5_000))
    (card,), missing = gpus(fake, {})
    before = card.read()
    fake.cards[0].energy_mj = 7_500
    assert missing == []
    assert card.reading(before, card.read(), 1.0, 1.0).joules == pytest.approx(2.5)
    assert card.records[0].provenance == "measured"


def test_a_card_without_an_energy_counter_has_its_power_integrated_and_is_modelled():
    fake = FakeNvml(Card(energy_mj=None, power_mw=100_000))
    (card,), missing = gpus(fake, {})
    before = card.read()
    fake.cards[0].power_mw = 300_000
    assert missing == []
    assert isinstance(card, GpuPower)
    assert card.reading(before, card.read(), 2.0, 1.0).joules == pytest.approx(400.0)
    assert card.records[0].provenance == "modelled"
    assert card.records[0].low < 1 < card.records[0].high


def test_a_card_that_tells_nothing_is_a_gap_and_not_absent():
    cards, (record,) = gpus(FakeNvml(Card(energy_mj=None, power_mw=None)), {})
    assert cards == []
    assert (record.provenance, record.absent) == ("missing", False)


def test_a_card_in_mig_mode_is_reported_as_not_covered_and_never_booked():
    cards, (record,) = gpus(FakeNvml(Card(), Card(mig=True)), {})
    assert [type(card) for card in cards] == [GpuCounter]
    assert record.provenance == "missing"
    assert "MIG" in record.detail
    assert not record.absent


def test_a_counter_that_was_reset_is_a_gap():
    fake = FakeNvml(Card(energy_mj=5_000))
    (card,), _ = gpus(fake, {})
    assert card.reading(5_000, 10, 1.0, 1.0).joules is None
    assert card.reading(0, 10_000_000_000, 1.0, 1.0).joules is None


def test_a_card_that_falls_off_the_bus_is_a_gap():
    fake = FakeNvml(Card())
    (card,), _ = gpus(fake, {})
    before = card.read()
    fake.cards[0].dead = True
    assert card.read() is None
    assert card.reading(before, None, 1.0, 1.0).joules is None


def test_a_host_without_a_driver_has_no_gpu_which_is_no_gap():
    cards, (record,) = gpus(FakeNvml(), {})
    assert cards == []
    assert record.absent


def test_pynvml_is_not_loaded_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(nvml, "_may_have_a_gpu", lambda: False)
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it would raise
    _, (record,) = gpus()
    assert record.absent


def test_a_boundary_costs_one_call_per_visible_card(other):
    fake = FakeNvml(Card(processes={os.getpid(): 10, other: 10}), Card())
    cards, _ = gpus(fake, {"CUDA_VISIBLE_DEVICES": "0"})
    fake.cards[0].calls.clear()
    fake.cards[1].calls.clear()
    for card in cards:
        card.read()
    assert fake.cards[0].calls == ["energy"]
    assert fake.cards[1].calls == []


# -- which cards ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, [0, 1, 2]), ("", []), ("-1", []), ("NoDevFiles", []), ("0", [0]), ("2,0", [2, 0]), (" 1 , 2 ", [1, 2]),
        ("0,-1,1", [0]), ("0,7,1", [0]), ("1,1", []), ("GPU-bbbb", [2]), ("GPU-bbbb3333,GPU-aaaa1111", [2, 0]),
        ("GPU-aaaa", []), ("GPU-zzzz,0", []), ("GPU-bbbb,GPU-bbbb3333", []), ("1gpu", [1]),
        ("MIG-GPU-bbbb3333/1/0", [2]), ("MIG-GPU-bbbb3333/1/0,MIG-GPU-bbbb3333/2/0", [2]),
        ("MIG-4f9a8d3e-0000-0000-0000-000000000000", [0, 1, 2]),
    ],
)  # fmt: skip
def test_cuda_visible_devices_means_what_it_means_to_cuda(setting, expected):
    assert visible_devices(setting, UUIDS) == expected


@given(st.none() | st.text(alphabet="0123456789,- GPUMIGabx", max_size=30))
def test_whatever_cuda_visible_devices_holds_only_real_cards_come_out_each_once(setting):
    found = visible_devices(setting, UUIDS)
    assert len(set(found)) == len(found)
    assert set(found) <= {0, 1, 2}


def test_only_visible_cards_are_the_processs_and_none_is_no_gap():
    fake = FakeNvml(Card(energy_mj=1), Card(energy_mj=2))
    (card,), _ = gpus(fake, {"CUDA_VISIBLE_DEVICES": "1"})
    assert card.read() == 2
    cards, (record,) = gpus(fake, {"CUDA_VISIBLE_DEVICES": ""})
    assert cards == []
    assert record.absent


# -- whose energy -----------------------------------------------------------------------------------------------------


def booked(card, held_s: float) -> float:
    """What a second of 100 J books on this process, whose work answers for `held_s` of the host's idle second."""
    reading = card.reading(0, 100_000, 1.0, 0.5)
    return split(Segment(1.0, 0.5, {"task": 0.5}, {"task": held_s}, [reading])).spans.get("task", {}).get("gpu", 0.0)


def test_the_only_process_on_a_card_has_all_of_its_energy_whoever_else_is_measured():
    (card,), _ = gpus(FakeNvml(Card(processes={os.getpid(): 5})), {})
    assert booked(card, held_s=0.5) == pytest.approx(100.0)
    assert card.records[0].provenance == "measured"


def test_a_card_that_nobody_uses_is_shared_as_idle_power_is():
    (card,), _ = gpus(FakeNvml(Card()), {})
    assert booked(card, held_s=0.5) == pytest.approx(50.0)


def test_a_card_that_only_others_use_costs_this_process_nothing(other):
    (card,), _ = gpus(FakeNvml(Card(processes={other: 90})), {})
    assert booked(card, held_s=1.0) == 0.0


def test_a_shared_card_is_split_by_utilisation_and_called_a_model(other):
    fake = FakeNvml(Card(processes={os.getpid(): 20, other: 60}))
    (card,), _ = gpus(fake, {})
    fake.time_us += 1_000_000
    assert booked(card, held_s=1.0) == pytest.approx(25.0)
    assert card.records[0].provenance == "modelled"
    assert card.records[0].low < 1 < card.records[0].high


def test_a_card_becomes_modelled_when_another_process_comes(other):
    fake = FakeNvml(Card(processes={os.getpid(): 20}))
    (card,), _ = gpus(fake, {})
    assert card.records[0].provenance == "measured"
    assert card.reading(0, 100_000, 1.0, 0.0).estimated is None
    fake.cards[0].processes[other] = 20
    card._users._looked_s = float("-inf")  # the driver is asked once a tick
    assert booked(card, held_s=1.0) == pytest.approx(50.0)
    assert card.reading(0, 100_000, 1.0, 0.0).estimated == pytest.approx(100.0)  # which its run's summary shows


def test_two_idle_processes_on_a_card_have_half_each(other):
    (card,), _ = gpus(FakeNvml(Card(processes={os.getpid(): 0, other: 0})), {})
    assert booked(card, held_s=1.0) == pytest.approx(50.0)


def test_a_child_without_a_meter_is_this_processs_and_one_with_a_meter_is_not():
    child = subprocess.Popen(["sleep", "60"])
    try:
        fake = FakeNvml(Card(processes={child.pid: 50, os.getpid(): 50}))
        (card,), _ = gpus(fake, {})
        assert booked(card, held_s=1.0) == pytest.approx(100.0)
        (card,), _ = gpus(fake, {}, lambda: {child.pid, os.getpid()})
        assert booked(card, held_s=1.0) == pytest.approx(50.0)
    finally:
        child.kill()
        child.wait()


@given(st.lists(st.integers(0, 100), min_size=2, max_size=5))
def test_what_all_processes_book_sums_to_the_card(shares):
    """Each process asks the same driver; together they book the card's energy once."""
    pids = range(1001, 1001 + len(shares))
    processes = dict(zip(pids, shares, strict=True))
    total = 0.0
    for pid in pids:
        users = gpu_sharing.CardUsers(FakeNvml(Card(processes=processes)), 0)
        users._mine = lambda found, pid=pid: found & {pid}
        total += users.part().fraction
    assert total == pytest.approx(1.0)


def test_inside_a_container_pids_cannot_be_told_and_the_card_is_shared_as_idle_power_is(monkeypatch):
    monkeypatch.setattr(gpu_sharing, "_sees_every_pid", lambda: False)
    (card,), _ = gpus(FakeNvml(Card(processes={1: 5, 2: 5})), {})
    assert booked(card, held_s=0.5) == pytest.approx(50.0)
    assert card.records[0].provenance == "modelled"


def test_a_driver_that_does_not_tell_the_cards_users_leaves_the_energy_shared_by_time():
    class Old(FakeNvml):
        def nvmlDeviceGetComputeRunningProcesses(self, handle):
            raise self.NVMLError_NotSupported("Not Supported")

    (card,), _ = gpus(Old(Card()), {})
    assert booked(card, held_s=0.5) == pytest.approx(50.0)
