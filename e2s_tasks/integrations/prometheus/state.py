"""What an exporter remembers over a restart, in a small file beside the ledger's journals: what its counters had shown.

Without it they would begin from the ledger, and a figure that has been put right to a smaller one since, such as
emissions once the grid was observed, would look to Prometheus like a counter that began anew.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_log = logging.getLogger(__name__)
Floor = tuple[str, tuple[str, ...]]


@dataclass(slots=True)
class State:
    """How far a ledger had been read, the names that had labels, and what the counters had shown.

    some: ids of some of the runs. A ledger that has none of them, or that less was written to, is another one.
    """

    number: int = 0
    some: list[str] = field(default_factory=list)
    names: list[tuple[str, ...]] = field(default_factory=list)
    floors: dict[Floor, int] = field(default_factory=dict)

    def is_of(self, number: int, runs: Mapping[str, object]) -> bool:
        """Whether a ledger that is so far, with these root runs, is the one that was read."""
        return number >= self.number and (not self.some or any(map(runs.__contains__, self.some)))


class Memory:
    """The file. One that cannot be read or written costs a warning."""

    def __init__(self, folder: Path, ledger: str) -> None:
        self._path = folder / "exporter" / f"{hashlib.sha256(ledger.encode()).hexdigest()[:16]}.json"
        self._warned = False

    def read(self) -> State:
        """What was kept; nothing of what cannot be read."""
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            return State(
                int(kept["number"]),
                [str(one) for one in kept["some"]],
                [tuple(map(str, one)) for one in kept["names"]],
                {(str(name), tuple(map(str, labels))): int(value) for name, labels, value in kept["floors"]},
            )
        except FileNotFoundError:
            return State()
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._warn("read", error)
            return State()

    def write(self, state: State) -> None:
        """Keep it, all or nothing."""
        floors = [[name, labels, value] for (name, labels), value in state.floors.items()]
        kept = {"number": state.number, "some": state.some, "names": state.names, "floors": floors}
        beside = self._path.with_suffix(f".{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(kept), encoding="utf-8")
            beside.replace(self._path)
        except OSError as error:
            self._warn("written", error)

    def _warn(self, what: str, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            _log.warning("e2s: %s cannot be %s (%s): counters may fall at a restart.", self._path, what, error)
