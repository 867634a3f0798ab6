"""The hardware profile: found once per host with CodeCarbon's tables, then read from a small file."""

import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from e2s_tasks.errors import SettingError
from e2s_tasks.host import host_name
from e2s_tasks.meters.cpu_limit import reserved_cpus
from e2s_tasks.settings import Settings

# CodeCarbon 3: DEFAULT_POWER_PER_CORE in codecarbon/core/cpu.py, for CPUs that its table does not know.
WATTS_PER_THREAD = 4.0
# CodeCarbon 3: a machine draws at least a tenth of its TDP (codecarbon/external/hardware.py).
IDLE_FRACTION = 0.1
# Green Algorithms (Lannelongue et al. 2021), used by nf-co2footprint: 0.3725 W per GB; 0.28 to 0.39 are published.
DRAM_W_PER_GB = 0.3725
DRAM_W_PER_GB_RANGE = (0.28, 0.39)
# Full load against TDP: CPUs that never reach it, and those that are allowed to exceed it.
TDP_RANGE = (0.6, 1.3)
# The same for a share of a CPU, whose vCPUs may be oversubscribed, or be cores without a second thread.
VM_RANGE = (0.5, 1.6)
# Servers of 1.6 to 10 W of TDP per thread.
UNKNOWN_RANGE = (0.4, 2.5)
VERSION = 2


class Profile(NamedTuple):
    """What the models need to know of a host. Powers in watts; ranges are factors on the figure before them.

    A tuple, since a class of data takes a millisecond more to define, in a process's first span.
    """

    host: str
    cpu_name: str
    cpus: int
    virtual: bool
    cpu_full_w: float
    cpu_idle_w: float
    cpu_source: str
    idle_source: str
    cpu_range: tuple[float, float]
    idle_range: tuple[float, float]
    ram_gb: float
    dram_w: float
    dram_source: str
    dram_range: tuple[float, float]
    reserved_cpus: float
    version: int = VERSION


def profile(settings: Settings) -> Profile:
    """The host's profile, from the file in the data directory where there is one; settings override its powers."""
    path = settings.data_dir / f"profile-{host_name()}.json"
    found = _load(path)
    if found is None:
        found = _find()
        _save(path, found)
    found = found._replace(reserved_cpus=reserved_cpus(found.cpus))  # of this process, not of the host
    return _override(found, settings)


def _load(path: Path) -> Profile | None:
    try:
        values = json.loads(path.read_text())
        if values.get("version") != VERSION or values.get("cpus") != (os.cpu_count() or 1):
            return None
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        read = Profile(**fields)
        return read if all(map(_fits, read, Profile.__annotations__.values())) else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a field's type; a pair's are numbers."""
    if kind in {str, bool}:
        return isinstance(value, kind)
    if kind in {int, float}:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, tuple) and len(value) == 2 and all(_fits(one, float) for one in value)


def _save(path: Path, found: Profile) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.tmp")
        part.write_text(json.dumps(found._asdict(), indent=1))
        part.replace(path)
    except OSError:  # a read-only data directory only costs the search again
        return


def _find() -> Profile:
    name, virtual, sockets = _cpu()
    cpus = os.cpu_count() or 1
    full_w, source, span = _full_power(name, virtual, sockets, cpus)
    ram_gb = _ram_gb()
    low, high = DRAM_W_PER_GB_RANGE
    return Profile(
        host=host_name(), cpu_name=name, cpus=cpus, virtual=virtual,
        cpu_full_w=full_w, cpu_idle_w=full_w * IDLE_FRACTION, cpu_source=source,
        idle_source="10 % of full power, CodeCarbon's constant",
        cpu_range=span, idle_range=(0.5, 4.0),
        ram_gb=ram_gb, dram_w=ram_gb * DRAM_W_PER_GB, dram_source="0.3725 W/GB, Green Algorithms",
        dram_range=(low / DRAM_W_PER_GB, high / DRAM_W_PER_GB),
        reserved_cpus=float(cpus),
    )  # fmt: skip


def _cpu() -> tuple[str, bool, int]:
    """CPU name, whether this is a virtual machine, number of sockets."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        import platform

        return platform.processor() or "unknown CPU", False, 1
    fields = [line.split(":", 1) for line in text.splitlines() if ":" in line]
    names = [value.strip() for key, value in fields if key.strip() in {"model name", "Model"}]
    sockets = {value.strip() for key, value in fields if key.strip() == "physical id"}
    virtual = any(key.strip() == "flags" and " hypervisor" in value for key, value in fields)
    return (names[0] if names else "unknown CPU"), virtual, max(1, len(sockets))


