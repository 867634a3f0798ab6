"""One record of a run that several processes tell of: the same in whatever order they are heard."""

import json
from dataclasses import asdict, replace
from typing import Any

from e2s_tasks.core.records import SOLUTION_SEQ, SpanRecord


def merged(one: SpanRecord, other: SpanRecord) -> SpanRecord:
    """The record with the higher sequence number, with the first start and the last solution that either names."""
    last, named = max(one, other, key=_order), max(one, other, key=_naming)
    attributes = _told(last)
    if named.solution is not None and _named_at(named) != last.seq:
        attributes[SOLUTION_SEQ] = _named_at(named)
    started_at = min(one.started_at, other.started_at)
    return replace(last, started_at=started_at, solution=named.solution, attributes=attributes)


def _told(one: SpanRecord) -> dict[str, Any]:
    return {name: value for name, value in one.attributes.items() if name != SOLUTION_SEQ}


def _order(one: SpanRecord) -> tuple[int, str]:
    """What decides which is the last: among equal numbers, as of processes that all tell a beginning, the contents."""
    content = asdict(replace(one, started_at=0.0, solution=None, attributes=_told(one)))
    return one.seq, json.dumps(content, sort_keys=True, default=str)


def _naming(one: SpanRecord) -> tuple[bool, int, str]:
    return one.solution is not None, _named_at(one), one.solution or ""


def _named_at(one: SpanRecord) -> int:
    return int(one.attributes.get(SOLUTION_SEQ, one.seq))
