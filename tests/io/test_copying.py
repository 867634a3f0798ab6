"""Copies of files and directories on this machine; test_object_stores.py has those up and down."""

import gzip
import zipfile

import fsspec
import pandas as pd
import pytest

from e2s_tasks.core.records import Kind
from e2s_tasks.errors import SettingError
from e2s_tasks.io import MissingFileError, copy, read_parquet, uri_of, write_parquet


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "a.bin").write_bytes(b"1" * 100)
    (tmp_path / "model" / "deep" / "b.bin").write_bytes(b"2" * 50)
    return tmp_path / "model"


def below(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_copy_reads_its_source_and_makes_a_version_of_its_target(recorded, tmp_path):
    source, target = tmp_path / "a.csv", tmp_path / "new" / "b.csv"
    source.write_bytes(b"x" * 1000)
    assert copy(source, str(target)) == 1000
    span = recorded.last
    assert (span.kind, span.name, span.bytes_read, span.bytes_written) == (Kind.MOVE, "copy a.csv", 1000, 1000)
    assert span.storage_j == pytest.approx(2 * 0.8e-6)
    assert span.reads == [source.as_uri()]
    assert span.files_read == [[["", 1000, source.stat().st_mtime_ns]]]
    (version,) = span.versions
    assert (version["uri"], version["size"], version["format"]) == (target.as_uri(), 1000, "csv")
    assert version["written"] == [["", 1000, target.stat().st_mtime_ns]]


def test_compressed_files_are_copied_as_they_are(recorded, tmp_path):
    (tmp_path / "a.gz").write_bytes(content := gzip.compress(b"x" * 1000))
    copy(tmp_path / "a.gz", tmp_path / "b.gz")
    assert (tmp_path / "b.gz").read_bytes() == content


def test_a_directory_is_copied_with_all_that_is_below_it(recorded, model, tmp_path):
    assert copy(model, tmp_path / "copy") == 150
    assert below(tmp_path / "copy") == below(model)
    (version,) = recorded.last.versions
    assert [file[:2] for file in version["written"]] == [["a.bin", 100], ["deep/b.bin", 50]]


def test_a_file_gives_way_and_a_directory_does_not(recorded, model, tmp_path):
    (tmp_path / "a").write_text("old")
    copy(model / "a.bin", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"1" * 100
    with pytest.raises(SettingError, match=r"something at .*/a already"):
        copy(model, tmp_path / "a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(SettingError, match=r"full already"):
        copy(model, tmp_path / "full")
    with pytest.raises(SettingError, match=r"name the copy itself, for example .*/full/a\.bin"):
        copy(model / "a.bin", tmp_path / "full")
    assert below(tmp_path / "full") == {"mine": b"x"}


@pytest.mark.parametrize("inside", ["", "deep/copy"])
def test_a_copy_onto_or_into_itself_is_named(inside, recorded, model):
    with pytest.raises(SettingError, match="itself or inside it"):
        copy(model, model / inside)


def test_a_copy_of_nothing_is_named_with_what_is_near(recorded, model, tmp_path):
    with pytest.raises(MissingFileError, match="Near it: model"):
        copy(tmp_path / "modle", tmp_path / "b")


def test_a_copy_that_fails_leaves_nothing_half(recorded, model, tmp_path):
    (model / "zz").symlink_to("/proc/self/mem")  # opens, and cannot be read
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(OSError):  # noqa: PT011 - the system's own words
        copy(model, tmp_path / "copy")
    (tmp_path / "old").write_text("old")
    with pytest.raises(OSError):  # noqa: PT011
        copy(model / "zz", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "old"])
    assert [span.versions for span in recorded.spans] == [[], []]


def test_links_in_a_directory_are_followed_and_those_that_lead_nowhere_or_round_are_named(recorded, tmp_path):
    source, aside = tmp_path / "source", tmp_path / "aside"
    source.mkdir(), aside.mkdir()
    (aside / "table.csv").write_text("a\n1\n")
    (source / "linked").symlink_to(aside)
    (source / "again").symlink_to(aside)  # twice the same is no circle
    assert copy(source, tmp_path / "copied") == 8
    assert (tmp_path / "copied" / "linked" / "table.csv").read_text() == "a\n1\n"
    assert not (tmp_path / "copied" / "linked").is_symlink()
    (aside / "round").symlink_to(source)
    with pytest.raises(SettingError, match="leads back to a folder around it"):
        copy(source, tmp_path / "another")
    (aside / "round").unlink()
    (source / "dead").symlink_to("nowhere")
    with pytest.raises(SettingError, match="dead is a link to nothing"):
        copy(source, tmp_path / "another")
    assert not (tmp_path / "another").exists()


@pytest.fixture
def archive(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"x": range(100)}).to_parquet("a.parquet")
    with zipfile.ZipFile("z.zip", "w") as made:
        made.write("a.parquet")
    return (tmp_path / "z.zip").as_uri()


@pytest.mark.parametrize("there", ["z.zip", "{folder}/z.zip", "{url}"])
def test_a_file_in_an_archive_is_that_file_and_no_write_harms_the_archive(there, archive, recorded, tmp_path):
    there = there.format(folder=tmp_path, url=archive)
    before = (tmp_path / "z.zip").read_bytes()
    assert len(read_parquet(f"zip://a.parquet::{there}")) == 100
    assert recorded.last.reads == [f"zip://a.parquet::{archive}"]
    assert recorded.last.name == "read z.zip"
    copy(f"zip://a.parquet::{there}", "out.parquet")
    assert len(read_parquet("out.parquet")) == 100
    with pytest.raises(OSError, match="ZipFS"):
        write_parquet(pd.DataFrame({"x": [1]}), f"zip://b.parquet::{there}")
    assert (tmp_path / "z.zip").read_bytes() == before


def test_an_archive_that_is_open_already_is_the_same_place(archive, recorded):
    opened = fsspec.filesystem("zip", fo="z.zip")
    read_parquet("a.parquet", filesystem=opened)
    assert recorded.last.reads == [f"zip://a.parquet::{archive}"]


def test_a_folder_that_is_a_file_system_of_its_own_is_told_with_its_path(recorded, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        inside = fsspec.filesystem("dir", path=str(tmp_path / name), fs=fsspec.filesystem("file"))
        write_parquet(pd.DataFrame({"x": [1]}), "same.parquet", filesystem=inside)
        assert recorded.last.versions[0]["uri"] == (tmp_path / name / "same.parquet").as_uri()
        assert len(read_parquet("same.parquet", filesystem=inside)) == 1


def test_a_url_in_short_and_one_that_keeps_a_copy_are_the_place_itself(archive, recorded, tmp_path):
    plain = (tmp_path / "a.parquet").as_uri()
    assert uri_of(f"file:{tmp_path}/a.parquet") == uri_of(f"simplecache::{plain}") == plain
    assert uri_of("simplecache::s3://lake/a") == "s3://lake/a"
    assert len(read_parquet(f"file:{tmp_path}/a.parquet")) == 100


def test_a_file_url_without_a_third_slash_is_in_the_working_directory(archive, recorded, tmp_path):
    write_parquet(pd.DataFrame({"x": [1]}), "file://new.parquet")
    assert (tmp_path / "new.parquet").is_file()
    assert (tmp_path / "a.parquet").is_file()
    assert uri_of("file://localhost/data/x") == "file:///data/x"
    assert uri_of("~nobody-of-that-name.parquet") == (tmp_path / "~nobody-of-that-name.parquet").as_uri()


@pytest.mark.parametrize("filesystem", ["file", 5])
def test_what_is_no_file_system_is_named(filesystem, recorded):
    with pytest.raises(SettingError, match=rf"filesystem={filesystem!r} is no file system"):
        read_parquet("a.parquet", filesystem=filesystem)
    with pytest.raises(SettingError, match="no null character"):
        read_parquet("a\0b")
