"""What `prune` folds away, and that no figure of what is left changes."""

import multiprocessing
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from e2s_tasks.core.records import OutcomeRecord, ProcessRecord, ReadRecord, SourceRecord, VersionRecord
from e2s_tasks.ledger import Ledger, retention
from e2s_tasks.reporter import summarise_run
from tests.lineage.test_laws import JOULES, runs
from tests.reporter.runs import RUN, full_run

DAY_S = 86400.0


def everything(records):
    parts = (records.processes, records.spans, records.versions, records.reads, records.edges, records.outcomes)
    return [record for part in (*parts, records.decisions) for record in part]


def figures(ledger, run_id):
    """What a run's summary says of its energy, its artifacts and its outcomes."""
    found = summarise_run(ledger, run_id)
    artifacts = [
        {key: one[key] for key in ("uri", "version", "produced_by", "lower_bound", "final", "bytes", "rows")}
        for one in found["artifacts"]
    ]
    joules = [[one["in_run_j"], one["attributed_j"]] for one in found["artifacts"]]
    steps = [
        (one["kind"], one["name"], one["status"], one["bytes_read"], one["bytes_written"])
        for one in found["steps"]
        if one["depth"] == 0 and one["kind"] != "span"
    ]
    energy = {key: one for key, one in found.items() if key.endswith(("_j", "energy")) or key == "kpis"}
    return {"artifacts": artifacts, "joules": joules, "steps": sorted(steps, key=str), "energy": energy}


