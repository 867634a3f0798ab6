"""What is written down: the records that a measured process appends to its journal, and that the ledger keeps.

Records are idempotent: each has an id, and one that changes (a span) carries a sequence number that only grows.
Times are seconds since the epoch (UTC), energies joules, sizes bytes, CPU times nanoseconds.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from e2s_tasks.core.energy import HOST, Energy, add

# Attribute of the root spans of each process: what the process had moved at their beginning, and at their end or so
# far, each as bytes (read, written, read from storage, written to storage) since some moment of the process's life.
PROCESS_IO = "process_io"

# Attribute of an attempt: the most memory, in bytes, that its process had, or the biggest child that this waited for.
PEAK_MEMORY = "peak_memory_bytes"


class Kind(StrEnum):
    """What sort of work a span is; orchestration: what an orchestrator's own process did around an attempt.

    mark: no work, but that a task run was given an end from outside, which is its status: by hand, or by its
    orchestrator, which had lost its process (ledger/adoption.py).
    """

    FLOW = "flow"
    ORCHESTRATION = "orchestration"
    ATTEMPT = "attempt"
    READ = "read"
    WRITE = "write"
    MOVE = "move"
    SPAN = "span"
    WAIT = "wait"
    MARK = "mark"


class Status(StrEnum):
    """How a span ended, or that it has not; suspended: its work goes on later, in a span and process anew.

    skipped: it found that there was nothing to do.
    """

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    CACHED = "cached"
    SUSPENDED = "suspended"
    SKIPPED = "skipped"


@dataclass(slots=True)
class SourceRecord:
    """One energy source of a process: what it covers, what it is worth, and the range of a model.

    low and high are factors on the figure (1.0 and 1.0 for a measurement). `component` is cpu, dram, gpu, static,
    storage, network or remote. `absent` means that the host has no such device, so that the missing figure is no gap.
    """

    component: str
    name: str
    provenance: str
    low: float = 1.0
    high: float = 1.0
    detail: str = ""
    absent: bool = False


@dataclass(slots=True)
class ProcessRecord:
    """A measured process: its identity (host, boot, pid and start time together) and its energy sources."""

    id: str
    host: str
    boot_id: str
    pid: int
    start_ticks: int
    started_at: float
    static_policy: str
    sources: list[SourceRecord] = field(default_factory=list)


STOPPED = "stopped"  # attribute of a running span whose process was told to stop: if it dies, it was cancelled
_NOTHING: frozenset[str] = frozenset()
KILLED = "killed"  # attribute of a span whose process died while it ran: what it used since the last tick is lost
SOON_AFTER = "soon after"  # its value where the span itself had ended, but its energy was not settled yet
ENDING = -1  # the `seq` of what says that a span has ended before its energy is settled: anything else has more to say
LAST_BEGAN = "last_began_at"  # attribute of a run of no process, and its attempts: when it last began, until then
SOLUTION_SEQ = "solution_seq"  # likewise, where its last word names no solution: the `seq` of the one that did
TRY_ID = "try_id"  # attribute of an attempt whose stretches are recorded apart: what these have in common
LOST = "lost"  # attribute of a mark: its orchestrator itself set it, as of a task run whose process it had lost
CALLED = "called"  # attribute of an attempt: what else its orchestrator calls what it made, each as (name, URI)
MOVED = "moved_its_run"  # attribute of a life of a flow run that did nothing but move the run to a cleaner hour


# Of the plan of a decision for a part of a run: the step that it is for, whether that waits, and what waits with it:
# the whole run, or the tasks of these keys.
OF_STEP, WAITS, OF_RUN, HELD_BACK = "step", "waits", "whole_run", "held_back"


@dataclass(slots=True)
class SpanRecord:
    """A piece of work with its EXCLUSIVE energy so far. A higher `seq` replaces a lower one.

    run_id: the root run. parent_id is None for a run's root span, and for an attempt that ran in another process than
    its flow (its parent is then the flow span of `flow_run_id`). other_j and idle_j (root spans only): what the host
    used beside this run, not attributed to it. shared_cpu_ns: the part of cpu_ns that came from native thread pools
    while several spans were active. result_key: where the orchestrator keeps the result, for cache credit. stage: of
    the solution's life cycle. remote_j: work that it set off elsewhere, as declared.
    """

    id: str
    seq: int
    process_id: str
    run_id: str
    kind: str
    name: str
    status: str
    started_at: float
    parent_id: str | None = None
    ended_at: float | None = None
    flow_run_id: str | None = None
    task_run_id: str | None = None
    task_key: str | None = None
    attempt: int | None = None
    solution: str | None = None
    stage: str | None = None
    cpu_ns: int = 0
    shared_cpu_ns: int = 0
    cpu_j: float | None = None
    dram_j: float | None = None
    gpu_j: float | None = None
    static_j: float | None = None
    storage_j: float | None = None
    network_j: float | None = None
    remote_j: float | None = None
    bytes_read: int | None = None
    bytes_written: int | None = None
    rows: int | None = None
    other_j: float | None = None
    idle_j: float | None = None
    result_key: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def is_waiting(self) -> bool:
        """Whether it only waited for a cleaner grid, or was a process that did no more than move its run there."""
        return self.kind == Kind.WAIT or MOVED in self.attributes

    @property
    def is_cut_short(self) -> bool:
        """Whether its process was killed after it had used energy: its last second at most is in no figure.

        That is so whatever it has ended as: one that was told to stop, and killed as it did not, was cancelled.
        """
        killed = self.attributes.get(KILLED)
        if not killed:
            return False
        host = self.energy.host
        return host is not None and (host > 0.0 or killed == SOON_AFTER)

    @property
    def is_unmeasured(self) -> bool:
        """Whether its process was killed before the first tick that it saw: nothing is known of what it used."""
        return KILLED in self.attributes and self.energy.host is None

    @property
    def incomplete(self) -> frozenset[str]:
        """The components of which its figure lacks a part: a source told nothing for some time, or it was cut short."""
        if not self.attributes:
            return _NOTHING
        named: frozenset[str] = frozenset(self.attributes.get("gaps", ()))
        if not self.is_cut_short:
            return named
        return named | {name for name in HOST if getattr(self, f"{name}_j") is not None}

    @property
    def is_of_no_process(self) -> bool:
        """Whether it is a run that lives in an orchestrator's database alone: it goes on whatever process dies."""
        return self.process_id == self.run_id

    @property
    def is_orchestration(self) -> bool:
        """Whether its own joules are the orchestrator's: of a flow run, or of a process that ran its attempts."""
        return self.kind in {Kind.FLOW, Kind.ORCHESTRATION}

    @property
    def energy(self) -> Energy:
        """The exclusive energy by component, in joules."""
        return Energy(self.cpu_j, self.dram_j, self.gpu_j, self.static_j, self.storage_j, self.network_j, self.remote_j)

    @property
    def joules(self) -> float | None:
        """The exclusive energy of all components; None where everything is missing."""
        parts = (self.cpu_j, self.dram_j, self.gpu_j, self.static_j, self.storage_j, self.network_j, self.remote_j)
        return add(parts)


