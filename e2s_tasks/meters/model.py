"""Models: for hosts without a sensor. Linear in CPU time, so that a span's energy does not depend on who else ran."""

from e2s_tasks.core.attribution import Reading
from e2s_tasks.core.records import SourceRecord
from e2s_tasks.meters.profile import Profile

# Tasks that differ by 0.7 to 1.5 times in joules per CPU second (vector code, memory-bound code) are off by 15 % on
# average for every method that splits by CPU time, however well the host's power is known: see docs/sources.md.
PER_CPU_SECOND = 0.15


def describe(profile: Profile) -> str:
    """The CPU model in words: its powers, where they come from, and what its range holds beside them."""
    return (
        f"{profile.cpu_name}: {profile.cpu_full_w:.3g} W at full load, {profile.cpu_idle_w:.3g} W idle "
        f"({profile.cpu_source}); the range holds {PER_CPU_SECOND:.0%} for tasks that differ in joules per CPU second"
    )


class CpuModel:
    """Power of the machine's CPUs: idle + (full - idle) x CPU seconds / (CPUs x time), in watts of the profile."""

    def __init__(self, profile: Profile, attributed: float = 1.0, because: str = "") -> None:
        self.idle_w = profile.cpu_idle_w
        self.joules_per_cpu_s = (profile.cpu_full_w - profile.cpu_idle_w) / profile.cpus
        self._attributed = attributed
        low, high = profile.cpu_range
        idle_low, idle_high = profile.idle_range
        low, high = low * (1 - PER_CPU_SECOND), high * (1 + PER_CPU_SECOND)
        self.records = [
            SourceRecord("cpu", "CPU model", "modelled", low, high, describe(profile) + because),
            SourceRecord("static", "idle power model", "modelled", idle_low, idle_high, profile.idle_source),
        ]

    def read(self) -> int | None:
        """Nothing to read: the model is computed from time and CPU time."""
        return 0

    def reading(self, before: int | None, after: int | None, duration_s: float, busy_s: float) -> Reading:  # noqa: ARG002
        """Joules of the machine's CPUs over a segment."""
        idle = self.idle_w * duration_s
        return Reading("cpu", idle + self.joules_per_cpu_s * busy_s, idle, "static", self._attributed)


class DramModel:
    """Power of the machine's memory: constant, watts per GB of the profile; shared by time, booked as dram."""

    def __init__(self, profile: Profile, attributed: float = 1.0) -> None:
        self._power_w = profile.dram_w
        self._attributed = attributed
        low, high = profile.dram_range
        self.records = [
            SourceRecord(
                "dram", "DRAM model", "modelled", low, high,
                f"{profile.ram_gb:.3g} GB: {profile.dram_w:.3g} W constant ({profile.dram_source})",
            )
        ]  # fmt: skip

    def read(self) -> int | None:
        """Nothing to read: the model is computed from time."""
        return 0

    def reading(self, before: int | None, after: int | None, duration_s: float, busy_s: float) -> Reading:  # noqa: ARG002
        """Joules of the machine's memory over a segment, all of it background."""
        joules = self._power_w * duration_s
        return Reading("dram", joules, joules, "dram", self._attributed)
