"""What pandas users pass to their own calls, and what is refused in words."""

import io
import os

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from pyarrow import parquet

from e2s_tasks.errors import SettingError
from e2s_tasks.io import read_parquet, scan_parquet, write_parquet

FRAME = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "x"]})
NARROW = pa.schema([("a", pa.int32()), ("b", pa.string())])


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FRAME.to_parquet("one.parquet")
    FRAME.to_parquet("part", partition_cols=["b"])


def batches():
    return iter(pa.Table.from_pandas(FRAME).to_batches(max_chunksize=1))


@pytest.mark.parametrize("table", [FRAME, pa.Table.from_pandas(FRAME), pa.RecordBatch.from_pandas(FRAME), batches])
def test_a_schema_is_what_the_table_is_cast_to(recorded, table):
    write_parquet(table() if callable(table) else table, "cast.parquet", schema=NARROW)
    assert parquet.read_schema("cast.parquet").field("a").type == pa.int32()
    assert parquet.read_table("cast.parquet").column("a").to_pylist() == [1, 2, 3]
    assert recorded.last.versions[0]["schema_digest"] == recorded.last.attributes["schema_digest"]


def test_a_schema_holds_for_a_partitioned_data_set_too(recorded):
    write_parquet(FRAME, "cast", schema=NARROW, partition_cols="b")
    assert ds.dataset("cast", partitioning="hive").schema.field("a").type == pa.int32()


def test_what_to_pandas_is_told_is_what_pandas_tells_it(recorded):
    options = {"strings_to_categorical": True}
    pd.testing.assert_frame_equal(
        read_parquet("one.parquet", to_pandas_kwargs=options), pd.read_parquet("one.parquet", to_pandas_kwargs=options)
    )
    with pytest.raises(SettingError, match=r"to_pandas_kwargs=.* is for a DataFrame"):
        read_parquet("one.parquet", to="arrow", to_pandas_kwargs=options)


@pytest.mark.parametrize("source", ["one.parquet", ds.dataset])
def test_threads_can_be_left_out(recorded, source):
    frame = read_parquet(source("one.parquet") if callable(source) else source, use_threads=False)
    pd.testing.assert_frame_equal(frame, pd.read_parquet("one.parquet"))


def test_the_paths_of_a_list_are_read_each_on_its_own_and_joined(recorded):
    FRAME.tail(1).to_parquet("two.parquet")
    frame = read_parquet(["one.parquet", "two.parquet"], columns=["a"])
    pd.testing.assert_frame_equal(frame, pd.read_parquet(["one.parquet", "two.parquet"], columns=["a"]))
    assert [span.name for span in recorded.spans] == ["read one.parquet", "read two.parquet"]
    assert [span.rows for span in recorded.spans] == [3, 1]
    with pytest.raises(SettingError, match="empty list"):
        read_parquet([])


def test_a_filtered_dataset_counts_the_files_and_row_groups_that_its_filter_leaves(recorded):
    whole = ds.dataset("part", partitioning="hive")
    frame = read_parquet(whole.filter(ds.field("b") == "x"), filters=ds.field("a") > 1)
    assert frame["a"].tolist() == [3]
    filtered = recorded.last
    read_parquet(whole, filters=(ds.field("b") == "x") & (ds.field("a") > 1))
    assert (filtered.attributes["files"], filtered.bytes_read) == (1, recorded.last.bytes_read)
    assert filtered.reads == recorded.last.reads
    (batch,) = scan_parquet(whole.filter(ds.field("b") == "x"), filters=ds.field("a") > 1)
    assert batch["a"].to_pylist() == [3]
    assert (recorded.last.attributes["files"], recorded.last.rows) == (1, 1)


@pytest.mark.parametrize("columns", ["a", "pyarrow", {"c": ds.field("a")}, 3])
def test_columns_are_a_list_of_names(recorded, columns):
    with pytest.raises(SettingError, match=r"columns=.* is no list of names"):
        read_parquet("one.parquet", columns)
    with pytest.raises(SettingError, match="is no list of names"):
        scan_parquet("one.parquet", columns)


def test_pandas_second_argument_is_told_to_be_a_keyword(recorded):
    with pytest.raises(SettingError, match="the engine, is a keyword here"):
        read_parquet("one.parquet", "pyarrow")


@pytest.mark.parametrize("target", [io.BytesIO(), None, 3, b"one.parquet"])
def test_what_names_no_place_is_refused_before_anything_is_written(recorded, target):
    with pytest.raises(SettingError, match=r"names no place .* pass a path or a URL"):
        write_parquet(FRAME, target)
    assert recorded.spans == []


def test_a_series_is_told_how_to_become_a_table(recorded):
    with pytest.raises(SettingError, match=r"series\.to_frame\(\)"):
        write_parquet(FRAME["a"], "series.parquet")


def test_no_partition_columns_are_as_good_as_none(recorded):
    write_parquet(FRAME, "plain.parquet", partition_cols=[])
    assert os.path.isfile("plain.parquet")  # noqa: PTH113


def test_a_file_that_is_replaced_keeps_its_mode_and_where_it_may_its_owner(recorded):
    os.chmod("one.parquet", 0o640)  # noqa: PTH101
    owner = 12345 if os.geteuid() == 0 else os.geteuid()
    os.chown("one.parquet", owner, -1)
    write_parquet(FRAME, "one.parquet")
    found = os.stat("one.parquet")  # noqa: PTH116
    assert (found.st_mode & 0o777, found.st_uid) == (0o640, owner)
