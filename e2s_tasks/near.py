"""Near matches: what somebody who typed an unknown name may have meant."""

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches

LEAST = 0.5  # of 1: names that are less like it than this are none that were meant
BESIDE = 0.15  # a name that is less like it than the nearest one by more than this says nothing beside that


def nearest(text: str, names: Iterable[str], most: int = 3) -> list[str]:
    """The names that are most like the text, in whatever case, the nearest first; none where it is like none."""
    by_lower: dict[str, str] = {}
    for name in names:
        by_lower.setdefault(name.lower(), name)
    found = get_close_matches(text.lower(), by_lower, n=most, cutoff=LEAST)
    likeness = [SequenceMatcher(None, one, text.lower()).ratio() for one in found]
    return [by_lower[one] for one, like in zip(found, likeness, strict=True) if like >= likeness[0] - BESIDE]


def did_you_mean(near: Sequence[str]) -> str:
    """The question after near matches, of which there is at least one."""
    return f"Did you mean {' or '.join(near)}?"


RUN_ONE = "Run a flow that is decorated with @e2s_flow, or a DAG with E2S_AUTO=true."  # where nothing has run


def hint(near: Sequence[str], have_run: Iterable[str], otherwise: str) -> str:
    """A sentence for who has typed an unknown name: near matches, else what has run, else what to do."""
    if near:
        return did_you_mean(near)
    names = sorted(have_run)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"These have run: {', '.join(names[:5])}{more}." if names else otherwise
