"""Which files there are at a place: what tells one version of an artifact, or a part of it, from another."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from e2s_tasks.core.spans import MOST_FILES, File
from e2s_tasks.io.counting import spec_of
from e2s_tasks.io.places import Place

MOST_WAYS = 16
SMALL = 1_000_000  # bytes: hashing a local file of this size takes about a millisecond
TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")  # what stores call the time of a write


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file: its path below the place's URI ("" if it is the place), its bytes, and its stamp.

    stamp: the time of its last write in ns since the epoch, else an ETag; None where the store tells neither.
    """

    path: str
    size: int
    stamp: int | str | None = None
    etag: str | None = None

    @property
    def hidden(self) -> bool:
        """Whether readers of data sets pass over it."""
        return any(part.startswith((".", "_")) for part in self.path.split("/"))

    @property
    def entry(self) -> File:
        """As records have it."""
        return [self.path, self.size, self.stamp]


def inventory(place: Place) -> list[FoundFile]:
    """The file at the place, or all files below the directory there, as they are now.

    Raises:
        FileNotFoundError: there is nothing.
    """
    spec = spec_of(place.filesystem)
    return _through_arrow(place) if spec is None else _through_fsspec(place, spec)


def _through_arrow(place: Place) -> list[FoundFile]:
    from pyarrow.fs import FileSelector, FileType

    there = place.filesystem.get_file_info(place.path)
    if there.type == FileType.NotFound:
        raise FileNotFoundError(place.uri)
    found = [there]
    if there.type == FileType.Directory:
        if place.local:
            return [
                FoundFile(below(place.path, path), at.st_size, at.st_mtime_ns) for path, at in local_files(place.path)
            ]
        found = place.filesystem.get_file_info(FileSelector(place.path, recursive=True))
    return [
        FoundFile(below(place.path, info.path), info.size, info.mtime_ns)
        for info in found
        if info.type == FileType.File
    ]


def local_files(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """All files below a directory of this machine. Links are followed, but for those back to a folder around them; and
    of more than MOST_WAYS that lead to one directory no further ones, for folders may link to each other.
    """
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [(folder, frozenset())]
    ways: Counter[tuple[int, int]] = Counter()
    while pending:
        one, around = pending.pop()
        at = Path(one).stat()
        same = at.st_dev, at.st_ino
        ways[same] += 1
        if same in around or ways[same] > MOST_WAYS:
            continue
        with os.scandir(one) as found:
            inside = sorted(found, key=lambda entry: entry.name)
        for entry in inside:
            try:
                at = entry.stat()
            except OSError:  # a link to nothing or to itself, or gone since
                continue
            if stat.S_ISDIR(at.st_mode):
                pending.append((entry.path, around | {same}))
            elif stat.S_ISREG(at.st_mode):
                yield entry.path, at


def _through_fsspec(place: Place, spec: Any) -> list[FoundFile]:
    spec.invalidate_cache()  # it may remember what was there before the write
    found = spec.info(place.path)
    if found["type"] != "directory":
        return [told(place.path, place.path, found)]
    files = spec.find(place.path, detail=True)
    return [told(place.path, path, info) for path, info in files.items() if info["type"] == "file" and path[-1:] != "/"]


def told(base: str, path: str, info: dict[str, Any]) -> FoundFile:
    """The file as an fsspec file system describes it; base: the path that its own is told below of."""
    etag = info.get("ETag") or info.get("etag")
    times = [stamp for key in TIMES if (stamp := _nanoseconds(info.get(key))) is not None]
    return FoundFile(below(base, path), info["size"] or 0, times[0] if times else etag, etag)


def _nanoseconds(at: Any) -> int | None:
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            return None
    if isinstance(at, datetime):
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return int(at.timestamp() // 1) * 1_000_000_000 + int(at.microsecond) * 1000
    return int(at * 1e9) if isinstance(at, int | float) else None


def below(base: str, path: str) -> str:
    """The part of a file's path that lies below another; "" for the same."""
    return path.strip("/")[len(base.strip("/")) :].lstrip("/")


def entries(files: Iterable[FoundFile]) -> list[File] | None:
    """The files as records have them; None where they are too many to be kept."""
    found = sorted(file.entry for file in files)
    return found if len(found) <= MOST_FILES else None


def content_digest(place: Place, files: list[FoundFile]) -> str | None:
    """What tells the content of a single file: sha256 of a small local one, or the store's ETag where it told it."""
    if len(files) != 1 or files[0].path:
        return None
    file = files[0]
    if place.local and file.size <= SMALL:
        return f"sha256:{sha256(Path(place.path).read_bytes()).hexdigest()}"
    return f"etag:{file.etag.strip(chr(34))}" if file.etag else None
