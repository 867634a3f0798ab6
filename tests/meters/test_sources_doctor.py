"""What `e2s doctor` finds: each source tried live, and the fix for each that fails."""

import json
import threading
import time
from dataclasses import replace

import pytest

from e2s_tasks.meters import doctor, gpu_sharing, nvml
from e2s_tasks.meters.doctor import Finding, examine
from e2s_tasks.meters.profile import profile
from e2s_tasks.settings import Settings
from tests.fakes.nvml import Card, FakeNvml
from tests.fakes.powercap import Powercap
from tests.fakes.prometheus import PrometheusServer


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path, powercap_root=tmp_path / "cap")


@pytest.fixture
def tree(settings):
    return Powercap(settings.powercap_root, packages=1)


@pytest.fixture
def counting(tree):
    """The package and DRAM counters move while the test runs."""
    stop = threading.Event()

    def count() -> None:
        value = 1_000_000
        while not stop.wait(0.01):
            value += 100
            for name in ("package-0", "dram-0"):  # in place: a file that is written anew is empty for a moment
                with tree.paths[name].open("r+") as file:
                    file.write(str(value))

    thread = threading.Thread(target=count)
    thread.start()
    yield tree
    stop.set()
    thread.join()


def named(findings: list[Finding], part: str) -> list[Finding]:
    return [finding for finding in findings if part in finding.name]


def test_counters_that_count_are_measured(settings, counting):
    findings = named(examine(settings), "RAPL")
    assert {(finding.state, finding.provenance) for finding in findings} == {("ok", "measured")}
    assert len(findings) == 2


def test_a_counter_that_stands_still_fails_with_a_fix(settings, tree):
    findings = named(examine(settings), "CPU: RAPL")
    assert [finding.state for finding in findings] == ["failed"]
    assert "stands still" in findings[0].detail
    assert findings[0].fix


def test_gpus_are_tried_live_and_each_that_fails_has_a_fix(settings, monkeypatch):
    fake = FakeNvml(Card(), Card(energy_mj=None), Card(mig=True), Card(energy_mj=None, power_mw=None), Card())
    told = fake.nvmlDeviceGetTotalEnergyConsumption

    def counts(handle):
        if handle == 0:
            fake.cards[0].energy_mj += 10
        return told(handle)

    fake.nvmlDeviceGetTotalEnergyConsumption = counts
    real = nvml.gpus
    monkeypatch.setattr(doctor, "gpus", lambda: real(fake, {}))
    monkeypatch.setattr(gpu_sharing, "_sees_every_pid", lambda: True)
    found = named(examine(settings), "GPU")
    assert [finding.state for finding in found] == ["ok", "ok", "failed", "failed", "failed"]
    assert [finding.provenance for finding in found[:2]] == ["measured", "modelled"]
    assert all(finding.fix for finding in found if finding.state == "failed")


def external(settings: Settings, url: str, **changes) -> list[Finding]:
    table = {"name": "m", "component": "cpu", "url": url, "query": "energy", "kind": "counter", "poll_s": 0.1,
             "scrape_s": 0.3, "timeout_s": 1.0, **changes}  # fmt: skip
    path = settings.data_dir / "meters.toml"
    lines = (f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in table.items())
    path.write_text("[[meter]]\n" + "\n".join(lines))
    return examine(Settings(data_dir=settings.data_dir, powercap_root=settings.powercap_root, external_meters=path))


def test_an_external_counter_is_read_until_it_moves(settings):
    with PrometheusServer({"energy": lambda: time.monotonic() * 100}) as server:
        findings = external(settings, server.url)
    (finding,) = named(findings, "external meter m")
    assert (finding.state, finding.provenance) == ("ok", "measured")
    assert "counted" in finding.detail
    assert named(findings, "CPU: model") == []


def test_an_external_counter_that_stands_still_fails_with_a_fix(settings):
    with PrometheusServer({"energy": 5.0}) as server:
        (finding,) = named(external(settings, server.url), "external meter m")
    assert finding.state == "failed"
    assert "scrape_s" in finding.fix


def test_an_external_gauge_shows_its_power(settings):
    with PrometheusServer({"energy": 55.0}) as server:
        (finding,) = named(external(settings, server.url, kind="gauge"), "external meter m")
    assert (finding.state, finding.provenance) == ("ok", "modelled")
    assert "55 W" in finding.detail


def test_a_server_that_does_not_answer_fails_with_a_fix(settings):
    (finding,) = named(external(settings, "http://127.0.0.1:9"), "external meter m")
    assert finding.state == "failed"
    assert "127.0.0.1:9" in finding.detail
    assert finding.fix


def test_a_wrong_file_of_meters_is_a_finding_and_the_models_are_shown(settings):
    findings = external(settings, "ftp://x")
    assert "ftp://x" in named(findings, "external meters")[0].detail
    assert named(findings, "CPU: model")


def test_powers_that_contradict_each_other_are_a_finding(settings):
    wrong = Settings(data_dir=settings.data_dir, powercap_root=settings.powercap_root, cpu_tdp_w=5, cpu_idle_w=6)
    (finding,) = named(examine(wrong), "your settings")
    assert "E2S_CPU_IDLE_W" in finding.detail


def test_an_external_counter_that_runs_backwards_fails_as_that(settings):
    with PrometheusServer({"energy": lambda: 1e12 - time.monotonic() * 100}) as server:
        (finding,) = named(external(settings, server.url), "external meter m")
    assert (finding.state, "backwards" in finding.detail, "wraps_at" in finding.fix) == ("failed", True, True)


def test_a_fix_is_the_remedy_and_not_what_the_server_said(settings):
    with PrometheusServer() as server:
        (finding,) = named(external(settings, server.url, query="energy{"), "external meter m")
    assert "parse error" in finding.detail
    assert finding.fix == "try the query in its web page"


def test_a_powercap_root_that_is_no_folder_fails_with_a_fix(settings, tmp_path):
    wrong = replace(settings, powercap_root=tmp_path / "nowhere")
    finding, *_ = named(examine(wrong), "CPU: RAPL")
    assert (finding.state, "nowhere" in finding.detail) == ("failed", True)
    assert finding.fix


@pytest.mark.parametrize("shown", [b"\xff\xfe", b"9" * 5000, b""])
def test_a_counter_that_shows_no_number_fails_with_a_fix(settings, tree, shown):
    tree.paths["package-0"].write_bytes(shown)
    finding, *_ = named(examine(settings), "CPU: RAPL")
    assert finding.state == "failed"
    assert "E2S_POWERCAP_ROOT" in finding.fix


def test_a_name_that_is_no_text_is_passed_over(settings, tree):
    tree.paths["package-0"].with_name("name").write_bytes(b"package-\xff")
    assert examine(settings)


@pytest.mark.parametrize(
    ("field", "value"),
    [("cpu_full_w", "much"), ("cpu_range", [1]), ("cpu_name", 7), ("virtual", "yes"), ("ram_gb", None)],
)
def test_a_profile_of_other_types_is_found_anew(settings, field, value):
    profile(settings)
    (file,) = settings.data_dir.glob("profile-*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    assert profile(settings) == profile(replace(settings, data_dir=settings.data_dir / "new"))
