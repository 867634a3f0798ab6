"""GPUs, through a fake of NVML's functions."""

import os
import time

import pytest

from e2s_tasks.meters.nvml import GpuPower, gpus
from tests.fakes.nvml import FakeNvml


def indices(visible, cards=3):
    sources, _ = gpus(FakeNvml(*[1] * cards), visible)
    return [int(source.records[0].name.split()[1]) for source in sources]


def test_a_gpus_energy_counter_is_read_in_joules():
    nvml = FakeNvml(5_000)
    (counter,), problems = gpus(nvml)
    before = counter.read()
    nvml.millijoules[0] = 7_500
    assert problems == []
    assert counter.records[0].provenance == "measured"
    assert counter.reading(before, counter.read(), 1.0, 1.0).joules == pytest.approx(2.5)


def test_a_card_without_an_energy_counter_has_its_power_integrated():
    nvml = FakeNvml(None, milliwatts=100_000)
    (power,), _ = gpus(nvml)
    assert isinstance(power, GpuPower)
    assert power.records[0].provenance == "modelled"
    assert power.records[0].low < 1 < power.records[0].high
    before, began = power.read(), time.monotonic()
    time.sleep(0.05)
    nvml.milliwatts = 200_000
    after, elapsed = power.read(), time.monotonic() - began
    assert power.reading(before, after, elapsed, 0.0).joules == pytest.approx(150 * elapsed, rel=0.05)


def test_a_card_that_tells_nothing_is_a_gap_and_not_absent():
    sources, (problem,) = gpus(FakeNvml(None))
    assert sources == []
    assert (problem.provenance, problem.absent) == ("missing", False)


def test_a_gpu_counter_that_was_reset_is_a_gap():
    nvml = FakeNvml(5_000)
    (counter,), _ = gpus(nvml)
    before = counter.read()
    nvml.millijoules[0] = 10
    assert counter.reading(before, counter.read(), 1.0, 1.0).joules is None


def test_a_host_without_a_driver_has_no_gpu_which_is_no_gap():
    sources, (problem,) = gpus(FakeNvml())
    assert sources == []
    assert problem.absent


@pytest.mark.parametrize(
    ("visible", "cards"),
    [
        ("0,2", [0, 2]), ("2, 0", [2, 0]), ("1", [1]), ("GPU-1aaa-bbbb", [1]), ("GPU-2", [2]),
        ("0,7,1", [0]), ("0,-1,1", [0]), ("", []), ("-1", []), ("0,0", [0]), ("GPU-", []), ("none", []),
    ],
)  # fmt: skip
def test_only_the_cards_that_cuda_shows_are_this_processs(visible, cards):
    assert indices(visible) == cards


def test_no_visible_card_is_no_gap_and_says_so():
    _, (problem,) = gpus(FakeNvml(1), "")
    assert problem.absent
    assert "CUDA_VISIBLE_DEVICES=''" in problem.detail


@pytest.mark.parametrize(("nvml", "visible"), [(FakeNvml(1, mig=True), None), (FakeNvml(1), "MIG-12-34")])
def test_mig_is_reported_as_not_covered_and_never_booked(nvml, visible):
    sources, (problem,) = gpus(nvml, visible)
    assert sources == []
    assert "MIG" in problem.detail
    assert not problem.absent


def test_a_card_shared_with_another_process_is_counted_by_utilisation_and_marked_modelled():
    nvml = FakeNvml(0)
    nvml.used = {os.getpid(): 30, os.getpid() + 1: 60}
    (counter,), _ = gpus(nvml)
    assert counter.records[0].provenance == "modelled"
    reading = counter.reading(0, 9_000, 1.0, 1.0)
    assert reading.joules == pytest.approx(9.0)
    assert reading.background * reading.attributed == pytest.approx(3.0)


def test_processes_of_another_namespace_share_a_card_equally():
    nvml = FakeNvml(0)
    nvml.used = {4_000_001: 30, 4_000_002: 60}
    (counter,), _ = gpus(nvml)
    reading = counter.reading(0, 8_000, 1.0, 1.0)
    assert reading.attributed == pytest.approx(0.5)
