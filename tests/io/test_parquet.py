import logging
import os

import fsspec
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import compute, parquet
from pyarrow.fs import FSSpecHandler, LocalFileSystem, PyFileSystem, SubTreeFileSystem

from e2s_tasks.errors import NotFoundError, SettingError
from e2s_tasks.io import MissingFileError, read_parquet, write_parquet
from e2s_tasks.io.factors import factors
from e2s_tasks.io.places import name_of, uri_of
from e2s_tasks.settings import Settings


def chunks(path, columns, groups=None):
    footer = parquet.read_metadata(path)
    names = [footer.schema.column(i).path for i in range(footer.num_columns)]
    return sum(
        footer.row_group(group).column(names.index(column)).total_compressed_size
        for group in (range(footer.num_row_groups) if groups is None else groups)
        for column in columns
    )


def chunk_bytes(recorded):
    return recorded.last.attributes["bytes_column_chunks"]


# What users of pandas and pyarrow expect


def test_a_frame_comes_back_as_pandas_itself_would_read_it(recorded, flights, tmp_path):
    frame = flights.set_index("number")
    write_parquet(frame, tmp_path / "f.parquet")
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "f.parquet"), pd.read_parquet(tmp_path / "f.parquet"))
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "f.parquet"), frame)
    pd.testing.assert_frame_equal(
        read_parquet(tmp_path / "f.parquet", ["delay"], [("delay", ">", 500)]),
        pd.read_parquet(tmp_path / "f.parquet", columns=["delay"], filters=[("delay", ">", 500)]),
    )


def test_a_partitioned_data_set_comes_back_as_pandas_itself_would_read_it(recorded, flights, tmp_path):
    write_parquet(flights, tmp_path / "f.parquet", partition_cols="month")
    for columns, filters in [(None, None), (["delay"], [("month", "in", [2, 3])]), (["month"], [[("month", "=", 1)]])]:
        pd.testing.assert_frame_equal(
            read_parquet(tmp_path / "f.parquet", columns, filters),
            pd.read_parquet(tmp_path / "f.parquet", columns=columns, filters=filters),
        )


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_the_types_of_a_frame_are_those_of_pandas_dtype_backend(backend, recorded, flights, tmp_path):
    kinds = {f"{n}": pd.array([1, 0, 1, 0], f"{n}") for n in ("int8", "uint16", "int32", "uint64", "float32", "bool")}
    frame = pd.DataFrame(kinds | {"text": ["a", None, "c", "d"], "at": pd.date_range("2026-01-01", periods=4)})
    for name, content in (("f", flights.set_index("number")), ("g", frame)):
        content.to_parquet(tmp_path / name, engine="pyarrow")
        pd.testing.assert_frame_equal(
            read_parquet(tmp_path / name, engine="pyarrow", dtype_backend=backend),
            pd.read_parquet(tmp_path / name, engine="pyarrow", dtype_backend=backend),
        )


def test_an_engine_or_a_backend_that_there_is_not_is_named(recorded, flights, tmp_path):
    path = tmp_path / "f.parquet"
    write_parquet(flights, path, engine="pyarrow")
    assert len(read_parquet(path, engine="auto")) == len(flights)
    with pytest.raises(SettingError, match=r"engine='fastparquet'.*pyarrow"):
        write_parquet(flights, path, engine="fastparquet")
    with pytest.raises(SettingError, match=r"engine='fastparquet'.*pyarrow"):
        read_parquet(path, engine="fastparquet")
    with pytest.raises(SettingError, match=r"dtype_backend='numpy'.*numpy_nullable"):
        read_parquet(path, dtype_backend="numpy")
    with pytest.raises(SettingError, match="is for a DataFrame"):
        read_parquet(path, to="arrow", dtype_backend="pyarrow")


def test_arrow_tables_go_in_and_out(recorded, tmp_path):
    table = pa.table({"point": [{"x": 1, "y": 2.0}], "tags": [["a", "b"]]})
    write_parquet(table, tmp_path / "t.parquet", compression="zstd")
    assert read_parquet(tmp_path / "t.parquet", to="arrow").equals(table)


