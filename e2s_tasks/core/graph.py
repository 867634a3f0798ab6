"""Directed graphs of thousands of nodes: strongly connected parts, and what leads to what. No recursion."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import compress

_BITS = bytes.maketrans(b"01", b"\x00\x01")


def parts(successors: Sequence[Sequence[int]]) -> list[int]:
    """The strongly connected part of each node. An edge between two parts leads from a higher to a lower number.

    Tarjan, R. (1972), Depth-first search and linear graph algorithms, with a stack of its own.
    """
    count = len(successors)
    part, low, order = [-1] * count, [0] * count, [-1] * count
    open_nodes: list[int] = []
    found = reached = 0
    for start in range(count):
        if order[start] >= 0:
            continue
        walk: list[tuple[int, Iterator[int]]] = [(start, iter(successors[start]))]
        order[start] = low[start] = reached
        reached += 1
        open_nodes.append(start)
        while walk:
            node, ahead = walk[-1]
            for following in ahead:
                if order[following] < 0:
                    order[following] = low[following] = reached
                    reached += 1
                    open_nodes.append(following)
                    walk.append((following, iter(successors[following])))
                    break
                if part[following] < 0:
                    low[node] = min(low[node], order[following])
            else:
                walk.pop()
                if walk:
                    low[walk[-1][0]] = min(low[walk[-1][0]], low[node])
                if low[node] == order[node]:
                    found = _close(node, open_nodes, part, found)
    return part


def _close(node: int, open_nodes: list[int], part: list[int], number: int) -> int:
    """Number the part whose first node was reached before all its others; the next number."""
    while True:
        member = open_nodes.pop()
        part[member] = number
        if member == node:
            return number + 1


def between(successors: Sequence[Sequence[int]], part: Sequence[int]) -> list[set[int]]:
    """The parts that each part leads to directly, without itself."""
    following: list[set[int]] = [set() for _ in range(max(part, default=-1) + 1)]
    for node, ahead in enumerate(successors):
        following[part[node]].update(part[one] for one in ahead if part[one] != part[node])
    return following


def closures(following: Sequence[set[int]], own: Sequence[int]) -> list[int]:
    """For each part, the bits (as in `own`) of the part itself and of every part that leads to it."""
    closure = list(own)
    for part in range(len(following) - 1, -1, -1):
        for one in following[part]:
            closure[one] |= closure[part]
    return closure


def chosen(bits: int) -> bytes:
    """The bits as selectors for `itertools.compress`, bit 0 first."""
    return bin(bits)[:1:-1].encode("ascii").translate(_BITS)


def bits(flags: Iterable[bool]) -> int:
    """One bit for each flag, bit 0 first."""
    return int("0" + "".join("1" if flag else "0" for flag in flags)[::-1], 2)


def members(bits: int) -> list[int]:
    """The numbers of the bits that are set, ascending."""
    return list(compress(range(bits.bit_length()), chosen(bits)))
