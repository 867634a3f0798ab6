"""Measured I/O and declared artifacts, with the real recorder."""

import os
import re
import time
import warnings

import pyarrow as pa
import pytest
from pyarrow import parquet

import e2s_tasks
from e2s_tasks import record_artifact, record_input, span
from e2s_tasks.core.records import Kind, ReadRecord, VersionRecord
from e2s_tasks.errors import SettingError
from e2s_tasks.io import moved, read_parquet, scan_parquet, write_parquet
from e2s_tasks.recorder import artifacts
from e2s_tasks.recorder.artifacts import outlet_versions
from e2s_tasks.recorder.guard import MeteringWarning, _warned


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.fixture
def stored(tmp_path):
    parquet.write_table(pa.table({"x": list(range(4000))}), tmp_path / "f.parquet", row_group_size=1000)
    return tmp_path / "f.parquet"


def test_what_the_caller_does_between_batches_is_not_the_reads(recorded, stored):
    with span("outer"):
        for _ in scan_parquet(stored, batch_size=1000):
            burn(0.05)
    spans = recorded.spans()
    read, outer = spans["read f.parquet"], spans["outer"]
    assert (read.kind, read.status, read.parent_id, read.rows) == (Kind.READ, "completed", outer.id, 4000)
    assert read.cpu_ns < 0.1e9 < 0.2e9 <= outer.cpu_ns


def test_making_batches_is_not_the_writes_and_a_scan_inside_one_has_its_own(recorded, stored):
    def slow(batches):
        for batch in batches:
            burn(0.05)
            yield batch

    with span("outer"):
        batches = scan_parquet(stored, batch_size=1000)
        write_parquet(slow(batches), stored.with_name("g.parquet"))
    spans = recorded.spans()
    assert spans["write g.parquet"].cpu_ns < 0.1e9 < 0.2e9 <= spans["outer"].cpu_ns
    assert {spans[name].parent_id for name in ("write g.parquet", "read f.parquet")} == {spans["outer"].id}


def test_files_of_writes_and_reads_reach_the_records(recorded, stored):
    table = pa.table({"k": [1, 2], "x": [1, 2]})
    for _ in range(2):
        write_parquet(table, stored.with_name("d"), partition_cols="k")
    read_parquet(stored.with_name("d"), filters=[("k", "=", 2)])
    first, second = recorded.records(VersionRecord).values()
    kept, read = recorded.records(ReadRecord).values()
    assert kept.files == first.written
    assert (len(second.written), second.files) == (2, 4)
    both = sorted([*first.written, *second.written])
    assert read.files == [file for file in both if file[0].startswith("k=2/")]


def test_a_scan_and_a_plain_call_outside_measured_work_are_runs_of_their_own(recorded, stored):
    next(scan_parquet(stored))
    moved("x", 10)
    spans = recorded.spans()
    assert {spans[name].status for name in ("read f.parquet", "move x")} == {"completed"}
    assert spans["move x"].bytes_written == 10


def test_a_declared_artifact_is_a_version_of_the_current_work(recorded, tmp_path):
    (tmp_path / "model.bin").write_bytes(b"x" * 9)
    with span("train") as work:
        record_input(tmp_path / "model.bin")
        record_artifact(tmp_path / "model.bin", rows=3)
        record_artifact("models:/delay/3")
        record_artifact("postgresql://user:secret@host/db/table", size=100, format="table")
    model, registered, table = recorded.records(VersionRecord).values()
    at = (tmp_path / "model.bin").stat().st_mtime_ns
    assert (model.uri, model.bytes, model.rows, model.format) == ((tmp_path / "model.bin").as_uri(), 9, 3, "bin")
    assert model.written == [["", 9, at]]
    assert model.content_digest.startswith("sha256:")
    assert (registered.uri, registered.bytes, registered.format) == ("models:/delay/3", None, "models")
    assert (table.uri, table.bytes, table.format) == ("postgresql://host/db/table", 100, "table")
    assert {one.span_id for one in (model, registered, table)} == {work.id}
    (read,) = recorded.records(ReadRecord).values()
    assert (read.uri, read.files) == (model.uri, [["", 9, at]])
    assert recorded.spans()["train"].bytes_written is None