def same(one, other):
    """Equal, floats to rounding, at any depth."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        [same(one[key], other[key]) for key in one]
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        [same(*pair) for pair in zip(one, other, strict=True)]
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-9, abs=1e-9)
    else:
        assert one == other


def described(ledger):
    with ledger._reading() as connection:
        return {
            table: connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY 1")).all()
            for table in ("span", "version", "read", "outcome", "edge", "pruned")
        }


@st.composite
def measured_runs(draw):
    """Random runs, with plain spans, gaps, outcomes and a second process in them."""
    records = draw(runs())
    records.processes = [ProcessRecord("p", "h", "b", 1, 1, 0.0, "share", [SourceRecord("cpu", "RAPL", "measured")])]
    for number in range(draw(st.integers(0, 12))):
        around = draw(st.sampled_from(records.spans))
        part = draw(st.floats(0.0, 1.0))
        at = around.started_at + part * (around.ended_at - around.started_at)
        inner = replace(
            around, id=f"inner{number}", kind="span", name=draw(st.sampled_from("xy")), status="completed",
            started_at=at, parent_id=around.id, cpu_j=draw(st.none() | JOULES), task_run_id=None, result_key=None,
            attributes={},
            process_id=draw(st.sampled_from(["p", "p", "q"])), stage=draw(st.sampled_from([None, None, "training"])),
        )  # fmt: skip
        records.spans.append(inner)
        if draw(st.booleans()):
            records.outcomes.append(OutcomeRecord(f"o{number}", "R", inner.id, at, "row", 10.0))
    return records


@pytest.mark.slow
@settings(max_examples=25)
@given(measured_runs())
def test_no_figure_of_any_run_changes_and_a_replay_brings_nothing_back(records):
    ledger = Ledger.open("sqlite://")
    ledger.ingest(everything(records))
    before = figures(ledger, "R")
    count = len(ledger.run("R").spans)
    assert ledger.prune(DAY_S, dry_run=True).spans == (done := ledger.prune(DAY_S)).spans
    assert len(ledger.run("R").spans) == count - done.spans
    same(before, figures(ledger, "R"))
    after = described(ledger)
    assert ledger.prune(DAY_S).spans == 0
    ledger.ingest([replace(one, seq=one.seq + 1) if one.id == "flow" else one for one in everything(records)])
    ledger.ingest(everything(records))
    assert described(ledger)["pruned"] == after["pruned"]
    same(before, figures(ledger, "R"))


def test_inner_spans_go_into_their_attempts_and_what_pointed_to_them_points_there(ledger, flow, span, version, read):
    used = {"parent_id": "a", "cpu_ns": 5, "bytes_read": 7}
    ledger.ingest(
        [
            flow("run-1", ended_at=9.0),
            span("a", at=1.0, ended_at=8.0, parent_id="flow-run-1", cpu_j=1.0, task_run_id="t"),
            span("in", "read", at=2.0, cpu_j=2.0, storage_j=0.5, **used),
            span("deep", "span", at=2.5, ended_at=2.6, cpu_j=4.0, parent_id="in"),
            span("out", "write", at=4.0, cpu_j=8.0, **used),
            VersionRecord("v", "file:///x", "out", "run-1", 5.0),
            ReadRecord("r", "file:///y", "in", "run-1", 2.0),
            OutcomeRecord("o", "run-1", "deep", 2.5, "rows", 3.0),
        ]
    )
    assert ledger.prune(DAY_S).spans == 3
    run = ledger.run("run-1")
    (kept,) = [one for one in run.spans if one.kind == "attempt"]
    assert len(run.spans) == 2
    assert (kept.cpu_j, kept.storage_j, kept.cpu_ns, kept.bytes_read) == (15.0, 0.5, 10, 14)
    assert kept.attributes == {"folded": 3}
    assert {run.versions[0].span_id, run.reads[0].span_id, run.outcomes[0].span_id} == {"a"}


def test_many_spans_of_a_flows_body_become_one_for_each_name(ledger, flow, span):
    body = [span(f"s{n}", "span", at=float(n), parent_id="flow-run-1", name="step", cpu_j=1.0) for n in range(100)]
    ledger.ingest([flow("run-1", ended_at=200.0, cpu_j=5.0), *body])
    assert ledger.prune(DAY_S).spans == 99
    top, one = ledger.run("run-1").spans
    assert (top.cpu_j, one.cpu_j, one.started_at, one.ended_at) == (5.0, 100.0, 0.0, 100.0)


@pytest.mark.parametrize("gap", [{"cpu_j": None}, {"cpu_j": 1.0, "attributes": {"gaps": ["cpu"]}}])
def test_what_has_a_gap_stays_as_it_is(ledger, flow, span, gap):
    ledger.ingest([flow("run-1"), span("a", ended_at=9.0, parent_id="flow-run-1", cpu_j=1.0)])
    ledger.ingest([span("b", "span", at=1.0, parent_id="a", **gap)])
    assert ledger.prune(DAY_S).spans == 0


def test_runs_that_go_on_or_ended_lately_are_left_alone(ledger, flow, span):
    now = time.time()
    for run, ended in (("goes-on", None), ("lately", now - 10.0)):
        status = "running" if ended is None else "completed"
        ledger.ingest(
            [flow(run, ended_at=ended, status=status), span(f"a-{run}", run=run, parent_id=f"flow-{run}", cpu_j=1.0)]
        )
        ledger.ingest([span(f"b-{run}", "span", run=run, at=0.5, ended_at=0.6, parent_id=f"a-{run}", cpu_j=1.0)])
    before = described(ledger)
    assert ledger.prune(DAY_S).runs == 0
    assert described(ledger) == before


def test_what_a_host_that_was_away_delivers_later_is_kept_and_folded_the_next_time(ledger, flow, span):
    old = [flow("run-1", ended_at=50.0), span("a", ended_at=9.0, parent_id="flow-run-1", cpu_j=1.0)]
    old += [span("b", "span", at=1.0, parent_id="a", cpu_j=2.0)]
    ledger.ingest(old)
    ledger.prune(DAY_S)
    late = [span("c", at=20.0, ended_at=30.0, cpu_j=4.0), span("d", "span", at=21.0, parent_id="c", cpu_j=8.0)]
    ledger.ingest([*old, *(replace(one, process_id="elsewhere") for one in late)])
    assert ledger.runs()[0].energy.cpu == 15.0
    assert ledger.prune(DAY_S).spans == 1
    ledger.ingest([*old, *(replace(one, process_id="elsewhere") for one in late)])
    assert ledger.runs()[0].energy.cpu == 15.0
    assert sorted(one.id for one in ledger.run("run-1").spans) == ["a", "c", "flow-run-1"]


def test_a_run_with_a_bit_of_everything_reads_the_same(ledger):
    records = full_run()
    for one in records.spans:
        if one.kind in ("read", "write", "span"):
            one.ended_at = one.started_at + 0.1
    ledger.ingest(everything(records))
    before = figures(ledger, RUN)
    assert ledger.prune(DAY_S).spans == 1  # of the others some component is a gap
    same(before, figures(ledger, RUN))


def test_an_sqlite_file_becomes_smaller(sqlite_url, span, flow):
    ledger = Ledger.open(sqlite_url)
    inner = [span(f"s{n}", "span", at=1.0, ended_at=1.5, parent_id="a", cpu_j=1.0) for n in range(5000)]
    ledger.ingest([flow("run-1"), span("a", ended_at=9.0, parent_id="flow-run-1", cpu_j=1.0), *inner])
    done = ledger.prune(DAY_S)
    assert done.size_after < done.size_before / 4
    assert Path(sqlite_url.removeprefix("sqlite:///")).stat().st_size == done.size_after


@pytest.fixture
def many(ledger, flow, span, monkeypatch):
    """Thirty old runs, of which a few are folded at a time."""
    monkeypatch.setattr(retention, "AT_ONCE", 20)
    for number in range(30):
        run = f"run-{number}"
        ledger.ingest(
            [flow(run, ended_at=50.0), span(f"a{run}", run=run, ended_at=9.0, parent_id=f"flow-{run}", cpu_j=1.0)]
        )
        inner = {"run": run, "at": 1.0, "parent_id": f"a{run}", "cpu_j": 0.1}
        ledger.ingest([span(f"b{run}-{n}", "span", **inner) for n in range(7)])
    return ledger


def joules(ledger):
    return {row.run_id: row.energy.cpu for row in ledger.runs(limit=None)}


def test_how_far_it_is_is_told_after_each_batch(many):
    told = []
    many.prune(DAY_S, told=lambda looked_at, of: told.append((looked_at, of)))
    assert told == [(14 * batch, 210) for batch in range(1, 16)]


@pytest.mark.parametrize("where", ["between two batches", "in the middle of one"])
def test_ctrl_c_loses_nothing_and_the_next_prune_goes_on(many, monkeypatch, where):
    before = joules(many)

    def struck(looked_at, of):
        if looked_at == 70:
            signal.raise_signal(signal.SIGINT)

    def struck_inside(*_):
        signal.raise_signal(signal.SIGINT)

    def told(looked_at, of):
        if looked_at == 70:
            monkeypatch.setattr(retention, "_mark", struck_inside)  # the last step of a batch

    with pytest.raises(KeyboardInterrupt):
        many.prune(DAY_S, told=struck if where == "between two batches" else told)
    monkeypatch.undo()
    assert len(many.spans(kind="span")) == 140
    assert joules(many) == pytest.approx(before, rel=1e-12)
    assert many.prune(DAY_S).spans == 140
    assert joules(many) == pytest.approx(before, rel=1e-12)


def _replay(url, barrier, records, times):
    ledger = Ledger.open(url)
    barrier.wait(30)
    for _ in range(times):
        ledger.ingest(records)


@pytest.mark.slow
def test_writers_that_replay_at_the_same_time_lose_and_bring_back_nothing(url, flow, span):
    ledger = Ledger.open(url)
    records = []
    for number in range(60):
        run = f"run-{number}"
        records += [flow(run, cpu_j=1.0), span(f"a{number}", run=run, ended_at=9.0, parent_id=f"flow-{run}", cpu_j=1.0)]
        records += [
            span(f"b{number}-{n}", "span", run=run, at=1.0, parent_id=f"a{number}", cpu_j=1.0) for n in range(10)
        ]
    ledger.ingest(records)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    writers = [context.Process(target=_replay, args=(url, barrier, records, 5)) for _ in range(2)]
    [writer.start() for writer in writers]
    barrier.wait(30)
    done = ledger.prune(DAY_S)
    [writer.join(60) for writer in writers]
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert done.spans == 600
    rows = ledger.runs(limit=None)
    assert {(row.spans, row.energy.cpu) for row in rows} == {(2, 12.0)}
    assert len(rows) == 60


def test_a_write_that_kept_files_stays_so_that_these_go_into_its_version_alone(ledger, span, flow):
    write = {"kind": "write", "parent_id": "append", "ended_at": 2.0, "cpu_j": 1.0}
    ledger.ingest(
        [
            flow("run-1"),
            span("january", at=0.1, ended_at=0.5, parent_id="flow-run-1", cpu_j=40.0, task_run_id="january"),
            span("append", at=1.0, ended_at=9.0, parent_id="flow-run-1", cpu_j=10.0, task_run_id="append"),
            span("w1", at=1.5, **write),
            span("w2", at=1.6, **write),
            VersionRecord("old", "file:///set", "january", "run-1", 0.4),
            ReadRecord("kept", "file:///set", "w1", "run-1", 1.9),
            VersionRecord("new", "file:///set", "w1", "run-1", 2.0),
            VersionRecord("report", "file:///report", "w2", "run-1", 2.1),
        ]
    )
    before = figures(ledger, "run-1")
    ledger.prune(DAY_S)
    same(before, figures(ledger, "run-1"))
    report = next(one for one in summarise_run(ledger, "run-1")["artifacts"] if one["uri"] == "file:///report")
    assert report["in_run_j"] < 20.0
