import logging
import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import ClassVar

import fsspec
import pandas as pd
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import compute, parquet
from pyarrow.fs import FSSpecHandler, LocalFileSystem, PyFileSystem, SubTreeFileSystem

from e2s_tasks.core.records import Kind
from e2s_tasks.errors import NotFoundError, SettingError
from e2s_tasks.io import MissingFileError, read_parquet, write_parquet
from e2s_tasks.io.factors import factors
from e2s_tasks.io.parquet import schema_digest
from e2s_tasks.io.places import name_of, uri_of
from e2s_tasks.settings import Settings


class RemoteFileSystem(MemoryFileSystem):
    """An object store as far as the library can tell; it counts what is opened and how much is read."""

    protocol = "remote"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]
    opened: ClassVar[list] = []

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol("memory://" + path.rpartition("://")[2].partition("?")[0])

    def _open(self, path, mode="rb", **options):
        if mode == "rb":
            self.opened.append(path)
        return super()._open(path, mode, **options)


fsspec.register_implementation("remote", RemoteFileSystem, clobber=True)


@pytest.fixture
def remote():
    RemoteFileSystem.store.clear()
    RemoteFileSystem.pseudo_dirs[:] = [""]
    RemoteFileSystem.opened.clear()
    return RemoteFileSystem()


@pytest.fixture
def flights():
    rows = 4000
    return pd.DataFrame(
        {
            "month": [1 + i * 4 // rows for i in range(rows)],
            "carrier": [("UA", "DL", "B6")[i % 3] for i in range(rows)],
            "delay": [float(i * 7919 % 1000) for i in range(rows)],
            "number": range(rows),
        }
    )


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


def files_below(directory):
    return sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())


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


def test_a_write_makes_one_version_with_size_rows_files_and_schema(recorded, flights, tmp_path):
    path = tmp_path / "new" / "f.parquet"
    write_parquet(flights, path)
    one = recorded.last
    assert one.kind == Kind.WRITE
    assert one.name == "write f.parquet"
    digest = schema_digest(pa.Schema.from_pandas(flights))
    assert one.versions == [
        {
            "uri": path.as_uri(),
            "size": path.stat().st_size,
            "rows": 4000,
            "format": "parquet",
            "schema_digest": digest,
            "files": 1,
            "content_digest": f"sha256:{sha256(path.read_bytes()).hexdigest()}",
            "written": [["", path.stat().st_size, path.stat().st_mtime_ns]],
        }
    ]
    assert one.bytes_written == path.stat().st_size
    write_parquet(flights, path, partition_cols=["month"])
    version = recorded.last.versions[0]
    assert version["files"] == 4
    assert version["size"] == sum(file.stat().st_size for file in path.rglob("*.parquet"))


def test_a_schema_digest_depends_on_names_and_types_alone():
    schema = pa.schema({"a": pa.int64(), "b": pa.string()})
    assert schema_digest(schema) == schema_digest(schema.with_metadata({"pandas": "x"}))
    assert len({schema_digest(schema), schema_digest(pa.schema({"a": pa.int32(), "b": pa.string()}))}) == 2


# What is replaced, and what a failure leaves


PLACES = ["local", "remote"]


def at(where, tmp_path):
    return str(tmp_path / "f.parquet") if where == "local" else "remote://lake/f.parquet"


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("behaviour", [None, "overwrite_or_ignore", "delete_matching"])
def test_a_second_write_does_to_a_data_set_what_pandas_own_does(behaviour, where, recorded, flights, tmp_path, remote):
    options = {} if behaviour is None else {"existing_data_behavior": behaviour}
    place, of_pandas = at(where, tmp_path), tmp_path / "pandas.parquet"
    for frame in (flights, flights[flights.month == 3], flights.assign(month=9)):
        write_parquet(frame, place, partition_cols=["month"], **options)
        frame.to_parquet(of_pandas, partition_cols=["month"], **options)
    rows = lambda frame: sorted(frame.astype({"month": int})[["month", "number"]].itertuples(index=False, name=None))  # noqa: E731
    assert rows(read_parquet(place)) == rows(pd.read_parquet(of_pandas))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "pandas.parquet") == (
        ["f.parquet"] if where == "local" else []
    )


