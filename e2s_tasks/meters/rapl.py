"""RAPL counters from the powercap tree: packages and DRAM, microjoules, wrap-corrected."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from e2s_tasks.core.attribution import Reading
from e2s_tasks.core.records import SourceRecord
from e2s_tasks.keeping import CounterFile

CEILING_W = 5000.0  # a package draws at most some hundred watts
SHORTEST_S = 0.05  # over less, a counter's steps of a millisecond may look like any power
LONGEST_S = 60.0
WRAPS_W = 1000.0
FIX_PERMISSION = "let the user read it: chmod a+r {path} (at each boot, for example by a udev or tmpfiles rule)"


@dataclass(frozen=True, slots=True)
class Domain:
    """One RAPL domain of the powercap tree. problem: why it cannot be read, empty if it can."""

    name: str
    path: Path
    range_uj: int
    problem: str = ""


def domains(root: Path) -> list[Domain]:
    """The package and DRAM domains under a powercap root, each once; psys, core and uncore overlap with them."""
    found: dict[tuple[str, str], Domain] = {}
    for folder in _folders(root):
        try:
            name = (folder / "name").read_text().strip()
        except OSError:
            continue
        package = folder.name.rsplit(":", 1)[0] if name == "dram" else ""
        if not (name.startswith("package-") or name == "dram"):
            continue
        domain = _domain(name, folder)
        known = found.get((name, package))
        if known is None or (known.problem and not domain.problem):  # intel-rapl-mmio shows packages a second time
            found[name, package] = domain
    return list(found.values())


def _folders(root: Path) -> Iterator[Path]:
    """Every folder with an energy counter, to three levels: the tree is flat under /sys/class, nested elsewhere."""
    seen: set[Path] = set()
    level = [root]
    for _ in range(4):
        below: list[Path] = []
        for folder in sorted(level):
            real = folder.resolve()
            if real in seen:
                continue
            seen.add(real)
            if (folder / "energy_uj").exists():
                yield folder
            try:
                below += [child for child in folder.iterdir() if "rapl" in child.name and child.is_dir()]
            except OSError:
                continue
        level = below


def _domain(name: str, folder: Path) -> Domain:
    counter = folder / "energy_uj"
    try:
        int(counter.read_text())
        return Domain(name, counter, int((folder / "max_energy_range_uj").read_text()))
    except PermissionError:
        return Domain(name, counter, 0, f"permission denied: {counter}; {FIX_PERMISSION.format(path=counter)}")
    except (OSError, ValueError) as error:
        return Domain(name, counter, 0, f"cannot be read: {counter} ({error})")


class RaplCounter:
    """One RAPL domain as a counter that never runs backwards.

    idle_w: the part of its power that is background (a model: RAPL does not tell idle from busy).
    """

    def __init__(self, domain: Domain, idle_w: float, attributed: float = 1.0) -> None:
        self._file = CounterFile(domain.path)
        self._range_uj = domain.range_uj
        self._component = "dram" if domain.name == "dram" else "cpu"
        self._idle_w = idle_w
        self._attributed = attributed
        self.records = [SourceRecord(self._component, f"RAPL {domain.name}", "measured", detail=str(domain.path))]

    def read(self) -> int | None:
        """Microjoules since the counter's last wrap; None once the file is gone."""
        try:
            return int(self._file.read() or b"")
        except ValueError:
            return None

    def reading(self, before: int | None, after: int | None, duration_s: float, busy_s: float) -> Reading:  # noqa: ARG002
        """Joules over a segment; a counter that ran backwards has wrapped once.

        Power that no package draws means a counter that was reset; after a long time without a reading it may have
        wrapped more than once. Both are gaps.
        """
        if before is None or after is None:
            return Reading(self._component, None)
        delta = after - before
        if delta < 0:
            delta += self._range_uj
        joules = delta / 1e6
        if joules > CEILING_W * max(duration_s, SHORTEST_S) or (
            duration_s > LONGEST_S and duration_s * WRAPS_W > self._range_uj / 1e6
        ):
            return Reading(self._component, None)
        background_to = "static" if self._component == "cpu" else "dram"
        return Reading(self._component, joules, self._idle_w * duration_s, background_to, self._attributed)
