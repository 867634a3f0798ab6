"""Which version a read saw, by the files that it opened; and where reused results are from."""

import pytest

from e2s_tasks.core.records import LAST_BEGAN, ReadRecord, VersionRecord


@pytest.fixture
def written(ledger, flow):
    """Writes a version of the data set: which files of which stamp it made, and of how many it then consists."""
    ledger.ingest([flow("run-1")])

    def write(id, at, made, files=None, uri="file:///d/set", run="run-1"):  # noqa: A002
        files_made = [[path, 1, stamp] for path, stamp in made.items()]
        one = VersionRecord(id, uri, "w", run, at, bytes=1, files=files or len(files_made), written=files_made)
        ledger.ingest([one])
        return id

    return write


@pytest.fixture
def seen(ledger, flow):
    """The versions that a read saw, newest first; None stands for what no measured write explains."""
    number = 0

    def read(at, opened, uri="file:///d/set"):
        nonlocal number
        number += 1
        files = None if opened is None else [[path, 1, stamp] for path, stamp in opened.items()]
        record = ReadRecord(f"read-{number}", uri, "r", f"reader-{number}", at, files=files)
        ledger.ingest([flow(f"reader-{number}"), record])
        return [one.version_id for one in ledger.run(f"reader-{number}").reads]

    return read


def test_a_read_depends_on_the_versions_of_the_files_that_it_opened(written, seen):
    january = written("january", 1.0, {"m=1/a": 10})
    february = written("february", 2.0, {"m=2/b": 20}, files=2)
    assert seen(3.0, {"m=1/a": 10}) == [january]
    assert seen(3.0, {"m=2/b": 20}) == [february]
    assert seen(3.0, {"m=1/a": 10, "m=2/b": 20}) == [february, january]
    assert seen(3.0, {}) == []


def test_a_partition_that_was_replaced_is_no_longer_of_the_old_version(written, seen):
    written("first", 1.0, {"m=1/a": 10, "m=2/b": 11})
    second = written("second", 2.0, {"m=1/c": 20}, files=2)
    assert seen(3.0, {"m=1/c": 20}) == [second]
    assert seen(3.0, {"m=1/c": 20, "m=2/b": 11}) == [second, "first"]


def test_a_version_that_replaced_everything_explains_no_file_of_the_one_before(written, seen):
    written("first", 1.0, {"a": 10})
    written("second", 2.0, {"b": 20})
    assert seen(3.0, {"a": 10}) == [None]


def test_a_file_that_was_changed_since_by_somebody_else_is_external(written, seen):
    version = written("first", 1.0, {"a": 10, "b": 10})
    assert seen(2.0, {"a": 99}) == [None]
    assert seen(2.0, {"a": 99, "b": 10}) == [version, None]
    assert seen(2.0, {"a": None}) == [version]


def test_a_file_that_no_measured_write_made_is_external(written, seen):
    version = written("first", 1.0, {"a": 10}, files=2)
    assert seen(2.0, {"a": 10, "stray": 5}) == [version, None]


def test_a_single_file_is_its_last_version(written, seen):
    written("first", 1.0, {"": 10}, uri="file:///d/model")
    second = written("second", 2.0, {"": 20}, uri="file:///d/model")
    assert seen(3.0, {"": 20}, uri="file:///d/model") == [second]
    assert seen(1.5, {"": 10}, uri="file:///d/model") == ["first"]


def test_a_file_of_a_data_set_is_explained_by_the_data_set_and_the_other_way_round(written, seen):
    whole = written("whole", 1.0, {"m=1/a": 10})
    part = written("part", 2.0, {"": 20}, uri="file:///d/set/m%3D2/b")
    assert seen(3.0, {"": 10}, uri="file:///d/set/m%3D1/a") == [whole]
    assert seen(3.0, {"m=1/a": 10, "m=2/b": 20}) == [part, whole]


def test_a_version_whose_files_are_not_known_explains_all_that_lie_in_it(ledger, written, seen):
    ledger.ingest([VersionRecord("old", "file:///d/set", "w", "run-1", 1.0, bytes=1)])
    assert seen(2.0, {"a": 10, "b": 20}) == ["old"]
    assert seen(2.0, None) == ["old"]


