"""Keeps labels bounded: names beyond a limit are `other`, and their number is told."""

from collections.abc import Iterable

from e2s_tasks.reporter.units import printable

OTHER = "other"
LONGEST = 120  # characters of a label; names that only differ after that are one


class Names:
    """Gives each name the label that stands for it: itself, or `other` once there are too many of its kind.

    A kind is what a limit holds for: the steps of all flows together, the flows, the solutions, and so on.
    """

    def __init__(self, most: int, known: Iterable[Iterable[str]] = ()) -> None:
        self._most = most
        self._known: dict[tuple[str, ...], None] = {}
        self._beyond: set[int] = set()  # hashes: names without a bound are not kept
        self._counts: dict[str, int] = {}
        for one in known:
            key = tuple(one)
            self._known[key] = None
            self._counts[key[0]] = self._counts.get(key[0], 0) + 1

    def step(self, flow: str, step: str) -> str:
        """The label of a step of a flow (which is a label)."""
        return self._label("step", flow, _short(step))

    def of(self, kind: str, name: str | None) -> str:
        """The label of a name of this kind; "" for none."""
        return self._label(kind, _short(name)) if name else ""

    def _label(self, kind: str, *name: str) -> str:
        key = (kind, *name)
        if key in self._known:
            return name[-1]
        if self._counts.get(kind, 0) >= self._most:
            if len(self._beyond) < 100 * self._most:
                self._beyond.add(hash(key))
            return OTHER
        self._known[key] = None
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return name[-1]

    @property
    def beyond(self) -> int:
        """How many names are `other`; at most a hundred times the limit is counted."""
        return len(self._beyond)

    @property
    def known(self) -> list[tuple[str, ...]]:
        """Those that have a label of their own, so that they keep it after a restart."""
        return list(self._known)


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."
