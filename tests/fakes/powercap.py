"""A powercap tree on disk, as the kernel lays it out under /sys/class/powercap."""

from pathlib import Path

RANGE_UJ = 262_143_328_850


class Powercap:
    """Two packages with DRAM, core and psys domains; `set` moves a counter."""

    def __init__(self, root: Path, packages: int = 1, *, nested: bool = False) -> None:
        self.root = root
        (root / "intel-rapl").mkdir(parents=True)
        self.paths: dict[str, Path] = {}
        for number in range(packages):
            above = root / "intel-rapl" if nested else root
            package = self._domain(above / f"intel-rapl:{number}", f"package-{number}")
            below = package if nested else root
            self._domain(below / f"intel-rapl:{number}:0", "core", f"core-{number}")
            self._domain(below / f"intel-rapl:{number}:1", "dram", f"dram-{number}")
        self._domain((root / "intel-rapl" if nested else root) / f"intel-rapl:{packages}", "psys")

    def _domain(self, folder: Path, name: str, key: str | None = None) -> Path:
        folder.mkdir(parents=True)
        (folder / "name").write_text(name + "\n")
        (folder / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
        self.paths[key or name] = folder / "energy_uj"
        self.set(key or name, 1_000_000)
        return folder

    def set(self, name: str, microjoules: int) -> None:
        """The counter of a domain shows this many microjoules from now on."""
        self.paths[name].write_text(f"{microjoules}\n")
