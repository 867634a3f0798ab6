"""Who a process is: the boot of its host, and its start time beside its pid, which is used again and again."""

import os
from pathlib import Path

from e2s_tasks.keeping import read


def host_name() -> str:
    """The host's name, as `socket.gethostname` tells it, without loading sockets."""
    try:
        return os.uname().nodename
    except AttributeError:  # Windows
        import platform

        return platform.node()


def boot_id() -> str:
    """The id of the host's present boot; "" where unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def pid_namespace() -> str:
    """The number of this process's pid namespace: the same pid is another process in another one; "" where unknown."""
    try:
        return "".join(char for char in str(Path("/proc/self/ns/pid").readlink()) if char.isdigit())
    except OSError:
        return ""


def stat_fields(pid: int) -> list[bytes]:
    """What the system tells of a process after its name, from its state on (see proc(5)); empty where unknown."""
    return read(f"/proc/{pid}/stat").rpartition(b")")[2].split()  # the name may hold spaces and brackets


def process_stat(pid: int) -> tuple[str, int]:
    """A process's state letter and its start time in clock ticks since boot; ("", 0) where unknown."""
    fields = stat_fields(pid)
    return (fields[0].decode(), int(fields[19])) if fields else ("", 0)


def start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 where it does not run (any more)."""
    state, ticks = process_stat(pid)
    return 0 if state in "ZX" else ticks
