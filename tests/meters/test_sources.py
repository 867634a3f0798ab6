"""RAPL and the models, against a fake powercap tree; which source is chosen for what."""

import pytest

from e2s_tasks.errors import SettingError
from e2s_tasks.meters.doctor import examine
from e2s_tasks.meters.model import CpuModel, DramModel
from e2s_tasks.meters.profile import Profile, profile
from e2s_tasks.meters.rapl import RaplCounter, domains
from e2s_tasks.meters.setup import sources, static_share
from e2s_tasks.settings import Settings
from tests.fakes.powercap import RANGE_UJ, Powercap

HOST = Profile(
    host="h", cpu_name="AMD EPYC", cpus=4, virtual=True, cpu_full_w=40.0, cpu_idle_w=4.0, cpu_source="test",
    idle_source="test", cpu_range=(0.5, 2.0), idle_range=(0.5, 4.0), ram_gb=8.0, dram_w=3.0, dram_source="test",
    dram_range=(0.75, 1.05), reserved_cpus=4.0,
)  # fmt: skip


@pytest.mark.parametrize("nested", [False, True])
def test_packages_and_dram_are_found_once_and_psys_and_core_are_not(tmp_path, nested):
    tree = Powercap(tmp_path, packages=2, nested=nested)
    assert sorted(domain.name for domain in domains(tree.root)) == ["dram", "dram", "package-0", "package-1"]


def test_the_mmio_view_of_a_package_is_not_counted_again(tmp_path):
    tree = Powercap(tmp_path)
    mmio = tmp_path / "intel-rapl-mmio:0"
    mmio.mkdir()
    (mmio / "name").write_text("package-0\n")
    (mmio / "energy_uj").write_text("5\n")
    (mmio / "max_energy_range_uj").write_text("9\n")
    assert [domain.name for domain in domains(tree.root)].count("package-0") == 1


def test_a_counter_that_wraps_goes_on_counting(tmp_path):
    tree = Powercap(tmp_path)
    tree.set("package-0", RANGE_UJ - 1_000_000)
    counter = RaplCounter(next(d for d in domains(tree.root) if d.name == "package-0"), idle_w=1.0)
    before = counter.read()
    tree.set("package-0", 2_000_000)
    reading = counter.reading(before, counter.read(), 1.0, 0.5)
    assert reading.joules == pytest.approx(3.0)
    assert (reading.background, reading.background_to) == (1.0, "static")


def test_a_counter_whose_file_turns_to_rubbish_is_a_gap(tmp_path):
    tree = Powercap(tmp_path)
    counter = RaplCounter(next(d for d in domains(tree.root) if d.name == "dram"), idle_w=1.0)
    before = counter.read()
    tree.paths["dram-0"].write_text("")
    assert counter.reading(before, counter.read(), 1.0, 0.5).joules is None


def test_a_host_with_rapl_is_measured(tmp_path):
    Powercap(tmp_path / "cap", packages=2)
    chosen = sources(Settings(data_dir=tmp_path, powercap_root=tmp_path / "cap"), HOST)
    provenance = {record.component: record.provenance for record in chosen.records}
    assert provenance["cpu"] == provenance["dram"] == "measured"
    assert provenance["static"] == "modelled"


def test_a_host_without_rapl_is_modelled_and_says_so(tmp_path):
    chosen = sources(Settings(data_dir=tmp_path, powercap_root=tmp_path / "nothing"), HOST)
    by_component = {record.component: record for record in chosen.records}
    assert by_component["cpu"].provenance == by_component["dram"].provenance == "modelled"
    assert by_component["cpu"].low < 1 < by_component["cpu"].high


def test_one_unreadable_package_makes_the_whole_cpu_modelled(tmp_path):
    tree = Powercap(tmp_path / "cap", packages=2)
    (tree.paths["package-1"]).unlink()
    (tree.paths["package-1"]).mkdir()
    settings = Settings(data_dir=tmp_path, powercap_root=tmp_path / "cap")
    chosen = sources(settings, HOST)
    assert {r.provenance for r in chosen.records if r.component == "cpu"} == {"modelled"}
    assert any(
        (finding.state == "failed" and "package-1" in finding.detail) or finding.fix for finding in examine(settings)
    )


def test_the_cpu_model_is_linear_in_cpu_time():
    model = CpuModel(HOST)
    idle = model.reading(0, 0, 2.0, 0.0)
    busy = model.reading(0, 0, 2.0, 8.0)
    assert idle.joules == pytest.approx(8.0)
    assert busy.joules == pytest.approx(80.0)
    assert idle.background == busy.background == pytest.approx(8.0)


def test_the_dram_model_is_constant_power_booked_as_dram():
    reading = DramModel(HOST).reading(0, 0, 2.0, 1.0)
    assert (reading.joules, reading.background, reading.background_to) == (6.0, 6.0, "dram")


def test_the_profile_is_found_once_and_then_read_from_a_file(tmp_path, monkeypatch):
    settings = Settings(data_dir=tmp_path)
    first = profile(settings)
    monkeypatch.setattr("e2s_tasks.meters.profile._find", lambda: pytest.fail("searched again"))
    assert profile(settings) == first
    assert first.cpu_full_w > first.cpu_idle_w > 0


def test_a_broken_profile_file_is_searched_again(tmp_path):
    settings = Settings(data_dir=tmp_path)
    first = profile(settings)
    next(tmp_path.glob("profile-*.json")).write_text("{")
    assert profile(settings) == first


def test_the_users_own_power_figures_win(tmp_path):
    found = profile(Settings(data_dir=tmp_path, cpu_tdp_w=100.0, cpu_idle_w=30.0))
    assert (found.cpu_full_w, found.cpu_idle_w) == (100.0, 30.0)
    assert "E2S_CPU_TDP_W" in found.cpu_source


def test_idle_power_above_full_power_is_refused_with_both_values(tmp_path):
    with pytest.raises(SettingError, match=r"300.*100"):
        profile(Settings(data_dir=tmp_path, cpu_tdp_w=100.0, cpu_idle_w=300.0))


def test_a_cpu_limit_makes_share_the_default_policy(tmp_path):
    limited = HOST._replace(reserved_cpus=1.0)
    assert static_share(Settings(data_dir=tmp_path), limited) == ("share", 0.25)
    assert static_share(Settings(data_dir=tmp_path), HOST) == ("dedicated", 1.0)
    assert static_share(Settings(data_dir=tmp_path, static_policy="dedicated"), limited) == ("dedicated", 1.0)
