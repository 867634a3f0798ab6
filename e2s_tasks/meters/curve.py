"""Energy as a function of time, from samples that come late: straight lines between them, gaps where they are missing.

A sample tells what was used since the sample before, so that whatever is asked of the curve in adjoining stretches adds
up to what the samples counted (law 1), however the stretches lie between the samples.
"""

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

FEW = 4  # pieces whose mean power is taken to hold where none is known: one alone may have come a scrape too late


class Piece(NamedTuple):
    """What was used from begin to end (monotonic ns), in joules; None where it is unknown."""

    begin: int
    end: int
    joules: float | None


class Curve:
    """The pieces known so far, one after the other without holes between them. Not for several threads at once."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self.reach_ns = 0  # how far before the first piece its power may be taken to hold

    @property
    def end(self) -> int | None:
        """Up to when the curve is known; None while nothing is."""
        return self._pieces[-1].end if self._pieces else None

    @property
    def power_w(self) -> float | None:
        """The mean power of the last few pieces; None where the last one is unknown."""
        return _power(reversed(self._pieces))

    def add(self, begin: int, end: int, joules: float | None) -> None:
        """A further piece, after all others."""
        if end > begin:
            self._pieces.append(Piece(begin, end, joules))

    def energy(self, begin: int, end: int) -> float | None:
        """Joules from begin to end, which is not after the curve's end; None where a part of it is unknown."""
        if not self._pieces or end > self._pieces[-1].end:
            return None
        total = self.supposed(begin, end)
        if total is None:
            return None
        for piece in reversed(self._pieces):
            if piece.end <= begin:
                break
            overlap = min(end, piece.end) - max(begin, piece.begin)
            if overlap > 0:
                if piece.joules is None:
                    return None
                total += piece.joules * overlap / (piece.end - piece.begin)
        return total

    def supposed(self, begin: int, end: int) -> float | None:
        """The part of `energy` that lies before the first piece, at the mean power of the first few."""
        first = self._pieces[0]
        if begin >= first.begin:
            return 0.0
        power = _power(self._pieces)
        if power is None or first.begin - begin > self.reach_ns:
            return None
        return power * (min(end, first.begin) - begin) * 1e-9

    def forget(self, before: int) -> None:
        """Drop the pieces that ended before a time; the last few stay."""
        while len(self._pieces) > FEW and self._pieces[0].end < before:
            self._pieces.popleft()

    def clear(self) -> None:
        """Begin anew."""
        self._pieces.clear()


def _power(pieces: Iterable[Piece]) -> float | None:
    """The mean power of the first few pieces up to a gap; None where there is none."""
    length, total = 0, 0.0
    for piece in islice(pieces, FEW):
        if piece.joules is None:
            break
        length, total = length + piece.end - piece.begin, total + piece.joules
    return total / (length * 1e-9) if length else None
