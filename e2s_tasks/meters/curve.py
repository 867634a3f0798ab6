"""Energy as a function of time, from samples that come late: straight lines between them, gaps where they are missing.

A sample tells what was used since the sample before, so that whatever is asked of the curve in adjoining stretches adds
up to what the samples counted (law 1), however the stretches lie between the samples.
"""

from collections import deque
from typing import NamedTuple


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
        """The power of the last piece; None where that is unknown."""
        return _power(self._pieces[-1]) if self._pieces else None

    def add(self, begin: int, end: int, joules: float | None) -> None:
        """A further piece, after all others."""
        if end > begin:
            self._pieces.append(Piece(begin, end, joules))

    def energy(self, begin: int, end: int) -> float | None:
        """Joules from begin to end, which is not after the curve's end; None where a part of it is unknown."""
        if not self._pieces or end > self._pieces[-1].end:
            return None
        total = 0.0
        first = self._pieces[0]
        if begin < first.begin:
            power = _power(first)
            if power is None or first.begin - begin > self.reach_ns:
                return None
            total = power * (min(end, first.begin) - begin) * 1e-9
        for piece in reversed(self._pieces):
            if piece.end <= begin:
                break
            overlap = min(end, piece.end) - max(begin, piece.begin)
            if overlap > 0:
                if piece.joules is None:
                    return None
                total += piece.joules * overlap / (piece.end - piece.begin)
        return total

    def forget(self, before: int) -> None:
        """Drop the pieces that ended before a time; the last one stays."""
        while len(self._pieces) > 1 and self._pieces[0].end < before:
            self._pieces.popleft()

    def clear(self) -> None:
        """Begin anew."""
        self._pieces.clear()


def _power(piece: Piece) -> float | None:
    return None if piece.joules is None else piece.joules / ((piece.end - piece.begin) * 1e-9)
