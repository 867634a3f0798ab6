"""A world with its own clocks, threads and power: what the meter is checked against."""

from dataclasses import dataclass, field

from e2s_tasks.core.attribution import Reading
from e2s_tasks.core.records import SourceRecord
from e2s_tasks.meters.account import Account
from e2s_tasks.meters.clocks import Clocks
from e2s_tasks.meters.meter import Meter
from e2s_tasks.meters.threads import MeasuredThread

IDLE_W = 40.0
BUSY_W = 60.0


@dataclass
class World:
    """Time, CPU clocks and a package that draws IDLE_W + BUSY_W per busy CPU; nanoseconds and microjoules."""

    cpus: int = 4
    now_ns: int = 1_000_000_000
    busy_ns: int = 0
    process_ns: int = 0
    slept_ns: int = 0
    energy_uj: float = 0.0
    current: int = 0
    thread_ns: dict[int, int] = field(default_factory=dict)

    def run(self, duration_ns: int, own: dict[int, int], pool_ns: int = 0, others_ns: int = 0) -> None:
        """Time passes: each thread of `own` uses its CPU time, native pools and other programs theirs."""
        self.now_ns += duration_ns
        for thread, ns in own.items():
            self.thread_ns[thread] = self.thread_ns.get(thread, 0) + ns
        used = sum(own.values()) + pool_ns
        self.process_ns += used
        self.busy_ns += used + others_ns
        self.energy_uj += (IDLE_W * duration_ns + BUSY_W * (used + others_ns)) / 1000

    def clocks(self) -> Clocks:
        """The world's clocks, for a meter."""
        return Clocks(
            now=lambda: self.now_ns,
            thread=lambda: self.thread_ns.get(self.current, 0),
            process=lambda: self.process_ns,
            other_thread=lambda clock: self.thread_ns.get(clock, 0),
            slept=lambda: self.slept_ns,
        )


class WorldCounter:
    """The world's package as a counter, with a gap while `broken`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.broken = False
        self.records = [SourceRecord("cpu", "world", "measured")]

    def read(self) -> int | None:
        return None if self.broken else round(self.world.energy_uj)

    def reading(self, before: int | None, after: int | None, duration_s: float, busy_s: float) -> Reading:
        if before is None or after is None:
            return Reading("cpu", None)
        return Reading("cpu", (after - before) / 1e6, IDLE_W * duration_s)


class WorldBusy:
    """The world's host-wide CPU clock; `step_ns` makes it as coarse as /proc/stat."""

    def __init__(self, world: World, step_ns: int = 1) -> None:
        self.world = world
        self.step_ns = step_ns
        self.coarse = step_ns > 1

    def read(self) -> int | None:
        return self.world.busy_ns // self.step_ns * self.step_ns


class WorldMeter(Meter):
    """A meter whose calls come from whichever of the world's threads is current."""

    def __init__(self, world: World, *sources: object, step_ns: int = 1) -> None:
        super().__init__(sources, WorldBusy(world, step_ns), world.clocks())  # type: ignore[arg-type]
        self.world = world
        self._virtual: dict[int, MeasuredThread] = {}

    def _thread(self) -> MeasuredThread:
        current = self.world.current
        if current not in self._virtual:
            self._virtual[current] = MeasuredThread()
            self._virtual[current].tid = self._virtual[current].clock = current
        return self._virtual[current]

    def start(self, account: Account, thread: int = 0) -> Account:
        """The account's span begins on a thread."""
        self.world.current = thread
        self._local.thread = self._thread()
        self.begin(account)
        return account

    def stop(self, account: Account, thread: int = 0) -> None:
        """The account's span ends on a thread."""
        self.world.current = thread
        self._local.thread = self._thread()
        self.finish(account)
