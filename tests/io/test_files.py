import logging
from hashlib import sha256

import pytest
from pyarrow.fs import FileSelector, LocalFileSystem

from e2s_tasks.core.records import Kind
from e2s_tasks.io import reading, uri_of, writing
from e2s_tasks.io.inventory import inventory
from e2s_tasks.io.places import place_of


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
        ("simplecache::s3://k:s@bucket/a", "s3://bucket/a"),
        ("memory:///a/b", "memory://a/b"),
    ],
)
def test_a_place_has_one_uri_without_secrets(path, uri):
    assert uri_of(path) == uri
    assert uri_of(uri) == uri


@pytest.mark.parametrize("uri", ["models:/delay/3", "runs:/abc/model", "dbfs:/mnt/x"])
def test_a_name_that_is_no_file_stays_as_it_is(uri):
    assert uri_of(uri) == uri


def test_of_a_directory_only_what_the_block_wrote_is_new(recorded, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("old")
    (tmp_path / "model" / "changed").write_text("a")
    with writing(tmp_path / "model") as path:
        (path / "changed").write_text("ab")
        (path / "new").write_text("abc")
    span, (version,) = recorded.last, recorded.last.versions
    assert [file[:2] for file in version["written"]] == [["changed", 2], ["new", 3]]
    assert (version["size"], version["files"], span.bytes_written) == (8, 3, 5)
    assert [file[:2] for file in span.files_read[0]] == [["old", 3]]
    assert version["content_digest"] is None


def test_of_very_many_files_the_list_is_not_kept(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr("e2s_tasks.io.inventory.MOST_FILES", 3)
    (tmp_path / "model").mkdir()
    with writing(tmp_path / "model") as path:
        for name in range(4):
            (path / str(name)).write_text("x")
    assert (recorded.last.versions[0]["written"], recorded.last.versions[0]["files"]) == (None, 4)
    with reading(tmp_path / "model"):
        pass
    assert (recorded.last.files_read, recorded.last.bytes_read) == ([None], 4)


def test_links_are_followed_but_for_those_back_to_a_folder_around_them(recorded, tmp_path):
    folder, other = tmp_path / "data", tmp_path / "other"
    for made in (folder / "a", other):
        made.mkdir(parents=True)
        (made / "part").write_bytes(b"x" * 10)
    (folder / "linked").symlink_to(other)
    (folder / "a" / "back").symlink_to(folder)
    (folder / "a" / "itself").symlink_to(folder / "a")
    (folder / "nowhere").symlink_to(tmp_path / "none")
    (folder / "loop").symlink_to(folder / "loop")
    for number in range(12):  # folders that all link to each other have more paths than anybody could walk
        (other / f"{number}").mkdir()
        for linked in range(12):
            (other / f"{number}" / f"to{linked}").symlink_to(other / f"{linked}")
    with reading(folder):
        pass
    assert recorded.last.bytes_read == 20
    assert [path for path, _, _ in recorded.last.files_read[0]] == ["a/part", "linked/part"]


def test_the_files_of_a_directory_are_stamped_as_arrow_stamps_them(tmp_path):
    for name in ("b/two", "one"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    listed = LocalFileSystem().get_file_info(FileSelector(str(tmp_path), recursive=True))
    expected = {(info.path, info.size, info.mtime_ns) for info in listed if info.is_file}
    assert {(f"{tmp_path}/{file.path}", file.size, file.stamp) for file in inventory(place_of(tmp_path))} == expected


def test_a_link_that_leads_to_itself_is_a_file_that_is_not_there(recorded, tmp_path):
    link = tmp_path / "itself"
    link.symlink_to(link)
    assert uri_of(link) == link.as_uri()
    with pytest.raises(FileNotFoundError):
        inventory(place_of(link))
    with pytest.raises(OSError, match="itself"), reading(link) as path:
        path.read_text()
