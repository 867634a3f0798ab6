"""Runs written down by hand: the records that a measured run leaves, in as few words as possible."""

from e2s_tasks.core.records import EdgeRecord, ReadRecord, RunRecords, SpanRecord, VersionRecord


class Run:
    """A root flow run under construction. Every call takes the next second of its clock."""

    def __init__(self, flow_j: float | None = 0.0, run_id: str = "R") -> None:
        self.records = RunRecords(run_id)
        self.clock = 0.0
        self.flow = self.span("flow", "flow", flow_j, flow_run_id=run_id, span_id="flow", parent=None)

    def span(self, kind, name, joules, *, parent="flow", span_id=None, seconds=1.0, status="completed", **fields):
        start = fields.pop("at", self.clock)
        self.clock = max(self.clock, start + seconds)
        fields.setdefault("flow_run_id", "R")
        record = SpanRecord(
            id=span_id or f"{name}-{len(self.records.spans)}", seq=1, process_id="p", run_id="R", kind=kind, name=name,
            status=status, started_at=start, ended_at=start + seconds, parent_id=parent, cpu_j=joules, **fields,
        )  # fmt: skip
        self.records.spans.append(record)
        return record.id

    def task(self, name, joules, *, parent="flow", task_run=None, **fields):
        return self.span("attempt", name, joules, parent=parent, task_run_id=task_run or name, **fields)

    def write(self, uri, *, by, size=1, at=None, joules=0.0):
        span = self.span("write", f"write {uri}", joules, parent=by, **({} if at is None else {"at": at}))
        record = self.records.spans[-1]
        version = VersionRecord(f"{uri}@{len(self.records.versions)}", uri, span, "R", record.ended_at, bytes=size)
        self.records.versions.append(version)
        return version.id

    def read(self, version, *, by, joules=0.0):
        uri = "external" if version is None else version.partition("@")[0]
        span = self.span("read", f"read {uri}", joules, parent=by)
        self.records.reads.append(ReadRecord(f"r{len(self.records.reads)}", uri, span, "R", self.clock, version))

    def pass_on(self, upstream, downstream):
        self.records.edges.append(EdgeRecord(f"{upstream}>{downstream}", "R", upstream, downstream))
