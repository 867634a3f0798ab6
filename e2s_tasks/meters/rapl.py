"""RAPL counters from the powercap tree: packages and DRAM, microjoules, wrap-corrected.

Packages and DRAM domains are counted; core and uncore are parts of a package, and psys (the whole platform) holds the
packages. A counter that runs backwards has wrapped, or was reset by a suspend or a driver that was loaded again: a
reset is told by the power that its "wrap" would mean, and is a gap.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from e2s_tasks.core.attribution import Reading
from e2s_tasks.core.records import SourceRecord
from e2s_tasks.meters.counter_file import CounterFile

FIX_PERMISSION = "let the user read it: chmod a+r {path} (at each boot, for example by a udev or tmpfiles rule)"

MAX_POWER_W = 5000.0  # no package draws this; the largest sold have a TDP of 500 W
# RAPL counts each millisecond. Energy of an update that was due before a short segment may arrive in it.
UPDATE_S = 0.02
WRAP_POWER_W = 1000.0
LONG_S = 60.0
STILL_S = 2.0  # a package that used nothing for so long has no working counter: 1 W is two million steps
# The same for a counter that has never moved yet in this process: it may be one that the hardware does not have.
NEVER_MOVED_S = UPDATE_S
LOOK_EVERY_S = 0.25


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
            name = (folder / "name").read_text(errors="replace").strip()
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
    except PermissionError:
        return Domain(name, counter, 0, f"permission denied: {counter}; {FIX_PERMISSION.format(path=counter)}")
    except OSError as error:
        return Domain(name, counter, 0, f"cannot be read: {counter} ({error.strerror})")
    except ValueError:
        return Domain(name, counter, 0, f"cannot be read: {counter} (it holds no number)")
    return Domain(name, counter, _range_uj(folder))


def _range_uj(folder: Path) -> int:
    """Where the counter wraps; 0 where that is unknown, so that a counter that runs backwards is a gap."""
    try:
        return max(0, int((folder / "max_energy_range_uj").read_text()))
    except (OSError, ValueError):
        return 0


class RaplCounter:
    """One RAPL domain as a counter that never runs backwards, and never invents energy.

    idle_w: the part of its power that is background (a model: RAPL does not tell idle from busy).

    Raises:
        OSError: the counter cannot be opened.
    """

    def __init__(self, domain: Domain, idle_w: float, attributed: float = 1.0) -> None:
        self._file = CounterFile(domain.path, size=32)
        self._range_uj = domain.range_uj
        self._component = "dram" if domain.name == "dram" else "cpu"
        self._idle_w = idle_w
        self._attributed = attributed
        self._still_s = 0.0
        self._moved = False
        self._looked_s = float("-inf")
        self._lost = False
        self.records = [SourceRecord(self._component, f"RAPL {domain.name}", "measured", detail=str(domain.path))]

    def read(self) -> int | None:
        """Microjoules since the counter's last wrap; None while the file is gone."""
        text = self._file.read()
        try:
            return None if text is None else int(text)
        except ValueError:
            return None

    def reading(self, before: int | None, after: int | None, duration_s: float, busy_s: float) -> Reading:  # noqa: ARG002
        """Joules over a segment; a gap where the counter does not tell them."""
        joules = None if before is None or after is None else self._joules(before, after, duration_s)
        if not joules and self._gone():  # a kept descriptor would show the figure of a file that was removed for ever
            joules = None
        if joules is None:
            return Reading(self._component, None)
        background_to = "static" if self._component == "cpu" else "dram"
        return Reading(self._component, joules, self._idle_w * duration_s, background_to, self._attributed)

    def _joules(self, before: int, after: int, duration_s: float) -> float | None:
        """The joules between two readings; None where the counter was reset, wrapped unseen, or stands still."""
        if duration_s > LONG_S and duration_s * WRAP_POWER_W > self._range_uj / 1e6:
            return None  # it may have wrapped more than once
        delta = after - before
        if delta < 0:
            if not self._range_uj:
                return None
            delta += self._range_uj
        if not 0 <= delta / 1e6 <= MAX_POWER_W * (duration_s + UPDATE_S):
            return None
        self._moved = self._moved or delta > 0
        self._still_s = 0.0 if delta else self._still_s + duration_s
        return None if self._still_s >= (STILL_S if self._moved else NEVER_MOVED_S) else delta / 1e6

    def _gone(self) -> bool:
        """Whether the path leads to the counter no longer; one that has come back is followed from now on."""
        now = time.monotonic()
        if now - self._looked_s < LOOK_EVERY_S:
            return self._lost
        self._looked_s = now
        replaced = self._file.replaced()
        self._lost = replaced and not self._file.reopen()
        return replaced
