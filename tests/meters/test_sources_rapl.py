"""RAPL: what a counter's steps mean, and what they do not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.meters import rapl
from e2s_tasks.meters.rapl import Domain, RaplCounter, domains
from e2s_tasks.meters.setup import sources
from e2s_tasks.settings import Settings
from tests.fakes.powercap import RANGE_UJ, Powercap
from tests.meters.test_sources import HOST


@pytest.fixture
def tree(tmp_path):
    return Powercap(tmp_path / "cap", packages=2)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(rapl, "LOOK_EVERY_S", 0.0)


def package(tree: Powercap, name: str = "package-0") -> RaplCounter:
    return RaplCounter(next(domain for domain in domains(tree.root) if domain.name == name), idle_w=1.0)


def joules(counter: RaplCounter, before: int, after: int, duration_s: float) -> float | None:
    return counter.reading(before, after, duration_s, 0.5).joules


@given(start=st.integers(0, RANGE_UJ - 1), watts=st.lists(st.floats(1.0, 900.0), min_size=1, max_size=50))
def test_a_counter_adds_up_over_any_number_of_wraps(tmp_path_factory, start, watts):
    path = tmp_path_factory.getbasetemp() / "energy_uj"
    path.write_text("0")
    counter = RaplCounter(Domain("package-0", path, RANGE_UJ), idle_w=1.0)
    shown, truth, counted = start, 0, 0.0
    for power in watts:  # segments of 60 s: at 900 W the counter wraps within five of them
        used = round(power * 60e6)
        found = joules(counter, shown, (shown + used) % RANGE_UJ, 60.0)
        assert found is not None
        shown, truth, counted = (shown + used) % RANGE_UJ, truth + used, counted + found
    assert counted == pytest.approx(truth / 1e6)


@pytest.mark.parametrize("before", [1_000_000_000, RANGE_UJ // 2, RANGE_UJ * 9 // 10])
def test_a_counter_that_was_reset_is_a_gap_and_no_wrap(tree, before):
    assert joules(package(tree), before, 500, 1.0) is None


def test_a_jump_that_no_package_can_make_is_a_gap(tree):
    assert joules(package(tree), 0, 6_000_000_000, 1.0) is None
    assert joules(package(tree), 0, 400_000_000, 1.0) == 400.0


def test_a_short_segment_may_hold_a_late_update(tree):
    assert joules(package(tree), 0, 500_000, 0.000_05) == 0.5


def test_a_segment_in_which_the_counter_may_have_wrapped_twice_is_a_gap(tree):
    assert joules(package(tree), 0, 1_000_000, 3600.0) is None
    assert joules(package(tree), 0, 1_000_000, 200.0) == 1.0


def test_without_a_known_range_only_a_wrap_is_a_gap(tree):
    (tree.paths["package-0"].parent / "max_energy_range_uj").unlink()
    counter = package(tree)
    assert joules(counter, 0, 2_000_000, 1.0) == 2.0
    assert joules(counter, 2_000_000, 0, 1.0) is None


def test_a_counter_that_stands_still_is_a_gap_and_not_zero(tree):
    counter = package(tree)
    assert joules(counter, 0, 5, 1.0) == 5e-6
    assert joules(counter, 5, 5, 1.0) == 0.0  # it may not have been updated yet
    assert joules(counter, 5, 5, 1.0) is None
    assert joules(counter, 5, 1_000_005, 1.0) == 1.0


def test_a_counter_that_has_never_moved_is_a_gap_even_over_the_shortest_spans_that_its_updates_would_show_in(tree):
    assert joules(package(tree), 5, 5, 0.02) is None
    assert joules(package(tree), 5, 5, 0.5) is None
    assert joules(package(tree), 5, 5, 0.001) == 0.0  # no update was due
    counter = package(tree)
    assert [joules(counter, 5, 5, 0.015) for _ in range(3)] == [0.0, None, None]  # together they are long enough
    assert joules(counter, 5, 1_000_005, 1.0) == 1.0
    assert joules(counter, 1_000_005, 1_000_005, 0.5) == 0.0


@given(st.lists(st.floats(0.0001, 5.0), min_size=1, max_size=30))
def test_a_counter_that_never_moves_is_never_counted_as_zero_for_longer_than_an_update(tmp_path_factory, lengths):
    path = tmp_path_factory.getbasetemp() / "energy_uj"
    path.write_text("7")
    counter = RaplCounter(Domain("package-0", path, RANGE_UJ), idle_w=1.0)
    zero_s = sum(length for length in lengths if joules(counter, 7, 7, length) is not None)
    assert zero_s < rapl.UPDATE_S


def test_a_file_that_vanishes_and_comes_back_is_a_gap_and_then_counts_on(tree):
    counter = package(tree)
    before = counter.read()
    tree.paths["package-0"].unlink()
    assert joules(counter, before, counter.read(), 1.0) is None  # the kept descriptor shows the old file
    tree.set("package-0", 9_000_000)
    assert counter.reading(counter.read(), counter.read(), 1.0, 0.5).joules is None  # found again at its end
    before = counter.read()
    tree.set("package-0", 12_000_000)
    assert joules(counter, before, counter.read(), 1.0) == 3.0


def test_descriptors_are_kept_and_not_opened_at_each_reading(tree):
    counter = package(tree)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for value in range(100):
        tree.set("package-0", value)
        assert counter.read() == value
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_one_denied_package_makes_the_cpu_modelled_and_the_record_says_which(tree, tmp_path, monkeypatch):
    """Half a measured machine beside half a model would be neither: CPU time does not tell the package it ran on."""
    denied = tree.paths["package-1"]
    real = rapl.Path.read_text

    def read_text(path, *arguments, **options):
        if path == denied:
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(rapl.Path, "read_text", read_text)
    chosen = sources(Settings(data_dir=tmp_path, powercap_root=tree.root), HOST)
    (cpu,) = [record for record in chosen.records if record.component == "cpu"]
    assert cpu.provenance == "modelled"
    assert str(denied) in cpu.detail
    assert "chmod" in cpu.detail


def test_a_package_that_goes_between_looking_and_opening_leaves_the_model(tree, tmp_path, monkeypatch):
    def gone(*_, **__):
        raise FileNotFoundError(2, "gone")

    monkeypatch.setattr(rapl, "CounterFile", gone)
    chosen = sources(Settings(data_dir=tmp_path, powercap_root=tree.root), HOST)
    assert {record.provenance for record in chosen.records if record.component in {"cpu", "dram"}} == {"modelled"}
