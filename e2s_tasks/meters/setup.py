"""Which sources this host has: the one place that chooses them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from e2s_tasks.core.records import SourceRecord
from e2s_tasks.errors import SettingError
from e2s_tasks.meters.model import CpuModel, DramModel
from e2s_tasks.meters.nvml import gpus
from e2s_tasks.meters.profile import Profile, profile
from e2s_tasks.meters.rapl import Domain, RaplCounter, domains
from e2s_tasks.meters.source import Source, warn
from e2s_tasks.settings import Settings

if TYPE_CHECKING:
    from e2s_tasks.meters.external_source import ExternalSource

# The components that an external meter of this one answers for, in place of sensors and models.
REPLACED = {"cpu": ("cpu",), "dram": ("dram",), "gpu": ("gpu",), "host": ("cpu", "dram", "gpu")}


@dataclass(slots=True)
class Sources:
    """The sources in use, and the records that explain them, the absent ones included."""

    sources: list[Source]
    static_policy: str
    records: list[SourceRecord] = field(default_factory=list)


def sources(settings: Settings, host: Profile | None = None, measured: Callable[[], set[int]] | None = None) -> Sources:
    """The best source of each component: an external meter, a sensor that can be read, a model, or a recorded gap.

    measured: the pids of all measured processes of the host. What is configured wrongly is named in a warning and left
    out: measured work is never refused for it.
    """
    host = host or _profile(settings)
    policy, attributed = static_share(settings, host)
    external = _external(settings, host, attributed)
    replaced = {component for one in external for component in REPLACED[one.meter.component]}
    found = domains(settings.powercap_root)
    chosen: list[Source] = [*external]
    without: list[SourceRecord] = []
    if "cpu" not in replaced:
        chosen += _cpu(found, host, attributed)
    if "dram" not in replaced:
        chosen += _dram(found, host, attributed)
    if "gpu" not in replaced:
        cards, without = gpus(measured=measured)
        chosen += cards
    records = [record for source in chosen for record in source.records] + without
    return Sources(chosen, policy, records)


def _profile(settings: Settings) -> Profile:
    """The host's profile; with its own powers where those that the user set contradict each other."""
    try:
        return profile(settings)
    except SettingError as error:
        warn(f"{error} The host's own figures are used.")
        return profile(replace(settings, cpu_tdp_w=None, cpu_idle_w=None))


def _external(settings: Settings, host: Profile, attributed: float) -> "list[ExternalSource]":
    """A source for each external meter; none where their file is wrong, which a warning says."""
    if settings.external_meters is None:
        return []
    from e2s_tasks.meters.external import external_meters
    from e2s_tasks.meters.external_source import ExternalSource

    try:
        meters = external_meters(settings.external_meters)
    except SettingError as error:
        warn(f"{error} External meters are left out; sensors and models are used.")
        return []
    count = Counter(meter.component for meter in meters)
    return [ExternalSource(one, host, attributed, count[one.component], settings.tick_s) for one in meters]


def static_share(settings: Settings, host: Profile) -> tuple[str, float]:
    """The policy for idle power, and the fraction of the host's idle power that measured work answers for."""
    share = host.reserved_cpus / host.cpus
    policy = settings.static_policy
    if policy == "auto":
        policy = "share" if share < 1 else "dedicated"
    return policy, (min(1.0, share) if policy == "share" else 1.0)


def waiting_w(settings: Settings) -> float:
    """The power (W) that measured work answers for while it waits: of idle CPUs and of memory, as modelled."""
    host = _profile(settings)
    return static_share(settings, host)[1] * (host.cpu_idle_w + host.dram_w)


def _cpu(found: list[Domain], host: Profile, attributed: float) -> list[Source]:
    """RAPL's packages if all of them can be read, else the model for the whole CPU.

    A part of the packages beside a model of the rest would be worse than either: CPU time does not tell its package.
    """
    packages = [domain for domain in found if domain.name.startswith("package-")]
    problems = "".join(f"; {domain.name}: {domain.problem}" for domain in packages if domain.problem)
    if not packages or problems:
        return [CpuModel(host, attributed, problems)]
    try:
        counters = [RaplCounter(domain, host.cpu_idle_w / len(packages), attributed) for domain in packages]
    except OSError as error:
        return [CpuModel(host, attributed, f"; RAPL: {error}")]
    low, high = host.idle_range
    detail = f"idle part of RAPL's packages: {host.cpu_idle_w:.3g} W ({host.idle_source})"
    counters[0].records.append(SourceRecord("static", "idle power model", "modelled", low, high, detail))
    return list(counters)


def _dram(found: list[Domain], host: Profile, attributed: float) -> list[Source]:
    """RAPL's DRAM domains if all of them can be read, else the model for the whole memory."""
    domains_found = [domain for domain in found if domain.name == "dram"]
    if not domains_found or any(domain.problem for domain in domains_found):
        return [DramModel(host, attributed)]
    try:
        return [RaplCounter(domain, host.dram_w / len(domains_found), attributed) for domain in domains_found]
    except OSError:
        return [DramModel(host, attributed)]
