"""Everything of measured I/O on a real S3-compatible server, through pyarrow's own file system and through fsspec."""

import os

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from e2s_tasks.core.records import Kind
from e2s_tasks.io import MissingFileError, copy, read_parquet, reading, scan_parquet, write_parquet, writing
from e2s_tasks.io.factors import factors

WAYS = ["pyarrow", "fsspec", "fsspec url"]


@pytest.fixture(scope="module")
def server():
    try:
        import s3fs  # noqa: F401 - what fsspec's way needs
        from s3_server import BUCKET, S3Server
    except ImportError as error:
        if os.environ.get("TEST_SERVERS") == "required":
            raise
        pytest.skip(f"no S3-compatible server: {error}")
    made = S3Server()
    made.arrow().create_dir(BUCKET)
    yield made
    made.close()


@pytest.fixture
def s3(server):
    server.refuse = None
    store = server.arrow()
    store.delete_dir_contents("lake", missing_dir_ok=True)
    server.traffic.reset()
    return server


@pytest.fixture(params=WAYS)
def at(request, s3):
    """A function that gives the name of an object, and the arguments that go with it."""
    if request.param == "pyarrow":
        return lambda key: (f"lake/{key}", {"filesystem": s3.arrow()})
    if request.param == "fsspec":
        import s3fs

        spec = s3fs.S3FileSystem(**s3.storage_options)
        return lambda key: (f"lake/{key}", {"filesystem": spec})
    return lambda key: (f"s3://lake/{key}", {"storage_options": s3.storage_options})


