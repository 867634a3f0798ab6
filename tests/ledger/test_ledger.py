import sqlite3
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2s_tasks.core.energy import Energy
from e2s_tasks.core.records import (
    CallRecord,
    DecisionRecord,
    EdgeRecord,
    Kind,
    OutcomeRecord,
    ProcessRecord,
    RunRecords,
    SourceRecord,
    SpanRecord,
    Status,
)
from e2s_tasks.errors import LedgerError, NotFoundError
from e2s_tasks.ledger import Ledger


def test_what_goes_in_comes_out(ledger, flow, span, version, read):
    sources = [SourceRecord("cpu", "model", "modelled", 0.5, 2.0, "TDP 65 W")]
    given = RunRecords(
        "run-1",
        processes=[ProcessRecord("p", "host", "boot", 1, 2, 3.0, "share", sources)],
        spans=[flow("run-1", cpu_j=1.0), span("a", at=1.0, parent_id="flow-run-1", gpu_j=0.25, rows=3)],
        versions=[version("file:///x", 5.0)],
        reads=[read("file:///x", 6.0, version_id="file:///x@5.0")],
        edges=[EdgeRecord("e", "run-1", "t1", "t2")],
        outcomes=[OutcomeRecord("o", "run-1", "a", 7.0, "forecasts", 10.0, accurate=8.0, quality={"auc": 0.7})],
        decisions=[DecisionRecord("d", "run-1", 0.5, "GB", "average", "trace", "now is best", plan={"slots": [1, 2]})],
    )
    everything = [given.processes, given.spans, given.versions, given.reads, given.edges, given.outcomes]
    ledger.ingest(record for part in (*everything, given.decisions) for record in part)
    assert ledger.run("run-1") == replace(given, version_numbers={"file:///x@5.0": 1})


def test_enumerations_are_kept_as_plain_text(ledger, span):
    ledger.ingest([span("a", Kind.SPAN, status=Status.FAILED, flow_run_id=None)])
    assert type(ledger.run("run-1").spans[0].status) is str
    assert ledger.runs()[0].status == "failed"


def test_only_a_higher_sequence_number_replaces_a_span(ledger, span):
    first, second = span("a", seq=3, cpu_j=3.0), span("a", seq=2, cpu_j=2.0)
    ledger.ingest([first])
    ledger.ingest([second, replace(first, cpu_j=99.0)])
    assert [one.cpu_j for one in ledger.run("run-1").spans] == [3.0]
    ledger.ingest([replace(first, seq=4, cpu_j=4.0), first])
    assert [one.cpu_j for one in ledger.run("run-1").spans] == [4.0]


def _dag_run(seq, status, at, solution):
    return SpanRecord("root", seq, "run-1", "run-1", "flow", "d", status, at, flow_run_id="run-1", solution=solution)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("in_order", [True, False])
def test_a_run_that_several_processes_tell_of_keeps_its_first_start_and_its_solution(ledger, together, in_order):
    told = [
        _dag_run(1, "running", 20.0, None),
        _dag_run(2, "running", 10.0, "delays"),
        _dag_run(3, "completed", 15.0, None),
    ]
    told = told if in_order else told[::-1]
    for records in [told] if together else [[one] for one in told]:
        ledger.ingest(records)
    (found,) = ledger.run("run-1").spans
    assert (found.status, found.started_at, found.solution) == ("completed", 10.0, "delays")
    ledger.ingest([_dag_run(4, "completed", 15.0, "renamed")])
    assert ledger.run("run-1").spans[0].solution == "renamed"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=12), st.integers(1, 4))
def test_replaying_records_in_any_portions_changes_nothing(ledger, entries, portion):
    run = uuid4().hex
    records = [
        SpanRecord(run + name, seq, "p", run, "span", name, "completed", 0.0, cpu_j=float(seq)) for name, seq in entries
    ]
    for start in range(0, len(records), portion):
        ledger.ingest(records[start : start + portion])
    ledger.ingest(records)
    highest = {name: max(seq for other, seq in entries if other == name) for name, _ in entries}
    assert {one.name: one.seq for one in (ledger.run(run).spans if entries else [])} == highest


def test_a_thousand_records_reach_sqlite_in_few_statements_since_a_busy_thread_gets_in_at_each(tmp_path, span):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    statements = []

    @sa.event.listens_for(ledger._engine, "before_cursor_execute")
    def count(connection, cursor, statement, parameters, context, executemany):
        statements.extend([statement] * (len(parameters) if executemany else 1))

    ledger.ingest([replace(span("flow"), id="flow"), *(span(f"{n}", parent_id="flow") for n in range(1_000))])
    assert len(statements) < 20
    assert {one.name for one in ledger.run("run-1").spans} == {"flow", *map(str, range(1_000))}


