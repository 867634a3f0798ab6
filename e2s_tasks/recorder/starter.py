"""The span of another process in which this one was started: plain spans here belong to it.

A child that `subprocess` or `os.posix_spawn` starts finds in its environment which span that was, as does what it
starts in turn. A worker that `multiprocessing` starts finds it in the configuration that its process object brings
along. That holds only while the span's process lives: a daemon outlives the run that started it, and is no part of it
any more.
"""

import json
import os
import sys
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from e2s_tasks.host import start_ticks

if TYPE_CHECKING:
    from e2s_tasks.recorder.open_span import OpenSpan
    from e2s_tasks.settings import Settings

VARIABLE = "E2S_WITHIN"
LOOK_EVERY_S = 0.1  # how often to see whether the starter still lives
NOTHING: Mapping[str, str] = {}
INHERITED = ("run_id", "parent_id", "flow_run_id", "solution", "stage")


@dataclass(slots=True)
class Starter:
    """A span of another process. facts: what spans here have from it, as fields of a SpanRecord.

    pid, ticks: its process, and when that started. began_at: when the work around it began. ledger: where it reports.
    """

    pid: int
    ticks: int
    began_at: float
    ledger: int
    facts: Mapping[str, str]
    looked: float = -LOOK_EVERY_S
    holds: bool = False

    def look(self, options: "Settings") -> bool:
        """Whether its process lives, and reports to the same ledger as this one; as it was lately."""
        now = time.monotonic()
        if now - self.looked >= LOOK_EVERY_S:
            self.looked = now
            self.holds = start_ticks(self.pid) == self.ticks and self.ledger == _mark(options)
        return self.holds


def starter(options: "Settings") -> Starter | None:
    """Who started this process; None where no span did, where its process has ended, or another ledger has it."""
    found = _told(_told_as_worker())
    return found if found is not None and found.look(options) else None


def _told_as_worker() -> str | None:
    """What this process was told where `multiprocessing` has started it; what it forks has that, too."""
    process = getattr(sys.modules.get("multiprocessing.process"), "_current_process", None)
    return getattr(process, "_config", NOTHING).get(VARIABLE)


@lru_cache(maxsize=1)
def _told(as_worker: str | None) -> Starter | None:
    """What this process was told, read once. A worker's environment is its starter's, and tells of one further away."""
    try:
        told = json.loads(as_worker or os.environ[VARIABLE])
        facts = {name: str(told[name]) for name in INHERITED if name in told}
        if "run_id" not in facts or "parent_id" not in facts or not told["ticks"]:
            return None
        return Starter(int(told["pid"]), int(told["ticks"]), float(told["began_at"]), int(told["ledger"]), facts)
    except (KeyError, ValueError, TypeError, ArithmeticError, RecursionError):
        return None


def told_to_children(span: "OpenSpan | None") -> str | None:
    """What a child of the span is told, or without one what this worker was told; None where a child just inherits."""
    if span is None:
        return _told_as_worker()
    span.recorder.announce(span)
    process = span.recorder.process
    return (
        f'{{{span.handed_down_text()}"pid":{process.pid},"ticks":{process.start_ticks},'
        f'"began_at":{span.work_began_at!r},"ledger":{_mark(span.recorder.settings)}}}'
    )


def handed_on(told: str, environment: Mapping[Any, Any] | None) -> dict[Any, Any]:
    """The environment of a child that is told so. environment: what it was to be; None: this process's."""
    given = _inherited() if environment is None else dict(environment.items())
    given.pop(VARIABLE, None)
    given.pop(os.fsencode(VARIABLE), None)
    given[VARIABLE] = told
    return given


def _inherited() -> dict[Any, Any]:
    """What a child inherits: `os.environ` knows nothing of what `os.putenv` or a library has set."""
    if _environ is None:
        return dict(os.environ.items())
    lines: list[bytes] = []
    while (line := _environ[len(lines)]) is not None:
        lines.append(line)
    return {name: value for name, found, value in (line.partition(b"=") for line in lines) if found and name}


def _c_environ() -> Any:
    try:
        import ctypes

        return ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.PyDLL(None), "environ")
    except (ImportError, OSError, TypeError, ValueError):
        return None


_environ = _c_environ()


def _mark(options: "Settings") -> int:
    return zlib.crc32(options.ledger.encode())  # not the URL itself, which may hold a password
