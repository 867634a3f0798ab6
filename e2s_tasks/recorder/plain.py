"""The lines of spans that are written without making their records: beginnings, and the ends of most.

A line is what the journal makes of the span's record, in a third of the time.
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
    if type(value) is dict and all(isinstance(name, str) for name in value):
        return "{" + ",".join([f"{_quoted(name)}:{_json(inner)}" for name, inner in value.items()]) + "}"
    return str(value) if type(value) is int else _encode(value)


def start_line(span: OpenSpan) -> bytes:
    """The line that says that a span has begun."""
    return line_of(f'{{{_given(span)}"type":"span"}}'.encode("ascii"))


def end_line(span: OpenSpan, covered: AbstractSet[str]) -> bytes | None:
    """The line of an ended span; None if its record has to be made. covered: the components that have a source."""
    if span.described or span.gaps or span.estimates or span.ends_in is None:
        return None
    if span.told or span.parent is None:
        given = _given(span)
    else:  # nearly all spans of a busy process: inside others, with nothing but a name to tell
        given = (
            f'{span.parent.handed_down_text()}"id":"{span.id}","kind":"{span.kind}","name":{_text(span.name)},'
            f'"started_at":{span.started_at!r},"status":"{span.status}",'
        )
    joules = span.joules
    energy = "".join([f'"{name}_j":{joules.get(name, 0.0)!r},' for name in HOST if name in covered])
    if span.parent is None:
        energy += f'"other_j":{span.other_j!r},"idle_j":{span.idle_j!r},'
    ended_at = span.started_at + (span.closed_ns - span.opened_ns) * 1e-9
    return line_of(
        f'{{{given}"seq":1,"ended_at":{ended_at!r},"cpu_ns":{span.cpu_ns},"shared_cpu_ns":{span.shared_ns},'
        f'{energy}"type":"span"}}'.encode("ascii")
    )


def _given(span: OpenSpan) -> str:
    """The inside of a JSON object, with a comma at its end: what is known of the span without its record."""
    outer = span.outer
    facts, above = (span.facts(), "") if outer is None else (span.own_facts(), outer.handed_down_text())
    return above + "".join([f'"{name}":{_json(value)},' for name, value in facts.items() if value is not None])
