"""The lines of spans that are written without making their records: beginnings, and the ends of most.

A line is what the journal makes of the span's record, in a third of the time or less.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from json import JSONEncoder, dumps
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

from e2s_tasks.core.energy import HOST
from e2s_tasks.core.records import ENDING
from e2s_tasks.ledger.journal import line_of
from e2s_tasks.recorder.open_span import OpenSpan

_encode = JSONEncoder(separators=(",", ":"), default=str).encode
_text = lru_cache(maxsize=1024)(dumps)


def start_line(span: OpenSpan) -> bytes:
    """The line that says that a span has begun."""
    return line_of(f'{{{_known(span)}"status":"{span.status}","seq":0,"type":"span"}}'.encode("ascii"))


def ending_line(span: OpenSpan) -> bytes:
    """The line that says that a span has ended and how, before its energy is settled: a kill may come first."""
    ended_at = span.started_at + (span.closed_ns - span.opened_ns) * 1e-9
    return line_of(
        f'{{"run_id":{_quoted(span.run_id)},"process_id":"{span.recorder.process.id}","id":"{span.id}",'
        f'"kind":"{span.kind}","name":{_text(span.name)},"started_at":{span.started_at!r},"status":"{span.status}",'
        f'"seq":{ENDING},"ended_at":{ended_at!r},"type":"span"}}'.encode("ascii")
    )


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
        f'{{{_known(span)}"status":"{span.status}","seq":1,"ended_at":{ended_at!r},'
        f'"cpu_ns":{span.cpu_ns},"shared_cpu_ns":{span.shared_ns},{energy}"type":"span"}}'.encode("ascii")
    )


def _known(span: OpenSpan) -> str:
    """The inside of a JSON object, with a comma at its end: what is known of the span whether it has ended or not."""
    outer, facts, attributes = span.outer, span.given, span.attributes
    given = "" if "run_id" in facts else f'"run_id":{_quoted(span.run_id)},'
    above = outer.handed_down_text() if outer is not None else given
    if attributes and attributes is not facts.get("attributes"):
        facts = {**facts, "attributes": attributes}
    return (
        f'{above}"process_id":"{span.recorder.process.id}","id":"{span.id}","kind":"{span.kind}",'
        f'"name":{_text(span.name)},"started_at":{span.started_at!r},{_inside(facts) if facts else ""}'
    )


def _inside(fields: Mapping[Any, Any]) -> str:
    """The fields as the inside of a JSON object, with a comma at its end; quicker than the encoder, and without it."""
    text = ""
    for name, value in fields.items():
        if type(name) is not str:
            text += f"{_encode({name: value})[1:-1]},"
        elif type(value) is str:
            text += f"{_quoted(name)}:{_quoted(value)},"
        elif type(value) is int:
            text += f"{_quoted(name)}:{value},"
        elif value is None:
            text += f"{_quoted(name)}:null,"
        elif type(value) is dict:
            text += f"{_quoted(name)}:{{{_inside(value)[:-1]}}},"
        else:
            text += f"{_quoted(name)}:{_encode(value)},"
    return text