@pytest.fixture
def flights():
    rows = 20_000
    return pa.table(
        {"month": [1 + i * 4 // rows for i in range(rows)], "delay": [i * 7919 % 9973 for i in range(rows)],
         "number": list(range(rows))}
    )  # fmt: skip


def test_what_is_written_is_read_back_and_has_one_name(recorded, flights, s3, at):
    name, where = at("f.parquet")
    write_parquet(flights, name, **where)
    written = recorded.last
    assert read_parquet(name, to="arrow", **where).equals(flights)
    pd.testing.assert_frame_equal(read_parquet(name, ["delay"], **where), flights.select(["delay"]).to_pandas())
    (version,) = written.versions
    assert s3.objects() == {"f.parquet": version["size"]}
    assert version["uri"] == recorded.last.reads[0] == "s3://lake/f.parquet"
    assert written.network_j == pytest.approx(factors()["network"].value * version["size"] / 1e9)
    assert written.storage_j is None


def test_readers_and_writers_of_both_kinds_name_the_same_files(recorded, flights, s3):
    import s3fs

    ways = [s3.arrow(), s3fs.S3FileSystem(**s3.storage_options)]
    for writer, reader in [ways, ways[::-1]]:
        write_parquet(flights, "lake/f", partition_cols=["month"], filesystem=writer)
        written = recorded.last.versions[0]["written"]
        read_parquet("lake/f", filters=[("month", ">", 2)], filesystem=reader)
        assert recorded.last.files_read == [[file for file in written if file[0][:7] in ("month=3", "month=4")]]
        s3.arrow().delete_dir("lake/f")


def test_the_bytes_of_a_read_are_those_that_went_over_the_wire(recorded, flights, s3, at):
    name, where = at("f.parquet")
    big = pa.concat_tables([flights] * 20)
    write_parquet(big, name, row_group_size=50_000, **where)
    for columns, filters in [(None, None), (["number"], None), (["delay"], [("number", "<", 100), ("month", "=", 1)])]:
        s3.traffic.reset()
        read_parquet(name, columns, filters, to="arrow", **where)
        assert recorded.last.bytes_read == s3.traffic.sent > 0


def test_a_partitioned_data_set_is_added_to_pruned_and_replaced(recorded, flights, s3, at):
    name, where = at("deep/f")
    write_parquet(flights, name, partition_cols="month", **where)
    first = recorded.last.versions[0]
    assert len(first["written"]) == first["files"] == 4
    march = flights.filter(pa.compute.field("month") == 3)
    write_parquet(march, name, partition_cols="month", **where)
    (added,) = recorded.last.versions
    assert (added["files"], added["rows"], len(added["written"])) == (5, 25_000, 1)
    assert recorded.last.files_read == [first["written"]]  # kept
    write_parquet(march, name, partition_cols="month", existing_data_behavior="delete_matching", **where)
    (replaced,) = recorded.last.versions
    assert (replaced["files"], replaced["rows"]) == (4, 20_000)
    assert recorded.last.files_read == [[file for file in first["written"] if not file[0].startswith("month=3")]]
    s3.traffic.reset()
    assert len(read_parquet(name, filters=[("month", "=", 3)], **where)) == 5000
    assert recorded.last.attributes["files"] == 1
    assert recorded.last.files_read == [replaced["written"]]


def test_batches_stream_down_and_up(recorded, flights, s3, at):
    name, where = at("f.parquet")
    write_parquet(scan_and_count := iter(flights.to_batches(max_chunksize=3000)), name, row_group_size=8000, **where)
    assert next(scan_and_count, None) is None
    assert recorded.last.attributes["row_groups"] == 3
    s3.traffic.reset()
    with scan_parquet(name, ["number"], batch_size=1000, **where) as batches:
        assert next(batches)["number"].to_pylist() == list(range(1000))
    assert recorded.last.bytes_read == s3.traffic.sent > 0
    assert recorded.last.attributes["row_groups"] == 1
    assert sum(batch.num_rows for batch in scan_parquet(name, **where)) == 20_000


@pytest.mark.parametrize("partitions", [None, ["month"]])
def test_a_write_that_fails_in_the_middle_leaves_what_was_there(partitions, recorded, flights, s3, at):
    name, where = at("f.parquet")

    def broken():
        for _ in range(40):
            yield from flights.to_batches()
        raise RuntimeError("the source broke")

    for existing in (False, True):
        if existing:
            write_parquet(flights, name, partition_cols=partitions, **where)
        before = s3.objects()
        with pytest.raises(RuntimeError, match="the source broke"):
            write_parquet(broken(), name, partition_cols=partitions, row_group_size=10_000, compression=None, **where)
        assert s3.objects() == before
        assert s3.uploads() == []
        assert recorded.last.failed
        assert recorded.last.versions == []


def test_a_store_that_refuses_the_upload_leaves_what_was_there(recorded, flights, s3, at):
    name, where = at("f.parquet")
    write_parquet(flights, name, **where)
    before = s3.objects()
    s3.refuse = lambda method, path: method in ("PUT", "POST") and "f.parquet" in path
    with pytest.raises(OSError):  # noqa: PT011 - each client has its own words
        write_parquet(pa.concat_tables([flights] * 2), name, **where)
    s3.refuse = None
    assert s3.objects() == before
    assert recorded.last.versions == []


def test_a_large_write_goes_up_in_parts_and_is_whole(recorded, s3, at):
    name, where = at("big.parquet")
    batch = pa.record_batch(
        {"x": pa.array(os.urandom(8 << 20))} if False else {"x": pa.array([os.urandom(1 << 20)] * 8)}
    )
    write_parquet((batch for _ in range(4)), name, compression=None, use_dictionary=False, row_group_size=8, **where)
    assert s3.objects()["big.parquet"] == recorded.last.bytes_written > 32 << 20
    assert recorded.last.attributes["bytes_in_memory"] >= 32 << 20
    assert sum(batch.num_rows for batch in scan_parquet(name, **where)) == 32


def test_nothing_there_is_named(recorded, s3, at):
    name, where = at("none.parquet")
    with pytest.raises(MissingFileError, match="s3://lake/none"):
        read_parquet(name, **where)
    with pytest.raises(MissingFileError, match="s3://lake/none"):
        scan_parquet(name, **where)
    assert recorded.last.failed


def test_a_file_goes_up_and_down_unchanged(recorded, s3, at, tmp_path):
    (tmp_path / "model.bin.gz").write_bytes(content := os.urandom(300_000))
    name, where = at("models/model.bin.gz")
    to = {f"target_{key}": value for key, value in where.items()}
    assert copy(tmp_path / "model.bin.gz", name, **to) == len(content)
    up = recorded.last
    assert (up.kind, up.bytes_read, up.bytes_written) == (Kind.MOVE, 300_000, 300_000)
    assert up.storage_j > 0
    assert up.network_j > 0
    assert up.reads == [(tmp_path / "model.bin.gz").as_uri()]
    (version,) = up.versions
    assert (version["uri"], version["size"], version["format"]) == ("s3://lake/models/model.bin.gz", 300_000, "gz")
    s3.traffic.reset()
    copy(name, tmp_path / "back.gz", **{f"source_{key}": value for key, value in where.items()})
    assert (tmp_path / "back.gz").read_bytes() == content
    assert recorded.last.bytes_read == s3.traffic.sent == 300_000
    assert recorded.last.files_read == [version["written"]]


def test_a_directory_goes_up_and_down_with_all_that_is_in_it(recorded, flights, s3, at, tmp_path):
    parquet.write_to_dataset(flights, tmp_path / "f", partition_cols=["month"])
    name, where = at("copies/f")
    copy(tmp_path / "f", name, **{f"target_{key}": value for key, value in where.items()})
    assert (recorded.last.versions[0]["files"], len(s3.objects())) == (4, 4)
    copy(name, tmp_path / "back", **{f"source_{key}": value for key, value in where.items()})
    assert parquet.read_table(tmp_path / "back").equals(parquet.read_table(tmp_path / "f"))
    assert len(recorded.last.versions[0]["written"]) == 4


def test_a_copy_that_fails_leaves_no_half_target(recorded, flights, s3, at, tmp_path):
    parquet.write_to_dataset(flights, tmp_path / "f", partition_cols=["month"])
    name, where = at("copies/f")
    s3.refuse = lambda method, path: method in ("PUT", "POST") and "month%3D3" in path.replace("=", "%3D")
    with pytest.raises(OSError):  # noqa: PT011 - each client has its own words
        copy(tmp_path / "f", name, **{f"target_{key}": value for key, value in where.items()})
    s3.refuse = None
    assert s3.objects() == {}
    assert recorded.last.versions == []
    copy(tmp_path / "f", name, **{f"target_{key}": value for key, value in where.items()})
    s3.refuse = lambda method, path: method == "GET" and "month%3D3" in path.replace("=", "%3D")
    with pytest.raises(OSError):  # noqa: PT011
        copy(name, tmp_path / "back", **{f"source_{key}": value for key, value in where.items()})
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_other_files_are_read_and_written_by_other_means(recorded, s3, at):
    name, where = at("notes.txt")
    with writing(name, **where), s3.arrow().open_output_stream("lake/notes.txt") as stream:
        stream.write(b"twelve bytes")
    assert recorded.last.versions[0]["written"][0][:2] == ["", 12]
    with reading(name, **where):
        pass
    assert (recorded.last.bytes_read, recorded.last.reads) == (12, ["s3://lake/notes.txt"])
