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
    """The line that says that a span has begun; what it says of the span serves for its end, too."""
    span.known = _known(span)
    return line_of(f'{{{span.known}{_attributes(span)}"status":"{span.status}","seq":0,"type":"span"}}'.encode("ascii"))


def end_line(span: OpenSpan, covered: AbstractSet[str]) -> bytes | None:
    """The line of an ended span; None if its record has to be made. covered: the components that have a source."""
    if span.described or span.gaps or span.estimates or span.ends_in is None:
        return None
    joules = span.joules
    energy = "".join([f'"{name}_j":{joules.get(name, 0.0)!r},' for name in HOST if name in covered])
    if span.parent is None:
        energy += f'"other_j":{span.other_j!r},"idle_j":{span.idle_j!r},'
    ended_at = span.started_at + (span.closed_ns - span.opened_ns) * 1e-9
    return line_of(
        f'{{{span.known or _known(span)}{_attributes(span)}"status":"{span.status}","seq":1,"ended_at":{ended_at!r},'
        f'"cpu_ns":{span.cpu_ns},"shared_cpu_ns":{span.shared_ns},{energy}"type":"span"}}'.encode("ascii")
    )


def _known(span: OpenSpan) -> str:
    """The inside of a JSON object, with a comma at its end: what is known of the span when it begins."""
    outer, facts = span.outer, span.given
    above = outer.handed_down_text() if outer is not None else f'"run_id":{_quoted(span.run_id)},'
    own = "".join([_field(name, value) for name, value in facts.items() if value is not None]) if facts else ""
    return (
        f'{above}"process_id":"{span.recorder.process.id}","id":"{span.id}","kind":"{span.kind}",'
        f'"name":{_text(span.name)},"started_at":{span.started_at!r},{own}'
    )


def _field(name: str, value: Any) -> str:
    return f'"{name}":{_json(value)},' if name != "attributes" else ""


def _attributes(span: OpenSpan) -> str:
    """The same of what may still be added while the span is open."""
    found = span.attributes
    return f'"attributes":{_json(found)},' if found else ""