def _full_power(name: str, virtual: bool, sockets: int, cpus: int) -> tuple[float, str, tuple[float, float]]:
    """Watts at full load, where they come from, and their range as factors.

    A virtual machine has a share of its CPU: TDP x vCPUs / the CPU's threads, where its name tells those. Where it does
    not, the CPU's TDP is only an upper bound of CodeCarbon's default per thread.
    """
    from e2s_tasks.meters.cpu_threads import threads  # once per host: the profile is read from its file from then on
    from e2s_tasks.meters.tdp import tdp_w

    tdp = tdp_w(name)
    per_thread = WATTS_PER_THREAD * cpus
    if virtual:
        whole = threads(name)
        if tdp is not None and whole is not None:
            return tdp * cpus / whole, f"virtual machine: TDP {tdp:.0f} W x {cpus} of {whole} threads", VM_RANGE
        bound = "" if tdp is None else f", at most the CPU's {tdp:.0f} W"
        full_w = per_thread if tdp is None else min(per_thread, tdp * sockets)
        source = f"virtual machine: {WATTS_PER_THREAD:.0f} W per vCPU, CodeCarbon's default{bound}"
        return full_w, source, UNKNOWN_RANGE
    if tdp is None:
        return per_thread, f"unknown CPU: {WATTS_PER_THREAD:.0f} W per thread, CodeCarbon's default", UNKNOWN_RANGE
    return tdp * sockets, f"TDP {tdp:.0f} W x {sockets} from CodeCarbon's table", TDP_RANGE


def _ram_gb() -> float:
    return float(os.sysconf("SC_PAGE_SIZE")) * float(os.sysconf("SC_PHYS_PAGES")) / 1e9


def _override(found: Profile, settings: Settings) -> Profile:
    """The profile with the powers that the user set.

    A guess never overrules what the user knows: a guessed full load that idle power reaches is raised, so that what
    the guess has above idle stays.

    Raises:
        SettingError: the user's idle power is not below the user's power at full load.
    """
    if settings.cpu_tdp_w is None and settings.cpu_idle_w is None:
        return found
    values = found._asdict()
    if settings.cpu_tdp_w is not None:
        values |= {"cpu_full_w": settings.cpu_tdp_w, "cpu_source": "E2S_CPU_TDP_W", "cpu_range": (0.8, 1.2)}
        values |= {"cpu_idle_w": settings.cpu_tdp_w * IDLE_FRACTION}
    if settings.cpu_idle_w is not None:
        values |= {"cpu_idle_w": settings.cpu_idle_w, "idle_source": "E2S_CPU_IDLE_W", "idle_range": (0.8, 1.2)}
        if settings.cpu_tdp_w is None and settings.cpu_idle_w >= found.cpu_full_w:
            values["cpu_full_w"] = settings.cpu_idle_w + found.cpu_full_w - found.cpu_idle_w
            values["cpu_source"] = f"{found.cpu_source}; raised above E2S_CPU_IDLE_W"
    if values["cpu_idle_w"] >= values["cpu_full_w"]:
        raise SettingError(
            f"CPU power: idle {values['cpu_idle_w']:g} W is not below full load {values['cpu_full_w']:g} W; "
            "set E2S_CPU_IDLE_W below E2S_CPU_TDP_W"
        )
    return Profile(**values)
