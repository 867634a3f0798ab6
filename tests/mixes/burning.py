"""Work of a known size: CPU seconds of the thread or process that does it."""

import sys
import time

BURN = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass\n"


def burn(seconds: float) -> None:
    """Use this many CPU seconds of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def burning(seconds: float, then: str = "") -> list[str]:
    """The command line of a process that uses this many CPU seconds after its start."""
    return [sys.executable, "-S", "-c", BURN.format(seconds) + then]
