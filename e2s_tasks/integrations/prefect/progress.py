"""What a person sees while a flow that was started by hand waits: a bar on a terminal, else one line."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from e2s_tasks.core.planning import UNIT, told_apart
from e2s_tasks.integrations.prefect.awaiting import message
from e2s_tasks.reporter.commands import command
from e2s_tasks.reporter.units import joules
from e2s_tasks.scheduler import Decision

WIDTH = 24


class Progress:
    """A context manager; `tell` redraws the bar, at most once a second. waiting_w: the power that waiting takes."""

    def __init__(self, decision: Decision, run_id: str, waiting_w: float, stream: Any = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._bar = bool(getattr(self._stream, "isatty", lambda: False)())
        self._began = datetime.now(UTC)
        self._hint = f"Ctrl-C cancels; `{command('e2s')} release {run_id[:8]}` runs it now."
        self._decision, self._waiting_w = decision, waiting_w

    def __enter__(self) -> Self:
        assert self._decision.start is not None  # noqa: S101 - only such decisions make a run wait
        price = joules(self._waiting_w * (self._decision.start - self._began).total_seconds())
        meanwhile = f"Waiting here takes some {price} of idle power and memory, which a deployed run does without."
        self._write(f"e2s: {message(self._decision)}. {meanwhile} {self._hint}\n")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._write("\r\x1b[K")

    def tell(self, decision: Decision, start: datetime) -> None:
        """Show how long it is until `start`, and between which intensities the run waits."""
        if self._bar:
            self._write(f"\r\x1b[K{line(decision, self._began, start, datetime.now(UTC))}")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # nobody looks any more
            self._bar = False


def line(decision: Decision, began: datetime, start: datetime, now: datetime) -> str:
    """The bar: how far the waiting is, the intensities of then and now, and the time left."""
    whole, left = max(start - began, timedelta(seconds=1)), max(start - now, timedelta(0))
    done = round(WIDTH * (1 - left / whole)) if whole else WIDTH
    bar = "#" * done + "-" * (WIDTH - done)
    seconds = round(left.total_seconds())
    clock = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if decision.expected is None or decision.run_now is None:
        return f"[{bar}] {clock} left"
    then, at_once = told_apart(decision.expected, decision.run_now)
    return f"[{bar}] {clock} left: {at_once} -> {then} {UNIT} in {decision.zone}"
