from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pandas as pd
import pyarrow as pa
import pytest

from e2s_tasks.core.records import Kind
from e2s_tasks.errors import SettingError
from e2s_tasks.io import read_parquet, write_parquet
from e2s_tasks.io.parquet import schema_digest


def files_below(directory):
    return sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())


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