def test_a_sqlite_that_takes_few_values_a_statement_gets_as_many_rows(tmp_path, span):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")

    @sa.event.listens_for(ledger._engine, "connect")
    def as_before_3_32(connection, record):
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)

    ledger.ingest([replace(span("flow"), id="flow"), *(span(f"{n}", parent_id="flow") for n in range(100))])
    assert len(ledger.run("run-1").spans) == 101


def test_a_refused_record_leaves_nothing_behind(ledger, span):
    with pytest.raises(LedgerError, match=r"/ledger"):
        ledger.ingest([span("a"), replace(span("b"), name=None)])
    assert ledger.runs() == []


def test_runs_come_newest_first_with_their_whole_energy(ledger, flow, span):
    ledger.ingest(
        [
            flow("run-1", at=0.0, cpu_j=1.0),
            span("a", at=1.0, parent_id="flow-run-1", cpu_j=10.0, storage_j=0.5),
            flow("run-2", at=50.0, cpu_j=2.0, solution="delay-forecast"),
            span("alone", run="alone", at=20.0, flow_run_id=None, cpu_j=7.0),
        ]
    )
    rows = ledger.runs()
    assert [row.run_id for row in rows] == ["run-2", "alone", "run-1"]
    assert rows[2].energy == Energy(cpu=11.0, storage=0.5)
    assert (rows[0].name, rows[0].flow_run_name, rows[0].solution) == ("delays", "name-of-run-2", "delay-forecast")
    assert rows[2].spans == 2
    assert [row.run_id for row in ledger.runs(limit=1)] == ["run-2"]
    assert [row.run_id for row in ledger.runs(since=20.0)] == ["run-2", "alone"]


def test_those_of_some_runs_that_are_known_come_at_a_glance_in_the_order_asked_for(ledger, flow):
    ledger.ingest([flow("one"), flow("two")])
    rows = ledger.runs()
    by_id = {row.run_id: row for row in rows}
    asked = [*(row.run_id for row in rows[::-1]), "no such run"]
    assert ledger.known_runs(asked) == [by_id[run_id] for run_id in asked[:-1]]
    assert ledger.known_runs([]) == []


def test_a_flow_run_with_several_process_lives_is_one_run_with_the_last_ones_status(ledger, flow):
    ledger.ingest(
        [
            flow("run-1", at=0.0, status="crashed"),
            flow("run-1", at=100.0, id="second", status="completed", ended_at=170.0),
        ]
    )
    [row] = ledger.runs()
    assert (row.started_at, row.ended_at, row.status) == (0.0, 170.0, "completed")


def test_what_other_processes_recorded_under_a_subflow_belongs_to_the_root_run(ledger, flow, span):
    ledger.ingest(
        [
            flow("root"),
            span("sub", "flow", "root", 1.0, flow_run_id="S", parent_id="flow-root"),
            span("far", run="S", at=2.0, cpu_j=5.0),
            span("deep", "flow", "S", 3.0, flow_run_id="T", parent_id="far"),
            span("deepest", run="T", at=4.0, cpu_j=6.0),
            span("elsewhere", run="root", at=5.0),
        ]
    )
    parents = {one.id: one.parent_id for one in ledger.run("root").spans}
    assert parents == {
        "flow-root": None, "sub": "flow-root", "far": "sub", "deep": "far", "deepest": "deep", "elsewhere": "flow-root",
    }  # fmt: skip
    [row] = ledger.runs()
    assert row.energy.cpu == 11.0
    assert ledger.find_run("T") == "root"


def test_work_goes_to_the_life_of_its_flow_run_that_had_begun(ledger, flow, span):
    ledger.ingest(
        [flow("run-1", at=0.0), flow("run-1", at=10.0, id="second"), span("early", at=5.0), span("late", at=11.0)]
    )
    parents = {one.id: one.parent_id for one in ledger.run("run-1").spans}
    assert (parents["early"], parents["late"], parents["second"]) == ("flow-run-1", "second", None)


def test_a_run_is_found_by_its_id_the_start_of_it_its_name_or_as_the_latest(ledger, flow):
    ledger.ingest([flow("abc-1", 0.0, run_name="happy-cat"), flow("abd-2", 1.0, run_name="sad-dog")])
    assert [ledger.find_run(text) for text in ("abc-1", "abc", "happy-cat", None)] == ["abc-1"] * 3 + ["abd-2"]