@pytest.mark.parametrize("where", PLACES)
def test_data_that_is_there_already_is_an_error_where_that_is_asked_for(where, recorded, flights, tmp_path, remote):
    place = at(where, tmp_path)
    write_parquet(flights, place, partition_cols=["month"], existing_data_behavior="error")
    before = files_below(tmp_path), remote.find("/lake")
    with pytest.raises(SettingError, match=r"f\.parquet has data already.*delete_matching"):
        write_parquet(flights, place, partition_cols=["month"], existing_data_behavior="error")
    assert (files_below(tmp_path), remote.find("/lake")) == before
    assert recorded.last.versions == []


@pytest.mark.parametrize("where", PLACES)
def test_a_version_is_of_the_whole_data_set_and_the_span_of_what_was_written(
    where, recorded, flights, tmp_path, remote
):
    place = at(where, tmp_path)
    write_parquet(flights, place, partition_cols=["month"])
    first = recorded.last
    assert first.reads == []
    write_parquet(flights[flights.month == 3], place, partition_cols=["month"])
    added, (version,) = recorded.last, recorded.last.versions
    assert (version["files"], version["rows"]) == (5, 5000)
    assert version["size"] == first.versions[0]["size"] + added.bytes_written
    assert (added.rows, added.reads) == (1000, [version["uri"]])  # what is kept goes into the new version
    write_parquet(flights, place, partition_cols=["month"], existing_data_behavior="delete_matching")
    (version,) = recorded.last.versions
    assert (version["files"], version["rows"], version["size"]) == (4, 4000, recorded.last.bytes_written)
    assert recorded.last.reads == []


def test_the_rows_of_a_data_set_of_too_many_files_are_not_counted(recorded, flights, tmp_path, monkeypatch):
    monkeypatch.setattr("e2s_tasks.io.datasets.MOST_FOOTERS", 3)
    for _ in range(2):
        write_parquet(flights, tmp_path / "f.parquet", partition_cols=["month"])
    assert (recorded.last.versions[0]["rows"], recorded.last.versions[0]["files"]) == (None, 8)


def test_a_partition_of_several_columns_is_replaced_alone(recorded, flights, tmp_path):
    place, columns = tmp_path / "f.parquet", ["month", "carrier"]
    write_parquet(flights, place, partition_cols=columns)
    chosen = (flights.month == 2) & (flights.carrier == "UA")
    write_parquet(flights[chosen][:10], place, partition_cols=columns, existing_data_behavior="delete_matching")
    left = read_parquet(place).astype({"month": int, "carrier": str})
    assert len(left) == len(flights) - chosen.sum() + 10
    assert ((left.month == 2) & (left.carrier == "UA")).sum() == 10


@pytest.mark.parametrize("behaviour", ["overwrite_or_ignore", "delete_matching"])
def test_files_that_cannot_be_moved_in_leave_the_data_set_as_it_was(behaviour, recorded, flights, tmp_path):
    place = tmp_path / "f.parquet"
    write_parquet(flights[flights.month != 4], place, partition_cols=["month"])
    (place / "month=4").write_text("a file where the partition should go")
    before = files_below(tmp_path)
    with pytest.raises(OSError, match="month=4"):
        write_parquet(flights, place, partition_cols=["month"], existing_data_behavior=behaviour)
    assert files_below(tmp_path) == before
    assert recorded.last.versions == []


def test_the_users_own_file_names_replace_those_of_the_same_name(recorded, flights, tmp_path):
    place = tmp_path / "f.parquet"
    for _ in range(2):
        write_parquet(flights, place, partition_cols=["month"], basename_template="part-{i}.parquet")
        assert len(read_parquet(place)) == len(flights)
    with pytest.raises(SettingError, match="basename_template"):
        write_parquet(flights, "memory://f", partition_cols=["month"], basename_template="part-{i}.parquet")


