"""pandas' and pyarrow's own Parquet calls, measured where measured work makes them."""

import io
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from e2s_tasks import span
from e2s_tasks.io import patch, read_parquet, reading, unpatch, write_parquet
from e2s_tasks.ledger import Ledger
from e2s_tasks.recorder import process_recorder
from e2s_tasks.settings import settings

FRAME = pd.DataFrame(
    {"month": [1 + i % 4 for i in range(4000)], "delay": [float(i * 7919 % 1000) for i in range(4000)]}
)
TABLE = pa.Table.from_pandas(FRAME)


@pytest.fixture(autouse=True)
def patched():
    patch()
    yield
    unpatch()


@pytest.fixture
def measured():
    """What was recorded of a call that is made inside measured work."""

    def run(work):
        block = span("work")
        with block:
            result = work()
        process_recorder().flush()
        records = Ledger.open(settings().ledger).run(block.id)
        calls = sorted((one for one in records.spans if one.kind in ("read", "write")), key=lambda one: one.started_at)
        return result, SimpleNamespace(io=calls, reads=records.reads, versions=records.versions)

    return run


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "delays.parquet"
    pq.write_table(TABLE, path, row_group_size=1000)
    return path


def recorded(path, work, measured):
    """The bytes and rows that the measured reader of this package records of the same read."""
    _, run = measured(lambda: read_parquet(path, **work, to="arrow"))
    return run.io[0].bytes_read, run.io[0].rows