def test_an_unknown_or_ambiguous_run_comes_with_suggestions(ledger, flow):
    ledger.ingest([flow("abc-1", 0.0, run_name="happy-cat"), flow("abd-2", 1.0, run_name="sad-dog")])
    with pytest.raises(NotFoundError, match="'hapy-cat'") as caught:
        ledger.find_run("hapy-cat")
    assert caught.value.suggestions == ("happy-cat",)
    with pytest.raises(NotFoundError, match="2 runs") as caught:
        ledger.find_run("ab")
    assert caught.value.suggestions == ("abd-2", "abc-1")  # the newest first
    for text in ("", "100%", "_bc"):
        with pytest.raises(NotFoundError):
            ledger.find_run(text)
    with pytest.raises(NotFoundError):
        ledger.run("nothing")


def test_an_empty_ledger_says_how_to_get_a_run(ledger):
    assert ledger.runs() == []
    with pytest.raises(NotFoundError, match="@e2s_flow"):
        ledger.find_run()


def test_versions_are_numbered_over_all_runs(ledger, flow, version):
    ledger.ingest([flow("run-1"), flow("run-2")])
    ledger.ingest([version("file:///x", 2.0, run="run-2"), version("file:///x", 1.0), version("file:///y", 3.0)])
    assert [one.created_at for one in ledger.versions("file:///x")] == [1.0, 2.0]
    assert ledger.run("run-2").version_numbers["file:///x@2.0"] == 2


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.booleans()), unique_by=lambda one: one[:2]
    ).flatmap(st.permutations)
)
def test_however_many_versions_are_asked_for_each_has_its_rank_among_those_of_its_artifact(ledger, version, entries):
    mark = uuid4().hex
    ledger.ingest([version(f"{mark}/{name}", float(at), f"{mark} {name}{at}") for name, at, _ in entries])
    asked = {f"{mark} {name}{at}": (name, at) for name, at, wanted in entries if wanted}
    rank = {one: sum(name == other and then <= at for other, then, _ in entries) for one, (name, at) in asked.items()}
    assert ledger.version_numbers(asked) == rank


def test_versions_of_one_time_are_numbered_by_their_ids(ledger, version):
    ledger.ingest([version("file:///x", 1.0, name) for name in "bdac"])
    assert ledger.version_numbers(["d", "b"]) == {"b": 2, "d": 4}


def test_an_artifact_is_found_by_its_uri_its_path_or_the_unique_end_of_either(ledger, version, tmp_path):
    here = (tmp_path / "a b" / "features.parquet").as_uri()
    ledger.ingest([version(here, 1.0), version("s3://bucket/model.skops", 1.0), version("s3://other/model.skops", 1.0)])
    assert ledger.find_artifact(here) == here
    assert ledger.find_artifact(str(tmp_path / "a b" / "features.parquet")) == here
    roundabout = f"{tmp_path}/../{tmp_path.name}/a b/features.parquet"
    assert {ledger.find_artifact(name) for name in (roundabout, f"file://{roundabout}", f"file:{roundabout}")} == {here}
    (tmp_path / "link").symlink_to(tmp_path / "a b")
    assert ledger.find_artifact(str(tmp_path / "link" / "features.parquet")) == here
    assert ledger.find_artifact("features.parquet") == here
    assert ledger.find_artifact("bucket/model.skops") == "s3://bucket/model.skops"
    with pytest.raises(NotFoundError, match="2 artifacts") as caught:
        ledger.find_artifact("model.skops")
    assert len(caught.value.suggestions) == 2
    with pytest.raises(NotFoundError) as caught:
        ledger.find_artifact("feature.parquet")
    assert caught.value.suggestions == (here,)


def test_a_read_saw_the_last_version_of_the_uri_or_of_the_data_set_that_holds_it(ledger, flow, version, read):
    part = "file:///x/features.parquet/month=1/part.parquet"
    ledger.ingest([flow("run-1"), version("file:///x/features.parquet", 1.0, "v1"), version(part, 3.0, "v2")])
    ledger.ingest([version("file:///x/features.parquet", 5.0, "v3"), version("file:///x/feat", 6.0, "no")])
    ledger.ingest([read(part, at) for at in (0.5, 2.0, 4.0, 6.0)])
    ledger.ingest([read("file:///elsewhere", 9.0), read("file:///x/features.parquet/", 2.0)])
    seen = {(one.uri, one.at): one.version_id for one in ledger.run("run-1").reads}
    assert [seen[part, at] for at in (0.5, 2.0, 4.0, 6.0)] == [None, "v1", "v2", "v3"]
    assert seen["file:///elsewhere", 9.0] is None
    assert seen["file:///x/features.parquet/", 2.0] == "v1"
    assert ledger.latest_version(part).id == "v3"
    assert ledger.latest_version(part, before=2.0).id == "v1"
    assert ledger.latest_version("file:///elsewhere") is None


