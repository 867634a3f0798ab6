"""What can be measured on this host, what is only modelled, and how to mend what is missing."""

import time
from dataclasses import dataclass
from pathlib import Path

from e2s_tasks.errors import SettingError
from e2s_tasks.meters.clocks import CgroupBusy, ProcStatBusy, host_busy_clock
from e2s_tasks.meters.external import ExternalMeter, load
from e2s_tasks.meters.model import CpuModel
from e2s_tasks.meters.nvml import gpus
from e2s_tasks.meters.profile import Profile, profile
from e2s_tasks.meters.prometheus import QueryError
from e2s_tasks.meters.rapl import domains
from e2s_tasks.meters.setup import static_share
from e2s_tasks.settings import Settings

APART_S = 1.0
FILE_FIX = "mend the file that E2S_EXTERNAL_METERS names, or unset it"
SLOW_FIX = "scrape the exporter more often: what it counts is spread over the time between two scrapes"
GPU_FIX = "install the NVIDIA driver's NVML (libnvidia-ml) and let this user reach /dev/nvidia*"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing examined. state: ok, missing (the host has none) or failed (it should work, but does not).

    provenance: measured, modelled or missing; None where the finding is no energy source. fix: what to do, if anything.
    """

    name: str
    state: str
    provenance: str | None
    detail: str
    fix: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Every source tried live, the CPU clocks, and the policy for idle power."""
    host = profile(settings)
    sources = [*_cpu(settings, host), *_dram(settings, host), *_gpu(), *_external(settings)]
    return [*sources, _busy_clock(), _policy(settings, host)]


def _cpu(settings: Settings, host: Profile) -> list[Finding]:
    packages = [domain for domain in domains(settings.powercap_root) if domain.name.startswith("package-")]
    broken = [domain for domain in packages if domain.problem]
    if packages and not broken:
        names = ", ".join(f"{domain.name} ({domain.path})" for domain in packages)
        return [Finding("CPU: RAPL", "ok", "measured", names)]
    findings = [
        Finding("CPU: RAPL", "failed", "missing", domain.problem, domain.problem.partition("; ")[2])
        for domain in broken
    ]
    if not packages:
        why = "a virtual machine sees no RAPL" if host.virtual else f"no packages under {settings.powercap_root}"
        fix = "" if host.virtual else "load the kernel module intel_rapl_common, or set E2S_POWERCAP_ROOT"
        findings.append(Finding("CPU: RAPL", "missing", "missing", why, fix))
    model = CpuModel(host)
    low, high = host.cpu_range
    detail = f"{model.records[0].detail}; range x{low:g} to x{high:g}"
    fix = "set E2S_CPU_TDP_W and E2S_CPU_IDLE_W if you know this machine's power"
    return [*findings, Finding("CPU: model", "ok", "modelled", detail, fix)]


def _dram(settings: Settings, host: Profile) -> list[Finding]:
    found = [domain for domain in domains(settings.powercap_root) if domain.name == "dram"]
    readable = [str(domain.path) for domain in found if not domain.problem]
    if readable:
        return [Finding("DRAM: RAPL", "ok", "measured", ", ".join(readable))]
    findings = [
        Finding("DRAM: RAPL", "failed", "missing", domain.problem, domain.problem.partition("; ")[2])
        for domain in found
    ]
    detail = f"{host.ram_gb:.3g} GB x {host.dram_source}: {host.dram_w:.3g} W"
    return [*findings, Finding("DRAM: model", "ok", "modelled", detail)]


def _gpu() -> list[Finding]:
    cards, problems = gpus()
    found = [
        Finding(f"GPU: {record.name}", "ok", record.provenance, record.detail)
        for card in cards
        for record in card.records
    ]
    for problem in problems:
        state = "missing" if problem.absent else "failed"
        fix = "" if problem.absent or "MIG" in problem.detail else GPU_FIX
        found.append(Finding(f"GPU: {problem.name}", state, "missing", problem.detail, fix))
    return found


def _external(settings: Settings) -> list[Finding]:
    """Each external meter asked twice: does it answer, and does a counter move?"""
    if settings.external_meters is None:
        return []
    try:
        meters = load(settings.external_meters)
    except SettingError as error:
        return [
            Finding("external meters", "failed", "missing", str(error), "mend the file, or unset E2S_EXTERNAL_METERS")
        ]
    return [_asked(meter) for meter in meters]


def _asked(meter: ExternalMeter) -> Finding:
    name = f"{meter.component}: external meter {meter.name}"
    try:
        first = meter.ask()
        time.sleep(APART_S)
        second = meter.ask()
    except QueryError as error:
        return Finding(
            name, "failed", "missing", str(error), "mend the entry in the file that E2S_EXTERNAL_METERS names"
        )
    if meter.kind == "gauge":
        return Finding(name, "ok", "measured", f"{second:.4g} W now")
    moved = f"{second - first:.4g} J more after {APART_S:g} s"
    if second == first:
        return Finding(
            name, "ok", "measured", f"answers, but {moved}", "is it scraped less often? Then short spans share"
        )
    return Finding(name, "ok", "measured", moved)


def _busy_clock() -> Finding:
    clock = host_busy_clock()
    if isinstance(clock, CgroupBusy):
        return Finding("host CPU clock", "ok", None, "root cgroup, nanoseconds")
    if isinstance(clock, ProcStatBusy):
        return Finding(
            "host CPU clock", "ok", None, "/proc/stat, steps of 10 ms: short tasks on a busy host are less exact"
        )
    return Finding("host CPU clock", "failed", None, "other programs' CPU time is unknown", f"mount {Path('/proc')}")


def _policy(settings: Settings, host: Profile) -> Finding:
    policy, share = static_share(settings, host)
    detail = f"{policy}: measured work answers for {share:.0%} of {host.cpu_idle_w:.3g} W idle power"
    return Finding("idle power policy", "ok", None, detail, "set E2S_STATIC_POLICY to dedicated or share to choose")