READERS = {
    "pandas": lambda path, **work: pd.read_parquet(path, **work),  # noqa: PLW0108 - looked up when called
    "read_table": lambda path, **work: pq.read_table(path, **work),  # noqa: PLW0108 - looked up when called
    "ParquetDataset": lambda path, columns=None, filters=None: pq.ParquetDataset(path, filters=filters).read(columns),
    "dataset": lambda path, columns=None, filters=None: ds.dataset(path).to_table(
        columns=columns, filter=None if filters is None else pq.filters_to_expression(filters)
    ),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("work", [{}, {"columns": ["delay"]}, {"columns": ["delay"], "filters": [("month", "=", 9)]}])
def test_a_read_is_recorded_as_the_measured_reader_records_it(reader, work, file, measured):
    plain = reader(str(file), **work)
    result, run = measured(lambda: reader(str(file), **work))
    assert result.equals(plain)
    assert [(one.kind, one.name) for one in run.io] == [("read", "read delays.parquet")]
    bytes_read, rows = recorded(file, work, measured)
    assert (run.io[0].rows, run.reads[0].uri) == (rows, file.as_uri())
    schema_looked_at = 65536 if reader is READERS["dataset"] else 0  # as of any data set
    assert 0 <= run.io[0].bytes_read - bytes_read <= schema_looked_at
    assert run.reads[0].files[0][1:] == [file.stat().st_size, file.stat().st_mtime_ns]


def test_a_file_is_read_by_row_groups(file, measured):
    def work():
        opened = pq.ParquetFile(file)
        return opened.read_row_group(1, columns=["delay"]), opened.read(), list(opened.iter_batches(500))

    (group, whole, batches), run = measured(work)
    assert (group.num_rows, whole.num_rows, len(batches)) == (1000, 4000, 8)
    assert [one.rows for one in run.io] == [1000, 4000, 4000]
    chunks = [one.attributes["bytes_column_chunks"] for one in run.io]
    assert chunks[0] == pq.read_metadata(file).row_group(1).column(1).total_compressed_size
    assert chunks[1] == chunks[2] == run.io[1].bytes_read  # its footer was told by the read before
    assert run.io[0].bytes_read == chunks[0] + file.stat().st_size  # which fetched all of so small a file


def test_batches_that_are_left_early_have_read_the_row_groups_they_began(file, measured):
    def work():
        return next(pq.ParquetFile(file).iter_batches(500))

    _, run = measured(work)
    assert run.io[0].attributes["row_groups"] == 1
    assert run.io[0].status == "completed"


def test_a_data_set_that_is_left_early_has_a_read_and_a_gap_for_its_bytes(file, measured):
    _, run = measured(lambda: next(ds.dataset(file).to_batches(batch_size=10)))
    assert (run.io[0].bytes_read, run.reads[0].uri) == (None, file.as_uri())


def test_a_filtered_data_set_stays_measured(file, measured):
    def work():
        found = ds.dataset(file)
        return found.filter(ds.field("month") > 9).to_table().num_rows, found.partitioning

    (rows, partitioning), run = measured(work)
    assert (rows, len(run.io), run.io[0].attributes["row_groups"]) == (0, 1, 0)
    assert type(partitioning) is type(ds.dataset(file).partitioning)


WRITERS = {
    "pandas": lambda path: FRAME.to_parquet(path),  # noqa: PLW0108 - looked up when called
    "write_table": lambda path: pq.write_table(TABLE, path),
    "ParquetWriter": lambda path: write_in_steps(path, 2),
}


def write_in_steps(path, steps, fail=False):
    with pq.ParquetWriter(path, TABLE.schema) as writer:
        for step in range(steps):
            writer.write_table(TABLE.slice(step * 4000 // steps, 4000 // steps))
        if fail:
            raise OSError("the source broke off")


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_a_write_is_one_span_and_one_version(writer, tmp_path, measured):
    path = tmp_path / "out.parquet"
    _, run = measured(lambda: writer(str(path)))
    assert pd.read_parquet(path).equals(FRAME)
    assert [(one.kind, one.name, one.rows, one.bytes_written) for one in run.io] == [
        ("write", "write out.parquet", 4000, path.stat().st_size)
    ]
    version = run.versions[0]
    assert (version.uri, version.bytes, version.rows) == (path.as_uri(), path.stat().st_size, 4000)
    assert version.schema_digest


PARTITIONED = {
    "pandas": lambda path: FRAME.to_parquet(path, partition_cols=["month"]),
    "write_to_dataset": lambda path: pq.write_to_dataset(TABLE, path, partition_cols=["month"]),
    "write_dataset": lambda path: ds.write_dataset(
        TABLE, path, format="parquet", partitioning=["month"], partitioning_flavor="hive"
    ),
}


@pytest.mark.parametrize("writer", PARTITIONED.values(), ids=PARTITIONED)
def test_a_partitioned_write_lists_the_files_that_it_made(writer, tmp_path, measured, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, run = measured(lambda: writer("out"))
    files = {str(path.relative_to("out")) for path in Path("out").rglob("*.parquet")}
    assert {name for name, _, _ in run.versions[0].written} == files
    assert len(files) == 4
    assert (run.versions[0].uri, run.versions[0].rows, len(run.io)) == ((tmp_path / "out").as_uri(), 4000, 1)
    _, run = measured(lambda: pd.read_parquet("out", filters=[("month", "=", 2)]))
    assert run.io[0].rows == 1000
    assert [name.partition("/")[0] for name, _, _ in run.reads[0].files] == ["month=2"]


def test_added_files_stand_on_those_that_were_there(tmp_path, measured):
    path = tmp_path / "out"
    FRAME[:1000].to_parquet(path, partition_cols=["month"])
    _, run = measured(lambda: FRAME[1000:].to_parquet(path, partition_cols=["month"]))
    assert (run.io[0].rows, run.versions[0].rows) == (3000, 4000)
    assert len(run.reads[0].files) == 4  # what it kept


def test_a_data_set_written_from_another_was_read(file, tmp_path, measured):
    _, run = measured(lambda: ds.write_dataset(ds.dataset(file), tmp_path / "out", format="parquet"))
    assert [one.kind for one in run.io] == ["write"]
    assert [one.uri for one in run.reads] == [file.as_uri()]
    assert run.io[0].bytes_read > 0


def test_the_users_own_visitor_is_called(tmp_path, measured):
    seen = []
    measured(lambda: ds.write_dataset(TABLE, tmp_path / "out", format="parquet", file_visitor=seen.append))
    assert [Path(one.path).parent.name for one in seen] == ["out"]


def test_a_failed_write_leaves_no_version(tmp_path, measured):
    def work():
        with pytest.raises(OSError, match="broke off"):
            write_in_steps(tmp_path / "half.parquet", 2, fail=True)
        with pytest.raises(OSError, match="zlib"):
            pq.write_table(TABLE, tmp_path / "bad.parquet", compression="gzip", compression_level=99)
        with pytest.raises(OSError, match="non-existent directory"):
            FRAME.to_parquet(tmp_path / "nowhere" / "out.parquet")

    _, run = measured(work)
    assert [one.status for one in run.io] == ["failed"] * 3
    assert run.versions == []


def test_errors_are_those_of_the_plain_call(tmp_path, measured):
    def error(work):
        try:
            work()
        except Exception as caught:  # noqa: BLE001 - whatever it is
            return type(caught), str(caught)

    for wrong in (
        lambda: pd.read_parquet(tmp_path / "nothing.parquet"),
        lambda: pd.read_parquet(),  # noqa: PLW0108 - looked up when called
        lambda: pq.read_table("nothing.parquet", nothing=1),
        lambda: pd.read_parquet("nowhere://x"),
        lambda: FRAME.to_parquet(3),
    ):
        unpatch()
        plain = error(wrong)
        patch()
        assert measured(lambda wrong=wrong: error(wrong))[0] == plain


def test_what_is_counted_already_counts_once(file, tmp_path, measured):
    def work():
        with reading(file) as path:
            pd.read_parquet(path)
        read_parquet(file)
        write_parquet(FRAME, tmp_path / "out.parquet")
        write_parquet(FRAME, tmp_path / "parts", partition_cols=["month"])
        write_parquet(ds.dataset(file), tmp_path / "copy.parquet")
        return read_parquet(ds.dataset(file))

    _, run = measured(work)
    assert [one.kind for one in run.io] == ["read", "read", "write", "write", "write", "read", "read"]


def test_memory_is_no_place(measured):
    def work():
        buffer = io.BytesIO()
        FRAME.to_parquet(buffer)
        assert FRAME.to_parquet()
        return pd.read_parquet(io.BytesIO(buffer.getvalue()))

    result, run = measured(work)
    assert result.equals(FRAME)
    assert run.io == []


class Store(MemoryFileSystem):
    """An object store as far as the library can tell."""

    protocol = "patchedstore"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol("memory://" + path.rpartition("://")[2])


fsspec.register_implementation("patchedstore", Store, clobber=True)


@pytest.mark.parametrize("partition_cols", [None, ["month"]])
def test_a_remote_place_has_the_name_that_the_measured_reader_gives_it(partition_cols, measured):
    url = f"patchedstore://lake/{'parts' if partition_cols else 'x.parquet'}"

    def work():
        FRAME.to_parquet(url, partition_cols=partition_cols)
        return pd.read_parquet(url, columns=["delay"]), read_parquet(url, columns=["delay"])

    (theirs, ours), run = measured(work)
    assert theirs.equals(ours)
    assert len(run.io) == 3
    assert {one.uri for one in run.reads} == {one.uri for one in run.versions} == {url}
    assert [one.network_j > 0 for one in run.io] == [True] * 3
    written = {name for name, _, _ in run.versions[0].written}
    assert [{name for name, _, _ in one.files} for one in run.reads] == [written, written]
    assert len(written) == (4 if partition_cols else 1)


def test_an_open_file_is_known_by_its_name(file, measured):
    def work():
        with file.open("rb") as stream:
            return pd.read_parquet(stream)

    result, run = measured(work)
    assert result.equals(FRAME)
    assert (run.reads[0].uri, run.io[0].rows) == (file.as_uri(), 4000)
    assert run.io[0].bytes_read == recorded(file, {}, measured)[0]


def test_outside_measured_work_nothing_is_recorded(file, measured):
    _, run = measured(lambda: None)
    opened = []
    with pytest.MonkeyPatch.context() as watched:
        watched.setattr(process_recorder(), "span", lambda *given: opened.append(given))
        assert type(ds.dataset(file)) is ds.FileSystemDataset
        assert pd.read_parquet(file).equals(FRAME)
        FRAME.to_parquet(file)
    assert opened == run.io == []


def test_the_functions_look_like_themselves_and_come_back(file):
    import inspect
    import pickle

    assert inspect.signature(pd.read_parquet).parameters["columns"].default is None
    assert pickle.loads(pickle.dumps(pd.read_parquet)) is pd.read_parquet
    ours = pd.read_parquet, pq.read_table, pq.ParquetWriter.close, ds.dataset
    patch()  # again, which changes nothing
    assert ours == (pd.read_parquet, pq.read_table, pq.ParquetWriter.close, ds.dataset)
    unpatch()
    assert not any(hasattr(one, "__wrapped__") for one in (pq.read_table, pq.ParquetWriter.close, ds.dataset))
    assert pd.read_parquet is pd.io.parquet.read_parquet
    assert pd.read_parquet is not ours[0]


PROGRAM = """
    import sys
    {before}
    from e2s_tasks import span
    with span("work"):
        assert {loaded} == ("pandas" in sys.modules), sorted(sys.modules)
        {work}
    from e2s_tasks.ledger import Ledger
    from e2s_tasks.recorder import process_recorder
    from e2s_tasks.settings import settings
    process_recorder().flush()
    import sqlite3
    print(sorted(sqlite3.connect(settings().data_dir / "ledger.db").execute("select kind, name from span").fetchall()))
"""


@pytest.mark.parametrize(
    ("before", "work", "found"),
    [
        ("import pandas", "pandas.read_parquet({file!r})", "[('read', 'read delays.parquet'), ('span', 'work')]"),
        ("", "import pandas; pandas.read_parquet({file!r})", "[('read', 'read delays.parquet'), ('span', 'work')]"),
        ("", "pass", "[('span', 'work')]"),
    ],
    ids=["pandas before", "pandas later", "no pandas"],
)
def test_the_setting_measures_whenever_pandas_is_imported(before, work, found, file, tmp_path):
    program = textwrap.dedent(PROGRAM).format(
        before=before, loaded="pandas" in before, work=work.format(file=str(file))
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"E2S_DATA_DIR": str(tmp_path / "data"), "E2S_PATCH_IO": "true", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (found, "")