@settings(max_examples=25)
@given(values=st.lists(st.tuples(st.sampled_from(["a", "b", "", None]), st.integers(-9, 9)), min_size=1))
def test_partitioning_keeps_every_row(values, tmp_path_factory, recorded_anywhere):
    values = [("a", 0), *values]  # pyarrow cannot tell the type of a partition column that holds only null
    table = pa.table({"key": pa.array([k for k, _ in values], pa.string()), "value": [v for _, v in values]})
    path = tmp_path_factory.mktemp("p") / "t.parquet"
    write_parquet(table, path, partition_cols=["key"])
    back = read_parquet(path, to="arrow")
    rows = lambda t: sorted(zip(map(repr, t["key"].to_pylist()), t["value"].to_pylist(), strict=True))  # noqa: E731
    assert rows(back) == rows(table)


@pytest.mark.parametrize("form", ["str", "file-url", "arrow-fs", "fsspec-fs", "subtree", "relative"])
def test_a_local_file_has_one_uri_however_it_is_named(form, recorded, flights, tmp_path, monkeypatch):
    path = tmp_path / "my flights.parquet"
    write_parquet(flights, path)
    monkeypatch.chdir(tmp_path)
    name, filesystem = {
        "str": (str(path), None),
        "file-url": (path.as_uri(), None),
        "arrow-fs": (str(path), LocalFileSystem()),
        "fsspec-fs": (str(path), fsspec.filesystem("file")),
        "subtree": ("my flights.parquet", SubTreeFileSystem(str(tmp_path), LocalFileSystem())),
        "relative": ("x/../my flights.parquet", None),
    }[form]
    read_parquet(name, filesystem=filesystem)
    assert recorded.last.reads == [path.as_uri()]
    assert recorded.last.storage_j > 0
    assert recorded.last.network_j is None


# What is recorded


def test_a_read_counts_the_column_chunks_that_projection_and_filters_leave(recorded, flights, tmp_path):
    path = tmp_path / "f.parquet"
    write_parquet(flights, path, row_group_size=500)
    everything = read_parquet(path)
    assert chunk_bytes(recorded) == chunks(path, flights.columns)
    assert recorded.last.rows == len(everything)
    read_parquet(path, columns=["delay"])
    assert chunk_bytes(recorded) == chunks(path, ["delay"])
    kept = read_parquet(path, columns=["delay"], filters=[("number", ">=", 3600)])
    assert len(kept) == recorded.last.rows == 400
    assert chunk_bytes(recorded) == chunks(path, ["delay", "number"], groups=[7])
    read_parquet(path, columns=["delay"], filters=compute.field("number") >= 3600)
    assert chunk_bytes(recorded) == chunks(path, ["delay", "number"], groups=[7])


def test_a_read_counts_the_index_columns_that_pandas_adds(recorded, flights, tmp_path):
    write_parquet(flights.set_index("carrier"), tmp_path / "f.parquet")
    read_parquet(tmp_path / "f.parquet", columns=["delay"])
    assert chunk_bytes(recorded) == chunks(tmp_path / "f.parquet", ["delay", "carrier"])


def test_a_part_of_a_nested_column_takes_the_whole_of_it(recorded, tmp_path):
    path = tmp_path / "t.parquet"
    write_parquet(pa.table({"p": [{"x": i, "y": i} for i in range(500)], "px": list(range(500))}), path)
    for columns in (["p.x"], ["p"]):
        read_parquet(path, columns, to="arrow")
        assert chunk_bytes(recorded) == chunks(path, ["p.x", "p.y"])


def test_a_read_opens_only_the_partitions_that_it_needs_and_each_footer_once(recorded, flights, remote):
    write_parquet(flights, "remote://lake/f.parquet", partition_cols=["month"])
    kept = sorted(path for path in remote.find("/lake/f.parquet") if "month=1" not in path and "month=2" not in path)
    remote.opened.clear()
    read_parquet("remote://lake/f.parquet", ["delay"], [("month", ">", 2)], to="arrow")
    after_read = list(remote.opened)
    assert recorded.last.attributes["files"] == 2
    remote.opened.clear()
    parquet.read_table(
        "/lake/f.parquet",
        columns=["delay"],
        filters=[("month", ">", 2)],
        filesystem=PyFileSystem(FSSpecHandler(remote)),
    )
    assert sorted(after_read) == sorted(remote.opened)
    assert set(kept) <= set(after_read)


