"""The CPU model: which share of which CPU, within which range; CPU limits of both cgroup versions."""

import subprocess
import sys

import pytest

from e2s_tasks.errors import SettingError
from e2s_tasks.meters import profile as profiles
from e2s_tasks.meters import tdp
from e2s_tasks.meters.cpu_limit import reserved_cpus
from e2s_tasks.meters.cpu_threads import threads
from e2s_tasks.meters.model import PER_CPU_SECOND, CpuModel
from e2s_tasks.meters.profile import _full_power, profile
from e2s_tasks.meters.tdp import tdp_w
from e2s_tasks.settings import Settings
from tests.meters.test_sources import HOST


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AMD EPYC 7763 64-Core Processor", 128), ("AMD EPYC 9654 96-Core Processor", 192), ("AMD EPYC", None),
        ("Intel(R) Xeon(R) Platinum 8280 CPU @ 2.70GHz", 56), ("Intel(R) Xeon(R) Platinum 8480+", 112),
        ("Intel(R) Xeon(R) Platinum 8480C", None), ("Intel(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz", 28),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", None), ("", None),
    ],
)  # fmt: skip
def test_the_threads_of_a_cpu_are_told_by_its_name_or_not_at_all(name, expected):
    assert threads(name) == expected


def test_a_virtual_machine_has_its_share_of_the_cpus_tdp(monkeypatch):
    monkeypatch.setattr(tdp, "tdp_w", lambda _: 280.0)
    watts, source, (low, high) = _full_power("AMD EPYC 7763 64-Core Processor", True, 1, 8)
    assert watts == pytest.approx(280 * 8 / 128)
    assert "8 of 128 threads" in source
    assert low < 1 < high


def test_a_virtual_machine_on_an_unknown_cpu_has_the_default_per_vcpu_and_a_wider_range(monkeypatch):
    monkeypatch.setattr(tdp, "tdp_w", lambda _: None)
    watts, source, (low, high) = _full_power("AMD EPYC", True, 1, 2)
    assert watts == 8.0
    assert "default" in source
    assert (low, high) == profiles.UNKNOWN_RANGE


def test_a_whole_host_has_the_tdp_of_all_its_sockets(monkeypatch):
    monkeypatch.setattr(tdp, "tdp_w", lambda _: 280.0)
    assert _full_power("AMD EPYC 7763 64-Core Processor", False, 2, 256)[0] == 560.0


def test_the_models_range_holds_what_tasks_differ_in_joules_per_cpu_second():
    record = CpuModel(HOST).records[0]
    assert record.low == pytest.approx(HOST.cpu_range[0] * (1 - PER_CPU_SECOND))
    assert record.high == pytest.approx(HOST.cpu_range[1] * (1 + PER_CPU_SECOND))
    assert "15%" in record.detail


NAMES = [
    "AMD EPYC", "AMD EPYC 7763 64-Core Processor", "AMD EPYC 7R13 Processor", "AMD EPYC 9654 96-Core Processor",
    "AMD Ryzen 7 5800X 8-Core Processor", "Intel(R) Xeon(R) CPU @ 2.20GHz", "Intel(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz",
    "Intel(R) Xeon(R) Platinum 8280 CPU @ 2.70GHz", "Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz",
    "Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz", "Intel(R) Core(TM) i7-1065G7 CPU @ 1.30GHz", "Apple M1", "nonsense", "",
]  # fmt: skip


@pytest.fixture(scope="module")
def codecarbons():
    from codecarbon.core.cpu import TDP

    return TDP.__new__(TDP)  # its constructor would search for the host's own CPU for a second


@pytest.mark.parametrize("name", NAMES)
def test_a_tdp_is_the_one_that_codecarbon_finds(name, codecarbons):
    assert tdp_w(name) == codecarbons._get_cpu_power_from_registry(name)


def test_a_host_is_found_without_codecarbon_and_without_a_word_on_stdout(tmp_path):
    program = (
        "import sys; from e2s_tasks.meters.profile import profile; from e2s_tasks.settings import Settings;"
        f"profile(Settings(data_dir={str(tmp_path)!r})); assert 'codecarbon' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def cgroup(tmp_path, text: str, files: dict[str, str]) -> float:
    own = tmp_path / "self"
    own.write_text(text)
    for name, content in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return reserved_cpus(8, tmp_path / "cgroup", own)


@pytest.mark.parametrize(
    ("text", "files", "expected"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/host/path\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/../up\n", {"cpu.max": "rubbish"}, 8.0),
        ("4:cpu,cpuacct:/docker/x\n", {"cpu,cpuacct/docker/x/cpu.cfs_quota_us": "300000",
                                       "cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000"}, 3.0),
        ("1:cpu:/docker/x\n0::/\n", {"cpu/cpu.cfs_quota_us": "25000", "cpu/cpu.cfs_period_us": "50000"}, 0.5),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8.0),
        ("1:cpuset:/\n2:memory:/\n", {}, 8.0),
        ("0::/\n", {"cpu.max": "9900000 100000"}, 8.0),
    ],
)  # fmt: skip
def test_the_tightest_cpu_limit_of_both_cgroup_versions_counts(tmp_path, text, files, expected):
    assert cgroup(tmp_path, text, files) == expected


def test_without_cgroups_all_cpus_are_there(tmp_path):
    assert reserved_cpus(8, tmp_path, tmp_path / "nothing") == 8.0


def test_the_cpu_limit_is_this_processs_and_is_not_kept_with_the_host(tmp_path, monkeypatch):
    settings = Settings(data_dir=tmp_path)
    profile(settings)
    monkeypatch.setattr(profiles, "reserved_cpus", lambda _: 0.5)
    assert profile(settings).reserved_cpus == 0.5


def test_idle_power_alone_is_believed_and_raises_a_full_load_that_was_only_guessed(tmp_path, monkeypatch, recwarn):
    guess = (8.0, "virtual machine: 4 W per vCPU, CodeCarbon's default", profiles.UNKNOWN_RANGE)
    monkeypatch.setattr(profiles, "_full_power", lambda *_: guess)
    found = profile(Settings(data_dir=tmp_path, cpu_idle_w=20.0))
    assert (found.cpu_idle_w, found.idle_source) == (20.0, "E2S_CPU_IDLE_W")
    assert found.cpu_full_w == pytest.approx(20.0 + 0.9 * 8.0)
    assert "raised" in found.cpu_source
    assert profile(Settings(data_dir=tmp_path, cpu_idle_w=3.0)).cpu_full_w == 8.0
    assert len(recwarn) == 0


def test_idle_power_that_reaches_the_full_load_that_the_user_set_is_refused(tmp_path):
    with pytest.raises(SettingError, match="E2S_CPU_TDP_W"):
        profile(Settings(data_dir=tmp_path, cpu_tdp_w=20.0, cpu_idle_w=20.0))


def test_contradicting_powers_are_said_and_the_hosts_own_are_used(tmp_path):
    from e2s_tasks.meters.setup import sources

    with pytest.warns(UserWarning, match="E2S_CPU_IDLE_W"):
        chosen = sources(Settings(data_dir=tmp_path, powercap_root=tmp_path, cpu_tdp_w=10.0, cpu_idle_w=20.0))
    assert any(record.name == "CPU model" for record in chosen.records)
