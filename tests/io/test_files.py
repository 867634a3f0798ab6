import logging
from hashlib import sha256

import pytest

from e2s_tasks.core.records import Kind
from e2s_tasks.io import movement_sources, reading, uri_of, writing
from e2s_tasks.io.factors import factors


def test_reading_by_other_means_counts_the_file(recorded, tmp_path):
    path = tmp_path / "planes.csv"
    path.write_text("tailnum\nN10156\n")
    with reading(path, rows=1) as file_path:
        assert file_path.read_text().startswith("tailnum")
    span = recorded.last
    assert (span.kind, span.name, span.bytes_read, span.rows) == (Kind.READ, "read planes.csv", 15, 1)
    assert span.reads == [path.as_uri()]


def test_a_failed_read_reads_nothing(recorded, tmp_path):
    with pytest.raises(FileNotFoundError), reading(tmp_path / "none.csv") as path:
        path.read_text()
    assert recorded.last.reads == []


def test_writing_by_other_means_makes_a_version_with_its_size(recorded, tmp_path):
    path = tmp_path / "model.skops"
    with writing(path) as file_path:
        file_path.write_bytes(b"x" * 100)
    assert recorded.last.versions == [
        {
            "uri": path.as_uri(),
            "size": 100,
            "rows": None,
            "format": "skops",
            "schema_digest": None,
            "files": 1,
            "content_digest": f"sha256:{sha256(b'x' * 100).hexdigest()}",
            "written": [["", 100, path.stat().st_mtime_ns]],
        }
    ]


def test_writing_a_directory_counts_everything_below_it(recorded, tmp_path):
    with writing(str(tmp_path / "model")) as path:
        (tmp_path / "model" / "deep").mkdir(parents=True)
        (tmp_path / "model" / "a").write_bytes(b"12")
        (tmp_path / "model" / "deep" / "b").write_bytes(b"345")
    assert isinstance(path, str)
    version = recorded.last.versions[0]
    assert (version["size"], version["files"]) == (5, 2)


def test_a_failed_write_makes_no_version(recorded, tmp_path):
    with pytest.raises(TypeError), writing(tmp_path / "model") as path, path.open("wb") as half:
        half.writelines([b"half", None])
    assert recorded.last.versions == []


def test_a_block_that_wrote_nothing_makes_no_version_but_a_warning(recorded, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "e2s_tasks"), writing(tmp_path / "forgotten"):
        pass
    assert recorded.last.versions == []
    assert "forgotten" in caplog.text


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("/data/x.parquet", "file:///data/x.parquet"),
        ("/data/../x y.parquet", "file:///x%20y.parquet"),
        ("file:///x%20y.parquet", "file:///x%20y.parquet"),
        ("s3://key:secret@bucket/a/?endpoint_override=x", "s3://bucket/a"),
        ("s3a://bucket/a", "s3://bucket/a"),
        ("gcs://bucket/a", "gs://bucket/a"),
        ("simplecache::s3://k:s@bucket/a", "simplecache::s3://bucket/a"),
        ("memory:///a/b", "memory://a/b"),
    ],
)
def test_a_place_has_one_uri_without_secrets(path, uri):
    assert uri_of(path) == uri
    assert uri_of(uri) == uri


def test_every_factor_lies_in_its_range_and_names_its_source():
    for factor in factors().values():
        assert 0 < factor.low <= factor.value <= factor.high
        assert factor.unit == "J/GB"
        assert factor.year >= 2015
        assert factor.source


def test_movement_is_always_modelled_with_a_range():
    sources = {source.component: source for source in movement_sources()}
    assert set(sources) == {"storage", "network"}
    for source in sources.values():
        assert source.provenance == "modelled"
        assert source.low <= 1 <= source.high
    assert (sources["storage"].low, sources["storage"].high) == (0.5, 2.0)


def test_a_gigabyte_from_a_local_disk_is_less_than_a_joule():
    assert factors()["storage"].joules(1_000_000_000) == pytest.approx(0.8)
