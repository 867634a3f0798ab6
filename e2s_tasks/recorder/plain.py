"""The lines of spans that are written without making their records: beginnings, and the ends of plain spans.

A plain span is one inside another, of which nobody has told anything but its name: nearly all spans of a busy process.
Its line is what the journal makes of the span's record, in a third of the time.
"""

from collections.abc import Set as AbstractSet
from functools import lru_cache
from json import JSONEncoder, dumps
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

from e2s_tasks.core.energy import HOST
from e2s_tasks.ledger.journal import line_of
from e2s_tasks.recorder.open_span import OpenSpan

_encode = JSONEncoder(separators=(",", ":"), default=str).encode
_text = lru_cache(maxsize=1024)(dumps)


def _json(value: Any) -> str:
    """The value as JSON; of what spans have for facts, in a fraction of the encoder's time."""
    if isinstance(value, str):
        return _quoted(value)
    if type(value) is dict:
        return "{" + ",".join([f"{_quoted(name)}:{_json(inner)}" for name, inner in value.items()]) + "}"
    return str(value) if type(value) is int else _encode(value)


def start_line(span: OpenSpan) -> bytes:
    """The line that says that a span has begun."""
    facts = span.own_facts() if span.outer is not None else span.facts()
    above = span.outer.handed_down_text() if span.outer is not None else ""
    given = "".join([f'"{name}":{_json(value)},' for name, value in facts.items() if value is not None])
    return line_of(f'{{{above}{given}"type":"span"}}'.encode("ascii"))


def plain_line(span: OpenSpan, covered: AbstractSet[str]) -> bytes | None:
    """The journal's line of an ended span; None if it is not plain. covered: the components that have a source."""
    if not span.plain or span.outer is None:
        return None
    joules = span.joules
    energy = "".join([f'"{name}_j":{joules.get(name, 0.0)!r},' for name in HOST if name in covered])
    ended_at = span.started_at + (span.closed_ns - span.opened_ns) * 1e-9
    return line_of(
        f'{{"id":"{span.id}","seq":1,"kind":"{span.kind}","name":{_text(span.name)},"status":"{span.status}",'
        f'"started_at":{span.started_at!r},"ended_at":{ended_at!r},"cpu_ns":{span.cpu_ns},'
        f'"shared_cpu_ns":{span.shared_ns},{energy}{span.outer.handed_down_text()}"type":"span"}}'.encode("ascii")
    )
