"""Which sources this host has: the one place that chooses them."""

from dataclasses import dataclass, field

from e2s_tasks.core.records import SourceRecord
from e2s_tasks.meters.model import CpuModel, DramModel
from e2s_tasks.meters.nvml import gpus
from e2s_tasks.meters.profile import Profile, profile
from e2s_tasks.meters.rapl import Domain, RaplCounter, domains
from e2s_tasks.meters.source import Source
from e2s_tasks.settings import Settings


@dataclass(slots=True)
class Sources:
    """The sources in use, and the records that explain them, the absent ones included."""

    sources: list[Source]
    static_policy: str
    records: list[SourceRecord] = field(default_factory=list)


def sources(settings: Settings, host: Profile | None = None) -> Sources:
    """The best source of each component: a sensor where it can be read, else a model, else a recorded gap."""
    host = host or profile(settings)
    policy, attributed = static_share(settings, host)
    found = domains(settings.powercap_root)
    chosen: list[Source] = [
        *_cpu(found, host, attributed),
        *_dram(found, host, attributed),
    ]
    cards, problems = gpus()
    chosen += cards
    outside = _external(settings)
    replaced = {record.component for source in outside for record in source.records}
    chosen = [source for source in chosen if source.records[0].component not in replaced]
    chosen += outside
    records = [record for source in chosen for record in source.records]
    records += [problem for problem in problems if problem.component not in replaced]
    return Sources(chosen, policy, records)


def static_share(settings: Settings, host: Profile) -> tuple[str, float]:
    """The policy for idle power, and the fraction of the host's idle power that measured work answers for."""
    share = host.reserved_cpus / host.cpus
    policy = settings.static_policy
    if policy == "auto":
        policy = "share" if share < 1 else "dedicated"
    return policy, (min(1.0, share) if policy == "share" else 1.0)


def _cpu(found: list[Domain], host: Profile, attributed: float) -> list[Source]:
    packages = [domain for domain in found if domain.name.startswith("package-")]
    if not packages or any(domain.problem for domain in packages):
        return [CpuModel(host, attributed)]
    counters = [RaplCounter(domain, host.cpu_idle_w / len(packages), attributed) for domain in packages]
    low, high = host.idle_range
    detail = f"idle part of RAPL's packages: {host.cpu_idle_w:.3g} W ({host.idle_source})"
    counters[0].records.append(SourceRecord("static", "idle power model", "modelled", low, high, detail))
    return list(counters)


def _external(settings: Settings) -> list[Source]:
    if settings.external_meters is None:
        return []
    from e2s_tasks.meters.external import external_meters

    return list(external_meters(settings))


def _dram(found: list[Domain], host: Profile, attributed: float) -> list[Source]:
    readable = [domain for domain in found if domain.name == "dram" and not domain.problem]
    if not readable:
        return [DramModel(host, attributed)]
    return [RaplCounter(domain, host.dram_w / len(readable), attributed) for domain in readable]
