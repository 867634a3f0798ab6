"""Runs written down by hand: the records that a measured run leaves, in as few words as possible."""

from e2s_tasks.core.records import EdgeRecord, ReadRecord, RunRecords, SpanRecord, VersionRecord


class Run:
    """A root flow run under construction. Every call takes the next second of its clock.

    The ids of spans and task runs are their names; those of another run than "R" begin with its id.
    """

    def __init__(self, flow_j: float | None = 0.0, run_id: str = "R") -> None:
        self.run_id = run_id
        self.mark = "" if run_id == "R" else f"{run_id}/"
        self.records = RunRecords(run_id)
        self.clock = 0.0
        self.flow = self.span("flow", "flow", flow_j, flow_run_id=run_id, span_id=f"{self.mark}flow", parent=None)

    def span(self, kind, name, joules, *, parent="flow", span_id=None, seconds=1.0, status="completed", **fields):
        start = fields.pop("at", self.clock)
        self.clock = max(self.clock, start + seconds)
        fields.setdefault("flow_run_id", self.run_id)
        record = SpanRecord(
            id=span_id or f"{self.mark}{name}-{len(self.records.spans)}", seq=1, process_id="p", run_id=self.run_id,
            kind=kind, name=name, status=status, started_at=start, ended_at=start + seconds, cpu_j=joules,
            parent_id=f"{self.mark}flow" if parent == "flow" else parent, **fields,
        )  # fmt: skip
        self.records.spans.append(record)
        return record.id

    def task(self, name, joules, *, parent="flow", task_run=None, **fields):
        return self.span("attempt", name, joules, parent=parent, task_run_id=task_run or self.mark + name, **fields)

    def write(self, uri, *, by, size=1, at=None, joules=0.0, seen=True):
        """seen: whether somebody has looked at its files; else its name alone is known."""
        span = self.span("write", f"write {uri}", joules, parent=by, **({} if at is None else {"at": at}))
        number = len(self.records.versions)
        version = VersionRecord(
            f"{uri}@{self.mark}{number}", uri, span, self.run_id, self.records.spans[-1].ended_at,
            bytes=size if seen else None, files=1, written=[["", size, number]] if seen else None,
        )  # fmt: skip
        self.records.versions.append(version)
        return version.id

    def read(self, version, *, by, joules=0.0, files=None):
        uri = "external" if version is None else version.partition("@")[0]
        span = self.span("read", f"read {uri}", joules, parent=by)
        number = len(self.records.reads)
        self.records.reads.append(
            ReadRecord(f"{self.mark}r{number}", uri, span, self.run_id, self.clock, version, files)
        )

    def keep(self, version, *, of, files=None):
        """The write of the version `of` kept files of an earlier version; files: which, as far as that is known.

        Of a version that is known by its name alone nobody can say so.
        """
        span = next(one.span_id for one in self.records.versions if one.id == of and one.written is not None)
        uri = of.partition("@")[0]
        number = len(self.records.reads)
        self.records.reads.append(
            ReadRecord(f"{self.mark}r{number}", uri, span, self.run_id, self.clock, version, files)
        )

    def pass_on(self, upstream, downstream):
        number = f"{self.mark}{upstream}>{downstream}"
        self.records.edges.append(EdgeRecord(number, self.run_id, self.mark + upstream, self.mark + downstream))
