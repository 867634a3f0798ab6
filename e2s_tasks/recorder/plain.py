"""The line of a plain span: one inside another, of which nobody has told anything but its name.

It is what the journal makes of the span's record, without making the record: a third of the time, for nearly
all spans of a busy process.
"""

from collections.abc import Set as AbstractSet
from functools import lru_cache
from json import dumps

from e2s_tasks.core.energy import HOST
from e2s_tasks.ledger.journal import line_of
from e2s_tasks.recorder.open_span import OpenSpan

_text = lru_cache(maxsize=1024)(dumps)


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
