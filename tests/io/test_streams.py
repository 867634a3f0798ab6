"""Record batches: read one after the other, and written as they come."""

import os
import threading

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import compute, csv, dataset, parquet

from e2s_tasks.core.records import Kind
from e2s_tasks.errors import SettingError
from e2s_tasks.io import MissingFileError, read_parquet, scan_parquet, write_parquet


@pytest.fixture
def flights():
    rows = 4000
    return pa.table({"month": [1 + i * 4 // rows for i in range(rows)], "number": list(range(rows))})


@pytest.fixture
def stored(flights, tmp_path):
    parquet.write_table(flights, tmp_path / "f.parquet", row_group_size=1000)
    return tmp_path / "f.parquet"


def test_the_batches_of_a_scan_are_the_table_in_order(recorded, flights, stored):
    batches = list(scan_parquet(stored, batch_size=300))
    assert pa.Table.from_batches(batches).equals(flights)
    assert max(batch.num_rows for batch in batches) == 300
    span = recorded.last
    assert (span.kind, span.name, span.rows, len(recorded.spans)) == (Kind.READ, "read f.parquet", 4000, 1)
    assert span.reads == [stored.as_uri()]
    assert span.files_read == [[["", stored.stat().st_size, stored.stat().st_mtime_ns]]]
    assert span.attributes["bytes_in_memory"] == sum(batch.nbytes for batch in batches)


def test_a_scan_takes_the_columns_and_filters_of_a_read(recorded, stored):
    for filters in ([("month", "=", 2)], compute.field("month") == 2):
        batches = list(scan_parquet(str(stored), ["number"], filters))
        assert pa.Table.from_batches(batches)["number"].to_pylist() == list(range(1000, 2000))
        assert recorded.last.attributes["row_groups"] == 1


def test_a_partitioned_data_set_is_scanned_with_its_partition_columns(recorded, flights, tmp_path):
    write_parquet(flights, tmp_path / "f", partition_cols="month")
    written = recorded.last.versions[0]["written"]
    found = pa.Table.from_batches(list(scan_parquet(tmp_path / "f", filters=[("month", ">", 2)])))
    assert sorted(found["number"].to_pylist()) == list(range(2000, 4000))
    assert set(found.column_names) == {"month", "number"}
    assert recorded.last.files_read == [[file for file in written if file[0][:7] in ("month=3", "month=4")]]


def test_the_schema_of_a_scan_is_known_before_its_first_batch(recorded, flights, stored):
    assert scan_parquet(stored).schema.equals(flights.schema)
    assert scan_parquet(stored, ["number"]).schema.names == ["number"]


def test_a_scan_that_is_never_begun_or_closed_early_ends_its_span_once(recorded, stored):
    scan_parquet(stored)
    assert recorded.last.steps[-2:] == ["suspend", "end"]
    assert recorded.last.attributes["row_groups"] == 0
    with scan_parquet(stored, batch_size=10) as batches:
        next(batches)
    batches.close()
    assert next(batches, None) is None
    assert recorded.last.steps.count("end") == 1
    assert (recorded.last.rows, recorded.last.attributes["row_groups"]) == (10, 1)


def test_a_scan_of_nothing_or_of_nonsense_is_named(recorded, stored, tmp_path):
    with pytest.raises(MissingFileError, match=r"Near it: f\.parquet"):
        scan_parquet(tmp_path / "g.parquet")
    assert recorded.last.failed
    with pytest.raises(SettingError, match="batch_size=0"):
        scan_parquet(stored, batch_size=0)
    (tmp_path / "x.csv").write_text("a\n1\n")
    with pytest.raises(SettingError, match=r"FileSystemDataset cannot be read here"):
        scan_parquet(dataset.dataset(tmp_path / "x.csv", format="csv"))


def test_a_file_that_breaks_in_the_middle_fails_the_scan_with_pyarrows_error(recorded, stored):
    content = bytearray(stored.read_bytes())
    footer = parquet.read_metadata(stored)
    begin = footer.row_group(2).column(1).data_page_offset
    content[begin : begin + 40] = bytes(40)
    stored.write_bytes(content)
    with pytest.raises((OSError, pa.ArrowException)):
        list(scan_parquet(stored, ["number"]))
    assert recorded.last.failed
    assert recorded.last.reads == []


def test_a_data_set_that_is_open_already_is_read_and_written(recorded, flights, tmp_path):
    write_parquet(flights, tmp_path / "f", partition_cols="month")
    opened = dataset.dataset(tmp_path / "f", partitioning="hive")
    frame = read_parquet(opened, ["number"], [("month", "=", 4)])
    assert list(frame.number) == list(range(3000, 4000))
    assert recorded.last.reads == [(tmp_path / "f").as_uri()]
    write_parquet(opened, tmp_path / "g.parquet")
    assert read_parquet(tmp_path / "g.parquet", ["number"], to="arrow").num_rows == 4000
    with pytest.raises(SettingError, match="has a file system already"):
        read_parquet(opened, filesystem=pa.fs.LocalFileSystem())


def test_a_data_set_that_was_opened_by_a_relative_path_or_a_link_has_the_files_own_name(
    recorded, flights, tmp_path, monkeypatch
):
    write_parquet(flights, tmp_path / "f", partition_cols="month")
    written = recorded.last.versions[0]["written"]
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for path in ("f", "link/f", tmp_path / "link" / "f"):
        read_parquet(dataset.dataset(path, partitioning="hive"))
        assert recorded.last.reads == [(tmp_path / "f").as_uri()]
        assert recorded.last.files_read == [written]


def batches_of(flights):
    return {
        "reader": lambda: pa.RecordBatchReader.from_batches(flights.schema, flights.to_batches(300)),
        "list": lambda: flights.to_batches(300),
        "generator": lambda: (batch for batch in flights.to_batches(300)),
        "tables": lambda: (flights.slice(at, 700) for at in range(0, 4000, 700)),
        "stream": type("Stream", (), {"__arrow_c_stream__": flights.__arrow_c_stream__}),
        "scanner": lambda: dataset.dataset(flights).scanner(),
    }


@pytest.mark.parametrize("form", ["reader", "list", "generator", "tables", "stream", "scanner"])
@pytest.mark.parametrize("partitions", [None, ["month"]])
def test_batches_are_written_as_they_come(form, partitions, recorded, flights, tmp_path):
    write_parquet(batches_of(flights)[form](), tmp_path / "f.parquet", partition_cols=partitions, row_group_size=1500)
    span = recorded.last
    assert (span.rows, span.versions[0]["rows"]) == (4000, 4000)
    assert span.attributes["bytes_in_memory"] == flights.nbytes
    back = read_parquet(tmp_path / "f.parquet", ["number"], to="arrow")
    assert sorted(back["number"].to_pylist()) == list(range(4000))
    if not partitions:
        footer = parquet.read_metadata(tmp_path / "f.parquet")
        assert [footer.row_group(i).num_rows for i in range(footer.num_row_groups)] == [1500, 1500, 1000]


@settings(max_examples=30)
@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=12), group=st.integers(1, 8))
def test_row_groups_are_full_whatever_the_batches_are(sizes, group, tmp_path_factory, recorded_spans):
    path = tmp_path_factory.mktemp("s") / "f.parquet"
    schema = pa.schema({"x": pa.int64()})
    begin = [sum(sizes[:i]) for i in range(len(sizes))]
    batches = [pa.record_batch([list(range(a, a + n))], schema=schema) for a, n in zip(begin, sizes, strict=True)]
    write_parquet(batches, path, row_group_size=group)
    footer = parquet.read_metadata(path)
    groups = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
    assert all(rows == group for rows in groups[:-1])
    assert parquet.read_table(path)["x"].to_pylist() == list(range(sum(sizes)))


def test_the_work_of_making_batches_is_not_the_writes(recorded, flights, tmp_path):
    running = []

    def make():
        for batch in flights.to_batches(1000):
            running.append(recorded.last.steps[-1])
            yield batch

    write_parquet(make(), tmp_path / "f.parquet")
    assert running == ["suspend"] * 4
    assert recorded.last.steps[-2:] == ["suspend", "end"]


@pytest.mark.parametrize("partitions", [None, ["month"]])
def test_a_source_that_breaks_leaves_what_was_there(partitions, recorded, flights, tmp_path):
    write_parquet(flights, tmp_path / "f", partition_cols=partitions)
    before = sorted(tmp_path.rglob("*"))

    def broken():
        yield from flights.to_batches(500)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_parquet(broken(), tmp_path / "f", partition_cols=partitions)
    assert sorted(tmp_path.rglob("*")) == before
    assert recorded.last.failed
    assert recorded.last.versions == []


def test_what_is_no_stream_of_batches_is_named(recorded, flights, tmp_path):
    for wrong, said in [
        (5, "a int is not a table"), ("f.parquet", "a str is not a table"), ({"a": 1}, "a dict is not a table"),
        ([1], "a list of int"), (iter([]), "no record batch came"),
    ]:  # fmt: skip
        with pytest.raises(SettingError, match=said):
            write_parquet(wrong, tmp_path / "f.parquet")
    with pytest.raises(SettingError, match="index=True"):
        write_parquet(flights.to_batches(), tmp_path / "f.parquet", index=True)
    assert list(tmp_path.iterdir()) == []


def test_a_stream_holds_one_row_group_at_a_time(recorded, tmp_path):
    batch = pa.record_batch({"x": pa.array([os.urandom(1000)] * 1000)})
    most = []

    def make():
        for _ in range(60):
            most.append(pa.total_allocated_bytes())
            yield pa.record_batch({"x": batch["x"].take(pa.array(range(1000)))})

    write_parquet(make(), tmp_path / "f.parquet", row_group_size=5000, compression=None, use_dictionary=False)
    assert max(most) - most[0] < 15e6 < (tmp_path / "f.parquet").stat().st_size
    begun = pa.total_allocated_bytes()
    peaks = [pa.total_allocated_bytes() - begun for _ in scan_parquet(tmp_path / "f.parquet", batch_size=1000)]
    assert max(peaks) < 25e6


def test_a_scan_may_go_on_in_another_thread(recorded, stored):
    batches, rows = scan_parquet(stored, batch_size=1000), []
    thread = threading.Thread(target=lambda: rows.append(next(batches).num_rows))
    thread.start()
    thread.join()
    assert rows + [batch.num_rows for batch in batches] == [1000] * 4


def test_csv_goes_straight_to_parquet(recorded, tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n" + "1,x\n" * 1000)
    write_parquet(csv.open_csv(tmp_path / "x.csv"), tmp_path / "x.parquet")
    assert read_parquet(tmp_path / "x.parquet").shape == (1000, 2)
