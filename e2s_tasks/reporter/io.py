"""What a run's processes read and wrote by the system's count, and how much of it no span recorded."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from e2s_tasks.core.records import PROCESS_IO, RunRecords, SpanRecord

COUNTERS = ("read_bytes", "written_bytes", "read_from_storage", "written_to_storage")
RECORDED = ("recorded_read", "recorded_written", "unrecorded_read", "unrecorded_written")


def process_io(run: RunRecords) -> dict[str, Any]:
    """Bytes, over the processes whose counters are known; all None where none are. processes: their number, and
    `unknown`, that of the run's other processes.
    """
    moved = _moved(run.spans)
    every = {span.process_id for span in run.spans if not span.is_of_no_process}
    if not moved:
        return dict.fromkeys((*COUNTERS, *RECORDED)) | {"processes": 0, "unknown": len(every)}
    totals = [sum(of_process[number] for of_process in moved.values()) for number in range(len(COUNTERS))]
    recorded = _recorded(run, set(moved))
    left = (max(0, total - known) for total, known in zip(totals, recorded, strict=False))
    figures = dict(zip((*COUNTERS, *RECORDED), (*totals, *recorded, *left), strict=True))
    return figures | {"processes": len(moved), "unknown": len(every) - len(moved)}


def _moved(spans: Iterable[SpanRecord]) -> dict[str, list[int]]:
    """By process, what it moved while root spans of the run were open in it: time that two share counts once."""
    stretches: dict[str, list[tuple[list[int], list[int]]]] = defaultdict(list)
    for span in spans:
        told = span.attributes.get(PROCESS_IO)
        if told:
            stretches[span.process_id].append((told[0], told[1]))
    found = {}
    for process, of_process in stretches.items():
        until = [0] * len(COUNTERS)
        total = [0] * len(COUNTERS)
        for begin, end in sorted(of_process):
            for number, (first, last) in enumerate(zip(begin, end, strict=True)):
                total[number] += max(0, last - max(first, until[number]))
                until[number] = max(until[number], last)
        found[process] = total
    return found


def _recorded(run: RunRecords, processes: set[str]) -> tuple[int, int]:
    """The bytes that spans recorded as read and written where the system's counters show them: not over a network."""
    sources, targets = (
        _places((one.span_id, one.uri) for one in run.reads),
        _places((one.span_id, one.uri) for one in run.versions),
    )
    moving = [span for span in run.spans if span.process_id in processes]  # of folded spans what they were folded into
    read = sum(span.bytes_read or 0 for span in moving if _local(span, sources[span.id]))
    return read, sum(span.bytes_written or 0 for span in moving if _local(span, targets[span.id]))


def _places(found: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    places: dict[str, list[str]] = defaultdict(list)
    for span_id, uri in found:
        places[span_id].append(uri)
    return places


def _local(span: SpanRecord, uris: list[str]) -> bool:
    return all(uri.startswith("file:") for uri in uris) if uris else span.network_j is None