def test_a_remote_file_system_costs_network_energy_and_its_uri_has_no_secrets(recorded, flights, remote):
    write_parquet(flights, "remote://user:secret@lake/f.parquet?token=secret")
    span = recorded.last
    assert span.versions[0]["uri"] == "remote://lake/f.parquet"
    assert span.storage_j is None
    assert span.network_j == pytest.approx(factors()["network"].value * span.bytes_written / 1e9)


def test_memory_is_neither_storage_nor_network(recorded, flights):
    write_parquet(flights, "memory://f.parquet")
    read_parquet("f.parquet", filesystem=fsspec.filesystem("memory"))
    assert recorded.spans[0].versions[0]["uri"] == recorded.last.reads[0] == "memory://f.parquet"
    assert (recorded.last.storage_j, recorded.last.network_j) == (None, None)
    assert recorded.last.bytes_read > 0


@pytest.mark.parametrize("kind", [FileNotFoundError, NotFoundError, MissingFileError])
def test_a_missing_file_is_named_with_its_neighbours(kind, recorded, flights, tmp_path):
    write_parquet(flights, tmp_path / "flights.parquet")
    with pytest.raises(kind, match=r"flight\.parquet.*Near it: flights\.parquet") as caught:
        read_parquet(tmp_path / "flight.parquet")
    assert caught.value.suggestions == ("flights.parquet",)
    assert recorded.last.reads == []


def test_a_missing_remote_file_is_named(recorded, remote):
    with pytest.raises(MissingFileError, match="remote://lake/none"):
        read_parquet("remote://lake/none.parquet")


def test_a_wrong_partition_column_is_named(recorded, flights, tmp_path):
    with pytest.raises(SettingError, match=r"no column 'mnth'.*month"):
        write_parquet(flights, tmp_path / "f.parquet", partition_cols=["mnth"])
    with pytest.raises(SettingError, match="leaves no column"):
        write_parquet(flights[["month"]], tmp_path / "f.parquet", partition_cols=["month"])
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_table_is_named(recorded, tmp_path):
    with pytest.raises(SettingError, match="list of int is not a table"):
        write_parquet([1, 2], tmp_path / "f.parquet")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_of_table_is_named(recorded, tmp_path):
    with pytest.raises(SettingError, match="polars"):
        read_parquet(tmp_path / "f.parquet", to="polars")


def test_pyarrows_own_errors_pass_unchanged(recorded, tmp_path):
    (tmp_path / "f.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(pa.ArrowInvalid):
        read_parquet(tmp_path / "f.parquet")


def test_trouble_with_the_bookkeeping_is_one_warning_and_never_the_callers(
    recorded, flights, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr("e2s_tasks.io.factors.settings", lambda: Settings(storage_factor="wrong"))
    with caplog.at_level(logging.WARNING, "e2s_tasks"):
        for _ in range(3):
            write_parquet(flights, tmp_path / "f.parquet")
            assert len(read_parquet(tmp_path / "f.parquet")) == len(flights)
    assert len(caplog.records) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_stays_a_device(tmp_path):
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o20666, os.makedev(1, 3))
    except OSError as error:
        pytest.skip(f"no device can be made here: {error}")
    write_parquet(pd.DataFrame({"a": [1]}), device)
    assert device.is_char_device()


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        ("s3://KEY:SECRET@lake/a b/ü#1.parquet", "s3://lake/a b/ü#1.parquet"),
        ("s3://lake/a?b.parquet", "s3://lake/a?b.parquet"),
        ("s3://lake/x.parquet?region=eu&secret=S", "s3://lake/x.parquet"),
        ("https://me:SECRET@host/x.parquet?sig=S#part", "https://host/x.parquet"),
        ("https:/me:SECRET@host/x.parquet", "https://host/x.parquet"),
        ("abfs://box@lake.dfs.core.windows.net/x.parquet", "abfs://box@lake.dfs.core.windows.net/x.parquet"),
        ("wasbs://box:SECRET@lake/x.parquet?sig=S", "wasbs://box@lake/x.parquet"),
    ],
)
def test_a_uri_has_no_secrets_and_all_of_an_objects_key(url, uri):
    assert uri_of(url) == uri
    assert name_of(uri_of(url)) == uri.rpartition("/")[2]
