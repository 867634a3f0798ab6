"""What can be measured on this host, what is only modelled, and how to mend what is missing."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from e2s_tasks.errors import SettingError
from e2s_tasks.meters.clocks import CgroupBusy, ProcStatBusy, host_busy_clock
from e2s_tasks.meters.external import external_meters
from e2s_tasks.meters.external_source import ExternalSource
from e2s_tasks.meters.model import CpuModel
from e2s_tasks.meters.nvml import GpuPower, gpus
from e2s_tasks.meters.profile import Profile, profile
from e2s_tasks.meters.rapl import Domain, RaplCounter, domains
from e2s_tasks.meters.setup import REPLACED, static_share
from e2s_tasks.meters.source import Source
from e2s_tasks.settings import POWERCAP, Settings

MOVES_WITHIN_S = 0.5
LONGEST_WAIT_S = 20.0
FIX_RAPL = "see whether the kernel's driver is sound; set E2S_POWERCAP_ROOT to an empty folder to have a model instead"
FIX_NVML = "install the NVIDIA driver's NVML (libnvidia-ml) and let this user reach /dev/nvidia*"
FIX_MIG = "meter the whole card with an external meter (docs/sources.md), or turn MIG mode off"


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
    """Every source tried live (its counter is read until it moves), the CPU clocks, and the policy for idle power."""
    host, problems = _host(settings)
    external, replaced = _external(settings, host)
    found = domains(settings.powercap_root)
    return [
        *problems, *external,
        *([] if "cpu" in replaced else _cpu(settings, host, found)),
        *([] if "dram" in replaced else _dram(host, found)),
        *([] if "gpu" in replaced else _gpu()),
        _busy_clock(), _policy(settings, host),
    ]  # fmt: skip


def host_of(settings: Settings) -> Profile:
    """The host's profile, with the powers that the user set unless they contradict each other."""
    return _host(settings)[0]


def _host(settings: Settings) -> tuple[Profile, list[Finding]]:
    """The host's profile; where the powers that the user set contradict each other, what to do about it."""
    try:
        return profile(settings), []
    except SettingError as error:
        own = profile(replace(settings, cpu_tdp_w=None, cpu_idle_w=None))
        return own, [Finding("CPU: your settings", "failed", None, str(error), "the host's own figures are used")]


def _external(settings: Settings, host: Profile) -> tuple[list[Finding], set[str]]:
    """External meters, and the components that they replace."""
    try:
        meters = external_meters(settings.external_meters)
    except SettingError as error:
        return [Finding("external meters", "failed", "missing", str(error), "correct the file; models are used")], set()
    replaced = {component for meter in meters for component in REPLACED[meter.component]}
    with ThreadPoolExecutor(max(1, len(meters))) as pool:
        return list(pool.map(lambda meter: _ask(ExternalSource(meter, host)), meters)), replaced


def _ask(source: ExternalSource) -> Finding:
    """One external meter, asked until its counter moves, or for as long as its scrape takes."""
    meter, name = source.meter, f"{source.meter.component}: external meter {source.meter.name}"
    first = source.poll()
    if first is None:
        return Finding(name, "failed", "missing", source.problem, source.fix or f"see whether {meter.place} works")
    worth = source.records[0].provenance
    if meter.kind == "gauge":
        state, fix = ("ok", "") if first else ("failed", "see what its exporter shows: 0 W is no power of a device")
        return Finding(name, state, worth, f"{first:.4g} W now; {meter.query}", fix)
    wait_s = min(meter.scrape_s + meter.poll_s, LONGEST_WAIT_S)
    began = time.monotonic()
    while time.monotonic() - began < wait_s:
        time.sleep(min(meter.poll_s, 0.5))
        now = source.poll()
        if now is not None and now < first:
            detail = f"ran backwards, from {first:.6g} to {now:.6g} J"
            fix = "set wraps_at if it begins again at 0 there; else it was reset: see what its exporter shows"
            return Finding(name, "failed", "missing", detail, fix)
        if now is not None and now > first:
            return Finding(
                name, "ok", worth, f"counted {now - first:.4g} J in {time.monotonic() - began:.1f} s; {meter.query}"
            )
    detail = f"stood still at {first:.6g} J for {wait_s:.0f} s"
    return Finding(
        name, "failed", "missing", detail, "see whether its exporter runs; set scrape_s to its scrape interval"
    )