def test_of_a_declared_directory_what_is_older_than_the_work_was_kept(recorded, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "old").write_bytes(b"x" * 9)
    time.sleep(0.1)
    with span("append") as work:
        (folder / "new").write_bytes(b"y")
        os.utime(folder / "new", (1, 1))  # what is unpacked has an old stamp
        record_artifact(folder)
    (version,) = recorded.records(VersionRecord).values()
    assert (version.bytes, version.files, version.format) == (10, 2, "file")
    assert [path for path, _, _ in version.written] == ["new"]
    write = recorded.spans()["write data"]
    assert (version.span_id, write.kind, write.parent_id) == (write.id, "write", work.id)
    (kept,) = recorded.records(ReadRecord).values()
    assert (kept.uri, [path for path, _, _ in kept.files], kept.span_id) == (version.uri, ["old"], write.id)


def test_an_artifact_in_memory_or_in_a_store_is_looked_at_where_that_is_asked_for(recorded):
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe("/models/a.bin", b"1234")
    with span("train"):
        record_artifact("memory://models/a.bin", filesystem=store)
        record_artifact("s3://bucket/a.bin")
    memory, bucket = recorded.records(VersionRecord).values()
    assert (memory.uri, memory.bytes, memory.format) == ("memory://models/a.bin", 4, "bin")
    assert (bucket.uri, bucket.bytes, bucket.files) == ("s3://bucket/a.bin", None, 1)


@pytest.mark.parametrize("call", ["record_artifact", "record_input"])
def test_an_empty_uri_is_named(call, recorded):
    for uri in ("", "  ", None, 5, "a\0b", "\ud800"):
        with pytest.raises(SettingError, match=rf"{call}\({re.escape(repr(uri))}\): name what"):
            getattr(e2s_tasks, call)(uri)


def test_counts_that_are_none_are_named(recorded):
    with pytest.raises(SettingError, match=r"record_artifact\(rows=-1\)"):
        record_artifact("x", rows=-1)
    with pytest.raises(SettingError, match=r"record_artifact\(size=1\.5\)"):
        record_artifact("x", size=1.5)
    with pytest.raises(SettingError, match=r"record_artifact\(format=\['a'\]\)"):
        record_artifact("x", format=["a"])


def test_an_artifact_that_is_not_there_is_a_warning_and_no_version(recorded, tmp_path):
    _warned.clear()
    with span("train"), pytest.warns(MeteringWarning, match="record_artifact failed.*none"):
        record_artifact(tmp_path / "none")
    assert recorded.records(VersionRecord) == {}


def test_an_outlet_that_is_not_there_is_a_version_by_its_name_alone(recorded, tmp_path):
    (tmp_path / "there.parquet").write_bytes(b"x" * 9)
    with span("train") as work, warnings.catch_warnings():
        warnings.simplefilter("error")
        names = [(tmp_path / "none.parquet").as_uri(), str(tmp_path / "there.parquet"), "s3://bucket/a.bin"]
        missing, there, bucket = (version for name in names for version in outlet_versions(work, name))
    assert recorded.records(VersionRecord) == {}  # until somebody writes them down
    assert (missing.uri, missing.span_id) == ((tmp_path / "none.parquet").as_uri(), work.id)
    assert (missing.bytes, missing.content_digest, missing.written) == (None, None, None)
    assert (missing.files, missing.format) == (1, "parquet")
    assert (there.bytes, bucket.uri, bucket.bytes) == (9, "s3://bucket/a.bin", None)


def test_an_outlet_that_cannot_be_looked_at_is_one_too_with_a_warning(recorded, tmp_path, monkeypatch):
    _warned.clear()

    def denied(place):
        raise PermissionError(place.uri)

    monkeypatch.setattr(artifacts, "inventory", denied)
    with span("train") as work, pytest.warns(MeteringWarning, match="looking at an outlet failed.*by its name alone"):
        (version,) = outlet_versions(work, str(tmp_path / "mine"))
    assert version.bytes is None


@pytest.mark.parametrize("call", ["record_artifact", "record_input"])
def test_outside_measured_work_a_declared_artifact_is_one_warning(call, recorded, tmp_path):
    _warned.clear()
    with pytest.warns(MeteringWarning, match=f"{call} failed.*outside measured work"):
        getattr(e2s_tasks, call)(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(e2s_tasks, call)(tmp_path)
