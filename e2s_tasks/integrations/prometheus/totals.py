"""Sums by series over all runs, of which each run's part can be replaced: what is written again counts once."""

from array import array
from collections.abc import Iterable, Iterator
from itertools import islice

from e2s_tasks.integrations.prometheus.metrics import COUNTER, Metric

SOME = 20  # run ids by which a ledger is known again
MOST = 2**63 - 1  # that an array holds
Series = tuple[Metric, tuple[str, ...]]


class Totals:
    """The sums, in whole micro-joules and nano-grams, so that no order of adding and taking away changes them.

    A counter's shown value never falls. floors: what counters had shown before a restart.
    """

    def __init__(self, floors: dict[tuple[str, tuple[str, ...]], int] | None = None) -> None:
        self._numbers: dict[Series, int] = {}
        self._series: list[Series] = []
        self._sums: list[int] = []
        self._shown: list[int] = []
        self._parts: dict[str, array[int]] = {}
        self._floors = floors or {}

    def put(self, run_id: str, parts: Iterable[tuple[Metric, tuple[str, ...], float]]) -> None:
        """A run's parts, in place of what it had; none at all, and it is no run of its own any more.

        Series of which a part is 0 are there from then on.
        """
        self._add(self._parts.pop(run_id, array("q")), -1)
        mine: dict[int, int] = {}
        for metric, labels, value in parts:
            number = self._number((metric, labels))
            if value:
                mine[number] = _held(mine.get(number, 0) + round(value * metric.scale))
        if mine:
            self._parts[run_id] = array("q", [one for pair in mine.items() for one in pair])
            self._add(self._parts[run_id], 1)

    def _number(self, series: Series) -> int:
        number = self._numbers.get(series)
        if number is None:
            number = self._numbers[series] = len(self._series)
            self._series.append(series)
            self._sums.append(0)
            self._shown.append(self._floors.get((series[0].name, series[1]), 0) if series[0].kind == COUNTER else 0)
        return number

    def _add(self, parts: "array[int]", sign: int) -> None:
        for at in range(0, len(parts), 2):
            self._sums[parts[at]] += sign * parts[at + 1]

    def __len__(self) -> int:
        """How many runs there are."""
        return len(self._parts)

    def some(self) -> list[str]:
        """The ids of some of them."""
        return list(islice(reversed(self._parts), SOME))

    def values(self) -> Iterator[tuple[Metric, tuple[str, ...], float]]:
        """Every series with its value, in the metric's unit."""
        for number, (metric, labels) in enumerate(self._series):
            self._shown[number] = value = self._value(number)
            yield metric, labels, value / metric.scale

    def _value(self, number: int) -> int:
        found = self._sums[number]
        return max(found, self._shown[number]) if self._series[number][0].kind == COUNTER else found

    def floors(self) -> dict[tuple[str, tuple[str, ...]], int]:
        """What each counter has shown, now or before."""
        shown = {
            (metric.name, labels): self._value(number)
            for number, (metric, labels) in enumerate(self._series)
            if metric.kind == COUNTER
        }
        return self._floors | shown


def _held(number: int) -> int:
    """The number, or the nearest one that an array holds."""
    return max(-MOST, min(number, MOST))