@dataclass(slots=True)
class VersionRecord:
    """One completed write of a URI. The version's number is its rank among the URI's writes, found on reading.

    files: how many it consists of. written: those that this write made, each as (path below the URI, bytes, stamp: the
    modification time or ETag); None: not known, so that all of it is taken to be new. content_digest: where cheap.
    """

    id: str
    uri: str
    span_id: str
    run_id: str
    created_at: float
    bytes: int | None = None
    rows: int | None = None
    format: str | None = None
    schema_digest: str | None = None
    files: int | None = None
    content_digest: str | None = None
    written: list[list[Any]] | None = None

    @property
    def is_known_by_name(self) -> bool:
        """Whether its name alone is known: nobody has looked what lies there, nor what of it was there before."""
        return self.written is None and self.files in {None, 1}


@dataclass(slots=True)
class ReadRecord:
    """A span read a URI. version_id names the version that it saw; None: external, no measured write explains it.

    files: those that it opened, each as in VersionRecord.written; None: not known, so that it may be any of them.
    """

    id: str
    uri: str
    span_id: str
    run_id: str
    at: float
    version_id: str | None = None
    files: list[list[Any]] | None = None


@dataclass(slots=True)
class EdgeRecord:
    """In a run, a task run was handed the result of another (Prefect task run ids, or subflow run ids)."""

    id: str
    run_id: str
    upstream: str
    downstream: str


