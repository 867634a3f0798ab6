"""A CPU's TDP from CodeCarbon's table, read as a file.

Importing CodeCarbon to ask it takes seconds, and some of its own imports write to the user's standard output.
"""

import contextlib
import csv
import re
from importlib.util import find_spec
from pathlib import Path

TABLE = "data/hardware/cpu_power.csv"


def tdp_w(name: str) -> float | None:
    """TDP of a CPU in watts, matched as CodeCarbon matches it; None where the table does not know it.

    A model matches if its name is the CPU's, or if the words of one are all among the words of the other. Where several
    match in that way, none does.
    """
    table = _table()
    by_name = {model.lower(): watts for model, watts in table.items()}
    plain = re.sub(r" @\s*\d+\.\d+GHz", "", name.replace("(R)", "").partition(" CPU @ ")[0].replace(" CPU", ""))
    for exact in (name.lower(), plain.lower()):
        if exact in by_name:
            return by_name[exact]
    words = _words(plain)
    near = [watts for model, watts in table.items() if _within(_words(model), words)]
    return near[0] if len(near) == 1 else None


def _table() -> dict[str, float]:
    """Watts by model; empty where CodeCarbon's table is not there."""
    spec = find_spec("codecarbon")
    if spec is None or spec.origin is None:
        return {}
    table = {}
    try:
        with (Path(spec.origin).parent / TABLE).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                with contextlib.suppress(ValueError):  # a model whose TDP is not a number
                    table[row["Name"]] = float(row["TDP"])
    except (OSError, ValueError, KeyError):
        return {}
    return table


def _within(one: set[str], other: set[str]) -> bool:
    """Whether the words of one are all among those of the other."""
    return bool(one and other) and (one <= other or other <= one)


def _words(text: str) -> set[str]:
    return set(re.sub(r"[\W_]", " ", text.lower()).split())