def test_the_attempts_that_once_produced_a_cached_result_are_found(ledger, span):
    made = {"result_key": "k", "cpu_j": 5.0}
    ledger.ingest(
        [
            span("first", at=0.0, **made),
            span("failed", at=5.0, status="failed", **made),
            span("again", run="run-2", at=9.0, status="cached", result_key="k"),
            span("own", run="run-2", at=10.0, **made),
        ]
    )
    assert [one.id for one in ledger.producers("k")] == ["first", "own"]
    assert ledger.producers("other") == []


def test_a_read_of_a_data_set_whose_parts_were_written_one_by_one_saw_each_of_them(ledger, flow, version, read):
    ledger.ingest([flow("run-1"), version("file:///x/set/month=1", 2.0, "p1")])
    ledger.ingest([version("file:///x/set/month=2", 3.0, "p2")])
    ledger.ingest([version("file:///x/settle", 3.0, "no"), version("file:///x/set/month=1", 9.0, "later")])
    ledger.ingest([read("file:///x/set", 1.0), read("file:///x/set", 5.0)])
    assert [(one.at, one.version_id) for one in ledger.run("run-1").reads] == [(1.0, None), (5.0, "p1"), (5.0, "p2")]
    ledger.ingest([version("file:///x/set", 2.5, "whole")])
    assert [one.version_id for one in ledger.run("run-1").reads] == [None, "whole", "p2"]
    assert len({one.id for one in ledger.run("run-1").reads}) == 3


def test_values_that_no_database_takes_are_kept_as_near_as_can_be(ledger, span):
    odd = span("a", name="bad \udc80 and \0", rows=2**70, attributes={"n\udc80": ["\0", 2**80, True]})
    ledger.ingest([odd])
    (kept,) = ledger.run("run-1").spans
    assert kept.name == "bad ? and ?"
    assert kept.rows == 2**63 - 1
    assert kept.attributes == {"n?": ["?", 2**63 - 1, True]}


def test_values_of_another_kind_than_their_column_hold_up_no_other_record(ledger, flow, span, version):
    odd = replace(version("https://h/x", 5.0), format=["a", {"b": 1}], bytes="many", rows=2.0)
    one = replace(flow("run-1", cpu_j=float("inf")), attributes={"x": float("nan")})
    ledger.ingest([one, span("a", dram_j="1"), odd])
    run = ledger.run("run-1")
    (kept,) = run.versions
    assert (kept.format, kept.bytes, kept.rows) == ("['a', {'b': 1}]", None, 2)
    assert {(one.id, one.cpu_j, one.dram_j) for one in run.spans} == {("flow-run-1", None, None), ("a", None, None)}
    assert next(one.attributes for one in run.spans if one.kind == Kind.FLOW) == {"x": None}


def test_the_runs_of_a_period_come_with_their_subflows_and_what_others_started_for_them(ledger, flow, span):
    ledger.ingest([
        flow("early", at=1.0),
        flow("late", at=10.0, seq=2),
        span("work", run="late", at=11.0, parent_id="flow-late", cpu_j=2.0, attributes={"gaps": ["dram"]}),
        span("plain", run="late", at=12.0, parent_id="flow-late", cpu_j=3.0, attributes={"task_run_name": "plain-1"}),
        span("started", "flow", run="called", at=13.0),
        CallRecord("called", "late", None),
        ProcessRecord("p", "host", "boot", 1, 1, 0.0, "dedicated", [SourceRecord("cpu", "RAPL", "measured")]),
        DecisionRecord("d", "late", 9.0, "average", "trace", "now", "GB", plan={"slots": [[0.0, 20.0, 100.0]]}),
    ])  # fmt: skip
    (found,) = ledger.in_brief(ledger.period(5.0))
    whole = ledger.run("late")
    assert (found.run_id, found.decisions, found.processes) == ("late", whole.decisions, whole.processes)
    assert [(one.id, one.parent_id, one.energy, one.status) for one in found.spans] == [
        (one.id, one.parent_id, one.energy, one.status) for one in whole.spans
    ]
    assert {one.id: one.attributes for one in found.spans} == {
        "flow-late": {"flow_run_name": "name-of-late"}, "work": {"gaps": ["dram"]}, "plain": {}, "started": {},
    }  # fmt: skip
    assert ledger.period(50.0) == []


def test_a_file_takes_in_at_the_end_of_a_block_what_was_written_in_it_and_not_at_each_write(sqlite_url, flow, span):
    ledger, log = Ledger.open(sqlite_url), Path(f"{sqlite_url.removeprefix('sqlite:///')}-wal")
    ledger.ingest([flow("run-1")])
    assert not log.exists()
    with ledger.kept_open():
        ledger.ingest([span("a")])
        assert log.stat().st_size
        assert Ledger.open(sqlite_url).run("run-1").spans  # which others see at once, and may add to
        Ledger.open(sqlite_url).ingest([span("b")])
    assert not log.exists()
    assert {one.id for one in ledger.run("run-1").spans} >= {"a", "b"}