@dataclass(slots=True)
class OutcomeRecord:
    """What a run achieved: units of the business outcome, and how many of them were valid or accurate."""

    id: str
    run_id: str
    span_id: str
    at: float
    name: str
    units: float
    valid: float | None = None
    accurate: float | None = None
    solution: str | None = None
    quality: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class DecisionRecord:
    """What the scheduler decided for a run, and the carbon intensity (gCO2eq/kWh) that it saw.

    `intensity` is what the run's emissions use; `expected` and `run_now` are means over the planned and the immediate
    window. `signal` is for example "average, direct". `plan` holds what the plan was made from (policy, slots).
    """

    id: str
    run_id: str
    at: float
    signal: str
    source: str
    reason: str
    zone: str | None = None
    intensity: float | None = None
    start: float | None = None
    end: float | None = None
    expected: float | None = None
    run_now: float | None = None
    plan: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class CallRecord:
    """A flow run was started by another one in a process of its own, as Prefect's `run_deployment` does.

    id: of the flow run that was started; caller: of the one that started it, task_run_id: in which task run, if in one.
    It belongs to the run of a measured caller; without one it is a root run.
    """

    id: str
    caller: str
    task_run_id: str | None = None


Record = (
    ProcessRecord | SpanRecord | VersionRecord | ReadRecord | EdgeRecord | OutcomeRecord | DecisionRecord | CallRecord
)

TYPES: dict[str, type[Record]] = {
    "process": ProcessRecord,
    "span": SpanRecord,
    "version": VersionRecord,
    "read": ReadRecord,
    "edge": EdgeRecord,
    "outcome": OutcomeRecord,
    "decision": DecisionRecord,
    "call": CallRecord,
}
TAGS = {cls: tag for tag, cls in TYPES.items()}
_FIELDS = {cls: frozenset(one.name for one in fields(cls)) for cls in TAGS}


def to_dict(record: Record) -> dict[str, Any]:
    """The record as plain JSON values, with its type under "type"."""
    return {"type": TAGS[type(record)], **asdict(record)}


def from_dict(values: Mapping[str, Any]) -> Record:
    """The record that `to_dict` wrote; fields unknown to this version are ignored."""
    cls = TYPES[values["type"]]
    known = _FIELDS[cls]
    kept = {key: value for key, value in values.items() if key in known}
    if not isinstance(kept.get("attributes", {}), dict):
        raise TypeError("attributes are no mapping")
    if cls is ProcessRecord:
        kept["sources"] = [SourceRecord(**source) for source in kept.get("sources", [])]
    return cls(**kept)


@dataclass(slots=True)
class Seen:
    """A version of another run that a run read, and the stage of the work that wrote it."""

    version: VersionRecord
    stage: str | None


@dataclass(slots=True)
class RunRecords:
    """Everything the ledger knows of one root run: what summaries and lineage are computed from.

    version_numbers: by version id, 1, 2, ... within its URI. What it has from other runs: writers, the root run of each
    version that it read; producers, by a cached attempt's id, the root run and id of the attempt that made its result;
    seen, if it has outcomes, the versions that it read.
    """

    run_id: str
    processes: list[ProcessRecord] = field(default_factory=list)
    spans: list[SpanRecord] = field(default_factory=list)
    versions: list[VersionRecord] = field(default_factory=list)
    reads: list[ReadRecord] = field(default_factory=list)
    edges: list[EdgeRecord] = field(default_factory=list)
    outcomes: list[OutcomeRecord] = field(default_factory=list)
    decisions: list[DecisionRecord] = field(default_factory=list)
    version_numbers: dict[str, int] = field(default_factory=dict)
    writers: dict[str, str] = field(default_factory=dict)
    producers: dict[str, tuple[str, str]] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)

    @property
    def began_again(self) -> list[float]:
        """When it began again, each time: as one does that is retried, or was cleared.

        Of the lives of a run of no process only the first and the last are in its own span; its attempts know theirs.
        """
        first = [one.started_at for one in self.spans if one.kind == Kind.FLOW and one.flow_run_id == self.run_id]
        known = [one.attributes[LAST_BEGAN] for one in self.spans if LAST_BEGAN in one.attributes]
        return sorted({*first, *known})[1:]
