"""How many CPUs a cgroup leaves to this process: containers, pods, slices."""

from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def reserved_cpus(cpus: int, root: Path = CGROUPS, own: Path = OWN) -> float:
    """CPUs within the tightest quota of cgroup v1 or v2 on this process and what is above it; all `cpus` without one.

    Inside a container the tree's root is the container's own, while the path may be the host's: both are looked at.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return float(cpus)
    limit = float(cpus)
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            found = [_v2(folder) for top in (root, root / "unified") for folder in _upwards(top, path)]
        elif "cpu" in controllers.split(","):
            found = [_v1(folder) for top in (root / "cpu", root / controllers) for folder in _upwards(top, path)]
        else:
            continue
        limit = min([limit, *(one for one in found if one is not None)])
    return limit


def _upwards(top: Path, path: str) -> list[Path]:
    """The folder of a cgroup and all above it, up to the root."""
    inside = PurePosixPath(path.lstrip("/"))
    return [top / part for part in (inside, *inside.parents) if ".." not in part.parts]


def _v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return quota / int((folder / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
