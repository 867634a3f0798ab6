"""What reads say they moved, against a file system that counts for itself."""

import numpy as np
import pyarrow as pa
import pytest
from counted import counted
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import dataset, parquet
from pyarrow.fs import LocalFileSystem

from e2s_tasks.io import read_parquet, scan_parquet, write_parquet

COLUMNS = ("a", "b", "small", "text", "p")


def table(rows):
    draw = np.random.default_rng(1)
    return pa.table(
        {
            "a": draw.integers(0, 1 << 40, rows),
            "b": np.arange(rows),
            "small": np.zeros(rows, int),
            "text": [f"{i % 500}" for i in range(rows)],
            "p": np.arange(rows) * 3 // rows,
        }
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    parquet.write_table(table(60_000), folder / "one.parquet", row_group_size=7_000)
    parquet.write_to_dataset(table(60_000), folder / "many", partition_cols=["p"], row_group_size=5_000)
    wide = pa.table({f"column_{i}": [1.0] for i in range(900)})
    parquet.write_table(wide, folder / "wide.parquet")
    return folder


@pytest.mark.parametrize("name", ["one.parquet", "many", "wide.parquet"])
def test_a_read_of_everything_moved_what_an_independent_counter_saw(name, recorded, stored):
    filesystem, counter = counted()
    read_parquet(str(stored / name), filesystem=filesystem)
    assert recorded.last.bytes_read == counter.count > 0


@settings(max_examples=60)
@given(
    name=st.sampled_from(["one.parquet", "many"]),
    columns=st.none() | st.lists(st.sampled_from(COLUMNS), unique=True),
    at=st.none() | st.integers(0, 60_000),
    part=st.none() | st.integers(0, 3),
    pre_buffer=st.booleans(),
    scanned=st.booleans(),
)
def test_projection_and_filters_move_what_an_independent_counter_saw(
    name, columns, at, part, pre_buffer, scanned, stored, recorded_spans
):
    filters = [term for term in [("b", ">=", at), ("p", "=", part)] if term[2] is not None] or None
    filesystem, counter = counted()
    options = {"filesystem": filesystem, "pre_buffer": pre_buffer}
    if scanned:
        rows = sum(batch.num_rows for batch in scan_parquet(str(stored / name), columns, filters, **options))
    else:
        rows = len(read_parquet(str(stored / name), columns, filters, to="arrow", **options))
    assert (recorded_spans.last.bytes_read, recorded_spans.last.rows) == (counter.count, rows)


def test_a_scan_that_is_left_early_moved_only_the_row_groups_that_were_begun(recorded, stored):
    filesystem, counter = counted()
    for number, _ in enumerate(
        scan_parquet(str(stored / "one.parquet"), ["a"], filesystem=filesystem, batch_size=1000)
    ):
        if number == 8:  # in the second row group of 7,000 rows
            break
    assert recorded.last.bytes_read == counter.count
    assert recorded.last.attributes["row_groups"] == 2
    assert recorded.last.rows == 9000


def test_a_data_set_that_the_user_has_opened_is_counted_from_where_it_was(recorded, stored):
    filesystem, counter = counted()
    opened = dataset.dataset(str(stored / "many"), filesystem=filesystem, partitioning="hive")
    counter.count = 0
    read_parquet(opened, ["a"], [("p", "=", 1)], to="arrow")
    assert recorded.last.bytes_read == counter.count
    assert recorded.last.reads[0].endswith("/many")


@pytest.mark.parametrize("columns", [["p.a"], ["p.c.d"], ["p.c"], ["q"], ["q.x", "p.a"], ["l"]])
@pytest.mark.parametrize("scanned", [False, True])
def test_of_nested_columns_an_independent_counter_saw_as_much(columns, scanned, recorded, tmp_path):
    path = str(tmp_path / "nested.parquet")
    rows = [{"a": i, "b": i * 7, "c": {"d": f"{i * i}", "e": i}} for i in range(30_000)]
    others = {"q": [f"{i}" for i in range(30_000)], "q.x": list(range(30_000))}
    parquet.write_table(pa.table({"p": rows, **others, "l": [[{"e": i, "f": f"{i}"}] for i in range(30_000)]}), path)
    filesystem, counter = counted()
    if scanned:
        for _ in scan_parquet(path, columns, filesystem=filesystem):
            pass
    else:
        read_parquet(path, columns, filesystem=filesystem, to="arrow")
    assert recorded.last.bytes_read == counter.count > 0


FILTERS = [
    [("s", "=", "s5 y")],
    [("temp-max", "<", 0.5)],
    dataset.field("s").isin(["s5 y", "temp k"]),
    (dataset.field("temp-max") < 0.5) | (dataset.field("s") == "y"),
    dataset.field(1) < 0.5,
]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_a_filter_touches_the_columns_that_it_looks_at_whatever_else_its_text_says(filters, recorded, tmp_path):
    path = str(tmp_path / "t.parquet")
    draw = np.random.default_rng(1)
    columns = {name: draw.random(20_000) for name in ("temp", "temp-max", "k", "y", "x")}
    parquet.write_table(pa.table(columns | {"s": [f"s{i % 9} y" for i in range(20_000)]}), path)
    filesystem, counter = counted()
    read_parquet(path, ["x"], filters, filesystem=filesystem, to="arrow")
    assert recorded.last.bytes_read == counter.count > 0


@pytest.mark.parametrize("columns", [None, ["a"]])
@pytest.mark.parametrize("filters", [None, [("b", ">", 30_000)]])
@pytest.mark.parametrize("own", [dataset.field("p") == 1, dataset.field("b") < 1000])
def test_of_a_filtered_data_set_nothing_is_fetched_twice(columns, filters, own, recorded, stored):
    filesystem, counter = counted()
    opened = dataset.dataset(str(stored / "many"), filesystem=filesystem, partitioning="hive").filter(own)
    counter.count = 0
    read_parquet(opened, columns, filters, to="arrow")
    assert recorded.last.bytes_read == counter.count > 0


def test_a_data_set_that_is_read_again_has_its_footers_already(recorded, stored):
    filesystem, counter = counted()
    opened = dataset.dataset(str(stored / "many"), filesystem=filesystem, partitioning="hive")
    for filters in ([("p", "=", 1)], [("p", "=", 1)], None, None):
        counter.count = 0
        read_parquet(opened, ["a"], filters, to="arrow")
        assert recorded.last.bytes_read == counter.count
    counter.count = 0
    before = len(recorded.spans)
    read_parquet([opened, str(stored / "one.parquet")], ["a"], filesystem=None, to="arrow")
    assert recorded.spans[before].bytes_read == counter.count


@pytest.mark.parametrize("columns", [None, ["a"]])
@pytest.mark.parametrize("filters", [None, [("b", ">", 30_000)]])
def test_the_paths_of_a_list_moved_what_an_independent_counter_saw(columns, filters, recorded, stored):
    filesystem, counter = counted()
    paths = [str(stored / "one.parquet"), *map(str, (stored / "many").rglob("*.parquet"))]
    read_parquet(paths, columns, filters, filesystem=filesystem, to="arrow")
    assert sum(span.bytes_read for span in recorded.spans) == counter.count > 0


@pytest.mark.parametrize("condition", [None, dataset.field("p") == 1])
@pytest.mark.parametrize("partitioned", [False, True])
def test_a_data_set_that_is_written_elsewhere_is_read(condition, partitioned, recorded, stored, tmp_path):
    filesystem, counter = counted()
    opened = dataset.dataset(str(stored / "many"), filesystem=filesystem, partitioning="hive")
    opened = opened if condition is None else opened.filter(condition)
    counter.count = 0
    write_parquet(opened, tmp_path / "copy", partition_cols=["p"] if partitioned else None)
    write, read = recorded.spans
    assert read.bytes_read == counter.count > 0
    assert read.reads[0].endswith("/many")
    assert len(read.files_read[0]) == (3 if condition is None else 1)
    assert write.versions[0]["rows"] == write.rows == (60_000 if condition is None else 20_000)
    assert write.reads == []


def test_a_union_of_data_sets_that_is_written_has_read_each(recorded, stored, tmp_path):
    parts = [dataset.dataset(str(stored / "one.parquet")), dataset.dataset(str(stored / "wide.parquet"))]
    write_parquet(dataset.dataset(parts[:1] * 2), tmp_path / "both.parquet")
    _, first, second = recorded.spans
    assert first.reads == second.reads == [(stored / "one.parquet").as_uri()]


def test_a_data_set_that_replaces_itself_was_read_as_it_was(recorded, tmp_path):
    path = tmp_path / "t.parquet"
    parquet.write_table(table(1000), path)
    before = [["", path.stat().st_size, path.stat().st_mtime_ns]]
    write_parquet(dataset.dataset(str(path)), path, compression="zstd")
    write, read = recorded.spans
    assert read.files_read == [before]
    assert write.versions[0]["written"] != before


def test_what_is_written_is_what_lies_there_afterwards(recorded, tmp_path):
    write_parquet(table(1000), tmp_path / "t", partition_cols=["p"])
    assert recorded.last.bytes_written == sum(path.stat().st_size for path in (tmp_path / "t").rglob("*.parquet"))


def test_a_file_system_of_the_users_own_is_read_whatever_it_calls_its_parts(recorded, tmp_path):
    filesystem, handler = counted()
    handler.fs = LocalFileSystem()
    write_parquet(pa.table({"a": [1, 2]}), tmp_path / "t.parquet")
    assert read_parquet(str(tmp_path / "t.parquet"), filesystem=filesystem)["a"].tolist() == [1, 2]
    assert recorded.last.bytes_read == handler.count > 0
