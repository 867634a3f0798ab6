"""What can be measured on this host, what is only modelled, and how to mend what is missing."""

from dataclasses import dataclass
from pathlib import Path

from e2s_tasks.meters.clocks import CgroupBusy, ProcStatBusy, host_busy_clock
from e2s_tasks.meters.model import CpuModel
from e2s_tasks.meters.nvml import gpus
from e2s_tasks.meters.profile import Profile, profile
from e2s_tasks.meters.rapl import domains
from e2s_tasks.meters.setup import static_share
from e2s_tasks.settings import Settings


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
    return [*_cpu(settings, host), *_dram(settings, host), *_gpu(), _busy_clock(), _policy(settings, host)]


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
    counters, problem = gpus()
    if problem is None:
        return [Finding(f"GPU: {counter.records[0].name}", "ok", "measured", "energy counter") for counter in counters]
    state = "missing" if problem.absent else "failed"
    fix = (
        "" if problem.absent else "install the NVIDIA driver's NVML (libnvidia-ml) and let this user reach /dev/nvidia*"
    )
    return [Finding("GPU: NVML", state, "missing", problem.detail, fix)]


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