def test_a_run_reads_its_own_under_a_name_that_another_run_wrote_meanwhile(ledger, flow, span):
    ledger.ingest([flow("one"), flow("two"), span("inner", "flow", "one", 0.5, flow_run_id="child")])
    name = "s3://b/table"
    for id_, run, at in [("a", "one", 1.0), ("b", "child", 2.0), ("c", "two", 3.0), ("d", "one", 9.0)]:
        ledger.ingest([VersionRecord(id_, name, "w", run, at, files=1)])
    for run in ("one", "two", "three"):
        ledger.ingest([flow(run), ReadRecord(f"r-{run}", name, "r", run, 4.0)])
    ledger.ingest([ReadRecord("r-early", name, "r", "two", 2.5)])
    seen = {read.id: read.version_id for run in ("one", "two", "three") for read in ledger.run(run).reads}
    assert seen == {"r-one": "b", "r-two": "c", "r-three": "c", "r-early": "b"}


def test_a_run_that_was_cleared_reads_what_a_later_run_has_written_under_a_name_since(ledger, flow, span):
    ledger.ingest([flow("one"), span("again", run="one", at=5.0, attributes={LAST_BEGAN: 5.0}), flow("two")])
    for id_, run, at in [("a", "one", 1.0), ("b", "two", 3.0), ("c", "one", 7.0), ("d", "two", 8.0)]:
        ledger.ingest([VersionRecord(id_, "s3://b/table", "w", run, at, files=1)])
    ledger.ingest([ReadRecord(f"r-{at}", "s3://b/table", "r", "one", at) for at in (2.0, 4.0, 6.0, 9.0)])
    seen = {read.at: read.version_id for read in ledger.run("one").reads}
    assert seen == {2.0: "a", 4.0: "a", 6.0: "b", 9.0: "c"}


def test_a_flow_run_that_begins_again_reads_what_was_written_under_a_name_last(ledger, flow):
    ledger.ingest([flow("one"), flow("one", 5.0, id="second life"), flow("two")])
    for id_, run, at in [("a", "one", 1.0), ("b", "two", 3.0)]:
        ledger.ingest([VersionRecord(id_, "s3://b/table", "w", run, at, files=1)])
    ledger.ingest([ReadRecord("r", "s3://b/table", "r", "one", 6.0), ReadRecord("q", "s3://b/alone", "r", "one", 6.0)])
    ledger.ingest([VersionRecord("own", "s3://b/alone", "w", "one", 1.0, files=1)])
    assert {read.id: read.version_id for read in ledger.run("one").reads} == {"r": "b", "q": "own"}


def test_what_a_run_has_looked_at_itself_is_as_old_as_it_is(ledger, flow):
    ledger.ingest([flow("one"), flow("two")])
    ledger.ingest([VersionRecord("seen", "s3://b/t", "w", "one", 1.0, files=1, written=[["", 1, 1]])])
    ledger.ingest([VersionRecord("named", "s3://b/t", "w", "two", 2.0, files=1)])
    ledger.ingest([ReadRecord("r", "s3://b/t", "r", "one", 3.0)])
    assert [one.version_id for one in ledger.run("one").reads] == ["named"]


def test_versions_of_other_runs_come_with_their_root_run(ledger, flow, span, written):
    version = written("first", 1.0, {"a": 10}, run="child")
    ledger.ingest([span("inner", "flow", "run-1", 0.5, flow_run_id="child")])
    ledger.ingest([flow("late"), ReadRecord("r", "file:///d/set", "r", "late", 2.0, files=[["a", 1, 10]])])
    assert ledger.run("late").writers == {version: "run-1"}


def test_a_reused_result_comes_from_the_last_attempt_before_it_that_had_made_it(ledger, flow, span):
    ledger.ingest([flow("one"), flow("two"), flow("three")])
    ledger.ingest(
        [
            span("first", run="one", at=1.0, result_key="k"),
            span("again", run="two", at=5.0, result_key="k"),
            span("early", run="three", at=3.0, result_key="k", status="cached"),
            span("late", run="three", at=9.0, result_key="k", status="cached"),
            span("never", run="three", at=9.0, result_key="other", status="cached"),
        ]
    )
    assert ledger.run("three").producers == {"early": ("one", "first"), "late": ("two", "again")}


def test_many_runs_are_loaded_at_once_and_those_that_are_gone_left_out(ledger, flow):
    ledger.ingest([flow("one"), flow("two")])
    assert {run.run_id for run in ledger.loader()(["one", "two", "gone"], 0)} == {"one", "two"}
