"""Replace what is at a path by a file only once that is complete: a failed write leaves the old one."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from e2s_tasks.errors import SettingError
from e2s_tasks.io.counting import spec_of
from e2s_tasks.io.inventory import local_files
from e2s_tasks.io.places import Place, protocols

PARQUET = (".parquet", ".parq", ".pq", ".crc")
MARKERS = ("_SUCCESS", "_metadata", "_common_metadata")


@contextmanager
def replaced_file(place: Place) -> Iterator[Any]:
    """A binary stream whose content becomes the file at `place` when the block has succeeded.

    Raises:
        SettingError: a directory is there that holds other things than a partitioned data set.
    """
    old = _replaceable(place)
    if not place.local:
        with uploaded_file(place) as stream:
            yield stream
        delete(place, old)
        return
    target = Path(place.path)
    if target.exists() and not target.is_file() and not target.is_dir():  # a device or a pipe stays what it is
        with place.filesystem.open_output_stream(place.path, compression=None) as stream:
            yield stream
        return
    with beside(target) as new:
        with place.filesystem.open_output_stream(str(new), compression=None) as stream:
            yield stream
        swap(new, target)


@contextmanager
def uploaded_file(place: Place) -> Iterator[Any]:
    """A binary stream whose content becomes the object at a remote place when the block has succeeded.

    An upload in parts that nobody completes makes no object: so it streams to the stores whose fsspec file systems can
    give up such an upload (s3fs, gcsfs). Other stores make an object of whatever a closed stream held; there the
    content is kept in a temporary file until it is complete.
    """
    from pyarrow import PythonFile

    upload = _discardable(place)
    if upload is None:
        with _spooled(place) as stream:
            yield stream
        return
    try:
        with PythonFile(upload, mode="w") as stream:
            yield stream
        upload.commit()
    except BaseException:
        upload.closed = True  # else it would be completed when it is forgotten
        with suppress(Exception):
            upload.discard()
        raise


def _discardable(place: Place) -> Any:
    """An upload that becomes an object only by its `commit`; None where there is none."""
    spec = spec_of(place.filesystem)
    if spec is None:
        return None
    from fsspec.spec import AbstractBufferedFile

    if not {"s3", "s3a", "gs", "gcs"}.intersection(protocols(spec)):
        return None
    file = spec.open(place.path, "wb", autocommit=False)
    own = isinstance(file, AbstractBufferedFile) and type(file).commit is not AbstractBufferedFile.commit
    if own:
        return file
    file.closed = True  # else it would make an empty object when it is forgotten
    return None


@contextmanager
def _spooled(place: Place) -> Iterator[Any]:
    from pyarrow.fs import LocalFileSystem

    with spool() as folder:
        content = folder / "content"
        with LocalFileSystem().open_output_stream(str(content), compression=None) as stream:
            yield stream
        upload(content, place.filesystem, place.path)


@contextmanager
def spool() -> Iterator[Path]:
    """A temporary folder (TMPDIR) for what is not complete yet."""
    with TemporaryDirectory(prefix="e2s-upload-") as folder:
        yield Path(folder)


def upload(file: Path, filesystem: Any, path: str) -> None:
    """Make the local file an object of a remote file system; Arrow itself does, whom no signal stops half-way."""
    from pyarrow.fs import LocalFileSystem, copy_files

    copy_files(str(file), path, source_filesystem=LocalFileSystem(), destination_filesystem=filesystem)


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """A hidden path in the target's own directory, so that a rename stays on one file system; gone afterwards."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.{uuid4().hex[:8]}.tmp")
    try:
        yield new
    finally:
        remove(new)


def swap(new: Path, target: Path) -> None:
    """Put `new` where `target` is; a directory cannot be renamed over, so it steps aside for that moment."""
    if not target.is_dir():
        with suppress(FileNotFoundError):
            old = target.stat()
            with suppress(PermissionError):  # only root gives files away
                os.chown(new, old.st_uid, old.st_gid)
            new.chmod(stat.S_IMODE(old.st_mode))
        new.replace(target)
        return
    aside = new.with_suffix(".old")
    target.rename(aside)
    try:
        new.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    remove(aside)


def remove(path: Path) -> None:
    """Delete a file or a directory with all that is in it; what cannot be deleted stays."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _replaceable(place: Place) -> list[str]:
    """The files of the partitioned data set at the place; none if there is no directory.

    Anything else in the directory may be somebody's work, so that it is refused rather than deleted.
    """
    found = files_below(place)
    for path in found:
        inside = path[len(place.path) :].lstrip("/")
        partition, _, name = inside.rpartition("/")
        if inside not in MARKERS and not ("=" in partition.split("/")[0] and name.endswith(PARQUET)):
            raise SettingError(
                f"{place.uri} is a directory with {inside!r} in it, which is no part of a partitioned data set, and "
                "would be replaced as a whole. Name another path, or remove the directory first."
            )
    return found


def files_below(place: Place) -> list[str]:
    """The paths of all files in the directory at the place; none if there is no directory."""
    from pyarrow.fs import FileSelector, FileType

    if place.filesystem.get_file_info(place.path).type != FileType.Directory:
        return []
    if place.local:
        return [path for path, _ in local_files(place.path)]
    below = place.filesystem.get_file_info(FileSelector(place.path, recursive=True))
    return [info.path for info in below if info.type == FileType.File]


def single_file(place: Place) -> list[str]:
    """The path of the file at the place, if a file is there."""
    return [place.path] if place.filesystem.get_file_info(place.path).is_file else []


def delete(place: Place, paths: list[str]) -> None:
    """Delete the files."""
    for path in paths:
        place.filesystem.delete_file(path)
