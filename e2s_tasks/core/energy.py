"""Energy by component, in joules, and what each figure rests on."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import StrEnum

JOULES_PER_KWH = 3.6e6
JOULES_PER_WH = 3600.0


class Provenance(StrEnum):
    """What a figure rests on: a sensor, a model, or nothing."""

    MEASURED = "measured"
    MODELLED = "modelled"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules by component; None is a recorded gap, never 0.

    cpu, dram, gpu and static (the attributed share of idle power) are the host's energy, which is conserved.
    What the host's meter cannot see is always shown apart: storage and network (modelled movement), and remote (work
    set off elsewhere, as declared).
    """

    cpu: float | None = None
    dram: float | None = None
    gpu: float | None = None
    static: float | None = None
    storage: float | None = None
    network: float | None = None
    remote: float | None = None

    def by_component(self) -> tuple[float | None, ...]:
        """The figures in the order of COMPONENTS."""
        return self.cpu, self.dram, self.gpu, self.static, self.storage, self.network, self.remote

    @property
    def host(self) -> float | None:
        """The sum of cpu, dram, gpu and static in joules; None where all four are missing."""
        return add((self.cpu, self.dram, self.gpu, self.static))

    @property
    def movement(self) -> float | None:
        """The sum of storage, network and remote in joules; None where all three are missing."""
        return add((self.storage, self.network, self.remote))

    @property
    def total(self) -> float | None:
        """The sum of all components in joules; None where everything is missing."""
        return add(self.by_component())

    def __add__(self, other: "Energy") -> "Energy":
        """The sum by component; a gap on one side keeps the other side's figure."""
        return Energy(*(add((getattr(self, name), getattr(other, name))) for name in COMPONENTS))


COMPONENTS = tuple(field.name for field in fields(Energy))
HOST = COMPONENTS[:4]
MOVEMENT = COMPONENTS[4:]


def add(figures: Iterable[float | None]) -> float | None:
    """The sum of the known figures; None where none is known."""
    known = [figure for figure in figures if figure is not None]
    return sum(known) if known else None


def total(energies: Iterable[Energy]) -> Energy:
    """The sum of many energies by component, in one pass."""
    known = list(energies)
    if len(known) == 1:  # as of most steps
        return known[0]
    columns = zip(*[energy.by_component() for energy in known], strict=True)
    return Energy(*map(add, columns))