def _cpu(settings: Settings, host: Profile, found: list[Domain]) -> list[Finding]:
    packages = [domain for domain in found if domain.name.startswith("package-")]
    findings = _rapl("CPU: RAPL", packages)
    if packages and all(finding.state == "ok" for finding in findings):
        return findings
    root = settings.powercap_root
    if not packages and root != POWERCAP and not root.is_dir():
        why = f"E2S_POWERCAP_ROOT={str(root)!r} is no folder"
        findings.append(Finding("CPU: RAPL", "failed", "missing", why, "name the powercap folder, or unset it"))
    elif not packages:
        why = "a virtual machine sees no RAPL" if host.virtual else f"no packages under {settings.powercap_root}"
        fix = "" if host.virtual else "load the kernel module intel_rapl_common, or set E2S_POWERCAP_ROOT"
        findings.append(Finding("CPU: RAPL", "missing", "missing", why, fix))
    elif not any(domain.problem for domain in packages):
        return findings  # readable but still: RAPL is used, and shows a gap
    record = CpuModel(host).records[0]
    detail = f"{record.detail}; range x{record.low:.2g} to x{record.high:.2g}"
    fix = "set E2S_CPU_TDP_W and E2S_CPU_IDLE_W if you know this machine's power"
    return [*findings, Finding("CPU: model", "ok", "modelled", detail, fix)]


def _dram(host: Profile, found: list[Domain]) -> list[Finding]:
    counters = [domain for domain in found if domain.name == "dram"]
    findings = _rapl("DRAM: RAPL", counters)
    if counters and not any(domain.problem for domain in counters):
        return findings
    detail = f"{host.ram_gb:.3g} GB x {host.dram_source}: {host.dram_w:.3g} W"
    return [*findings, Finding("DRAM: model", "ok", "modelled", detail)]


def _rapl(name: str, found: list[Domain]) -> list[Finding]:
    """Each RAPL domain: whether it can be read, and counts."""
    findings = [
        Finding(name, "failed", "missing", domain.problem, domain.problem.partition("; ")[2] or FIX_RAPL)
        for domain in found
        if domain.problem
    ]
    readable = [domain for domain in found if not domain.problem]
    try:
        counters = [RaplCounter(domain, 0.0) for domain in readable]
    except OSError as error:
        return [*findings, Finding(name, "failed", "missing", str(error), "see whether the driver was unloaded")]
    for domain, moved in zip(readable, _moved(counters), strict=True):
        if moved:
            findings.append(Finding(name, "ok", "measured", f"{domain.name} ({domain.path}) counts"))
        else:
            fix = "the driver shows a counter that the hardware does not have: set E2S_POWERCAP_ROOT to another place"
            findings.append(Finding(name, "failed", "missing", f"{domain.name} ({domain.path}) stands still", fix))
    return findings


def _gpu() -> list[Finding]:
    cards, without = gpus()
    findings = []
    for card, moved in zip(cards, _moved(cards), strict=True):
        record = card.records[0]
        if moved or isinstance(card, GpuPower):
            findings.append(Finding(f"GPU: {record.name}", "ok", record.provenance, record.detail))
        else:
            fix = "update the driver, or reset the card"
            findings.append(Finding(f"GPU: {record.name}", "failed", "missing", "its energy counter stands still", fix))
    for record in without:
        state = "missing" if record.absent else "failed"
        fix = "" if record.absent else FIX_MIG if "MIG" in record.detail else FIX_NVML
        findings.append(Finding(f"GPU: {record.name}", state, "missing", record.detail, fix))
    return findings


def _moved(counters: Sequence[Source]) -> list[bool]:
    """Whether each counter moves within half a second: two readings apart."""
    first = [counter.read() for counter in counters]
    moved = [False] * len(counters)
    end = time.monotonic() + MOVES_WITHIN_S
    while not all(moved) and time.monotonic() < end:
        time.sleep(0.05)
        now = [counter.read() for counter in counters]
        moved = [had or (b is not None and b != a) for had, a, b in zip(moved, first, now, strict=True)]
    return moved


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