def test_writers_of_the_same_data_set_do_not_lose_each_others_rows(recorded_anywhere, flights, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        months = [flights[flights.month == month] for month in (1, 2, 3, 4)] * 4
        list(pool.map(lambda frame: write_parquet(frame, tmp_path / "f.parquet", partition_cols=["month"]), months))
    assert len(read_parquet(tmp_path / "f.parquet")) == 4 * len(flights)


def test_what_becomes_of_existing_data_is_said_in_known_words_and_of_data_sets_alone(recorded, flights, tmp_path):
    with pytest.raises(SettingError, match=r"'append' cannot be used.*'delete_matching'"):
        write_parquet(flights, tmp_path / "f", partition_cols=["month"], existing_data_behavior="append")
    with pytest.raises(SettingError, match="give partition_cols too"):
        write_parquet(flights, tmp_path / "f", existing_data_behavior="error")
    assert list(tmp_path.iterdir()) == []


def test_a_file_takes_the_place_of_a_data_set_and_the_reverse(recorded, flights, tmp_path):
    path = tmp_path / "f.parquet"
    for partitions in (None, ["month"], None):
        write_parquet(flights, path, partition_cols=partitions)
        assert path.is_dir() == bool(partitions)
        assert len(read_parquet(path)) == len(flights)
    assert [path.name for path in tmp_path.iterdir()] == ["f.parquet"]


@pytest.mark.parametrize("partitions", [None, ["month"]])
@pytest.mark.parametrize("where", ["local", "remote"])
def test_a_failed_write_leaves_the_old_artifact_and_makes_no_version(
    where, partitions, recorded, flights, tmp_path, remote
):
    path = str(tmp_path / "f.parquet") if where == "local" else "remote://lake/f.parquet"
    write_parquet(flights, path, partition_cols=partitions)
    before = files_below(tmp_path), remote.find("/lake")
    unwritable = pa.table({"month": [1, 2], "span": pa.array([(1, 2, 3)] * 2, pa.month_day_nano_interval())})
    with pytest.raises(pa.ArrowNotImplementedError):
        write_parquet(unwritable, path, partition_cols=partitions)
    assert (files_below(tmp_path), remote.find("/lake")) == before
    pd.testing.assert_frame_equal(
        read_parquet(path)[["number"]].sort_values("number", ignore_index=True), flights[["number"]]
    )
    failed = recorded.spans[1]
    assert failed.failed
    assert failed.versions == []


@pytest.mark.parametrize("other", ["thesis.txt", ".bashrc", "_notes", "planes.parquet", "month=1/notes.txt"])
def test_a_directory_with_other_things_in_it_is_never_replaced(other, recorded, flights, tmp_path):
    target = tmp_path / "output"
    write_parquet(flights, target, partition_cols=["month"])
    (target / other).write_text("years of work")
    before = files_below(tmp_path)
    with pytest.raises(SettingError, match=other.replace(".", r"\.")):
        write_parquet(flights, target)
    assert files_below(tmp_path) == before
    write_parquet(flights, target, partition_cols=["month"])
    assert (target / other).read_text() == "years of work"


def test_the_markers_of_other_writers_are_replaced_with_the_data_set(recorded, flights, tmp_path):
    write_parquet(flights, tmp_path / "f.parquet", partition_cols=["month"])
    (tmp_path / "f.parquet" / "_SUCCESS").touch()
    write_parquet(flights, tmp_path / "f.parquet")
    assert (tmp_path / "f.parquet").is_file()


def test_a_link_is_written_through(recorded, flights, tmp_path):
    (tmp_path / "latest.parquet").symlink_to(tmp_path / "v1.parquet")
    write_parquet(flights, tmp_path / "latest.parquet")
    assert (tmp_path / "latest.parquet").is_symlink()
    assert recorded.last.versions[0]["uri"] == (tmp_path / "v1.parquet").as_uri()


def test_a_table_without_rows_is_a_data_set_without_files(recorded, flights, tmp_path):
    write_parquet(flights[:0], tmp_path / "f.parquet", partition_cols=["month"])
    assert recorded.last.versions[0]["files"] == 0
    write_parquet(flights[:0], tmp_path / "g.parquet")
    assert list(read_parquet(tmp_path / "g.parquet").columns) == list(flights.columns)


# What bad input gets


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
    ],
)
def test_a_uri_has_no_secrets_and_all_of_an_objects_key(url, uri):
    assert uri_of(url) == uri
    assert name_of(uri_of(url)) == uri.rpartition("/")[2]
