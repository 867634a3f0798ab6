"""Runs made by hand, as the ledger would give them."""

from typing import Any

from e2s_tasks.core.records import (
    DecisionRecord,
    Kind,
    OutcomeRecord,
    ProcessRecord,
    RunRecords,
    SourceRecord,
    SpanRecord,
    Status,
    VersionRecord,
)

NOON = 1_770_000_000.0
RUN = "4c1ad7d2-6cb5-4d1c-9c1b-0d3ad8d1f0aa"

SOURCES = [
    SourceRecord("cpu", "CPU model", "modelled", 0.4, 2.5, "Test CPU: 20 W at full load, 2 W idle"),
    SourceRecord("static", "idle power model", "modelled", 0.5, 4.0, "10 % of full power"),
    SourceRecord("dram", "package-0 dram", "measured", detail="RAPL"),
    SourceRecord("gpu", "NVML", "missing", detail="no GPU on this host", absent=True),
    SourceRecord("storage", "SSD", "modelled", 0.1, 10.0, "5 J/GB"),
    SourceRecord("network", "network", "modelled", 0.1, 10.0, "50 J/GB"),
]


def process(sources: list[SourceRecord] = SOURCES) -> ProcessRecord:
    """A process with these energy sources."""
    return ProcessRecord("p1", "host", "boot", 42, 1, NOON, "dedicated", list(sources))


def span(span_id: str, kind: Kind = Kind.ATTEMPT, name: str | None = None, **fields: Any) -> SpanRecord:
    """A completed span of two seconds, inside the root flow run unless told otherwise."""
    given: dict[str, Any] = {
        "seq": 1, "process_id": "p1", "run_id": RUN, "status": Status.COMPLETED, "started_at": NOON,
        "parent_id": None if kind == Kind.FLOW else "root", "flow_run_id": RUN,
    }  # fmt: skip
    given |= fields
    given.setdefault("ended_at", given["started_at"] + 2.0)
    return SpanRecord(id=span_id, kind=kind, name=name or span_id, **given)


def root(**fields: Any) -> SpanRecord:
    """The root flow run's span."""
    return span("root", Kind.FLOW, "flight-delays", **fields)


def run(*spans: SpanRecord, **records: Any) -> RunRecords:
    """A run of these spans."""
    records.setdefault("processes", [process()])
    return RunRecords(RUN, spans=list(spans), **records)


def decision(**fields: Any) -> DecisionRecord:
    """A decision for a run that could have waited from 200 to 100 gCO2eq/kWh."""
    given: dict[str, Any] = {
        "zone": "GB", "signal": "average, direct", "source": "GB Carbon Intensity API", "reason": "start at 14:30 UTC",
        "intensity": 200.0, "start": NOON + 9000, "end": NOON + 9120, "expected": 100.0, "run_now": 200.0,
        "plan": {"rung": "service"},
    }  # fmt: skip
    return DecisionRecord(id="d1", run_id=RUN, at=NOON, **(given | fields))


def outcome(span_id: str, outcome_id: str = "o1", name: str = "prediction", **fields: Any) -> OutcomeRecord:
    """100 predictions, 80 of them accurate."""
    given: dict[str, Any] = {"units": 100.0, "accurate": 80.0} | fields
    return OutcomeRecord(outcome_id, RUN, span_id, NOON, name, **given)


def full_run() -> RunRecords:
    """A run with a bit of everything: a failed attempt, a retry, nested work, I/O, a cached run, a failed check."""
    used = {"cpu_j": 40.0, "dram_j": 2.0, "static_j": 8.0, "cpu_ns": 2_000_000_000, "task_run_id": "build"}
    return run(
        root(cpu_j=5.0, dram_j=0.5, static_j=0.5, cpu_ns=300_000_000, other_j=3.0, idle_j=1.0,
             solution="delay-forecast", attributes={"flow_run_name": "amber-fox"}, ended_at=NOON + 12),
        span("f1", name="build_features", started_at=NOON + 1, attempt=1, status=Status.FAILED, **used),
        span("f2", name="build_features", started_at=NOON + 3, attempt=2, **used),
        span("w1", Kind.WRITE, "write features.parquet", parent_id="f2", started_at=NOON + 4, cpu_j=1.0, storage_j=0.5,
             bytes_written=9_600_000, rows=336_776),
        span("t1", name="train", started_at=NOON + 5, attempt=1, cpu_j=80.0, dram_j=2.0, static_j=4.0),
        span("s1", Kind.SPAN, "fit", parent_id="t1", started_at=NOON + 5.5, cpu_j=20.0, dram_j=0.0, static_j=0.0),
        span("t2", name="train", started_at=NOON + 5, attempt=1, cpu_j=60.0, dram_j=2.0, static_j=4.0),
        span("c1", name="import_flights", started_at=NOON + 1, attempt=1, status=Status.CACHED, result_key="k1",
             cpu_j=0.0, dram_j=0.0, static_j=0.0),
        span("e1", name="evaluate", started_at=NOON + 9, attempt=1, cpu_j=2.0, dram_j=0.1, static_j=0.4),
        span("r1", Kind.READ, "read forecast.parquet", parent_id="e1", started_at=NOON + 9.1, cpu_j=0.5, storage_j=0.2,
             bytes_read=1_200_000),
        versions=[VersionRecord("v1", "file:///data/features.parquet", "w1", RUN, NOON + 5, 9_600_000, 336_776)],
        outcomes=[outcome("e1")],
        decisions=[decision()],
        version_numbers={"v1": 3},
    )  # fmt: skip
