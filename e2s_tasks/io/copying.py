"""Copies of files and directories between any two places, measured on both sides."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from e2s_tasks.core.records import Kind
from e2s_tasks.core.spans import recorder
from e2s_tasks.errors import SettingError
from e2s_tasks.io.bookkeeping import bookkeeping, note_read, note_write
from e2s_tasks.io.counting import counting
from e2s_tasks.io.inventory import FoundFile, entries, inventory
from e2s_tasks.io.places import PathLike, Place, format_of, place_of
from e2s_tasks.io.replacing import beside, delete, files_below, replaced_file, single_file, swap, uploaded_file
from e2s_tasks.io.sources import missing

CHUNK = 8 << 20  # bytes held in memory at a time


def copy(
    source: PathLike,
    target: PathLike,
    *,
    source_filesystem: Any = None,
    target_filesystem: Any = None,
    source_storage_options: dict[str, Any] | None = None,
    target_storage_options: dict[str, Any] | None = None,
) -> int:
    """Copy a file, or a directory with all that is below it; the result is the bytes copied.

    Both are paths or URLs, on this machine or in an object store; the bytes go through this process in chunks of 8 MiB.
    `target` names the copy itself. A file gives way to the copy of a file; a directory is copied only to where nothing
    is; links in it are followed. A copy that fails leaves what was at the target, and makes no version.
    One MOVE span with the bytes read and written, which read the source and wrote a version of the target.

    Raises:
        MissingFileError: nothing is at `source`.
        SettingError: a directory is to be copied to where something is, or into itself; a file to where a directory is;
            a link in the directory leads to nothing, or back to a folder around it.
    """
    origin = place_of(source, source_filesystem, source_storage_options)
    goal = place_of(target, target_filesystem, target_storage_options)
    with recorder().span(f"copy {origin.name}", Kind.MOVE) as span:
        _check(origin, goal)
        _check_links(origin)
        try:
            files = inventory(origin)
        except FileNotFoundError as error:
            raise missing(origin) from error
        filesystem, counter = counting(origin.filesystem)
        copied = _copy_all(files, Place(origin.uri, origin.path, filesystem, origin.medium), goal)
        with bookkeeping():
            size = copied if counter is None else counter.fetched
            note_read(span, origin, size=size, files=entries(files))
            note_write(span, goal, files=inventory(goal) if files else [], format=format_of(goal))
    return copied


def _check(origin: Place, goal: Place) -> None:
    if goal.uri == origin.uri or goal.uri.startswith(origin.uri + "/"):
        raise SettingError(f"{origin.uri} cannot be copied to {goal.uri}, which is itself or inside it.")


def _check_links(origin: Place) -> None:
    """Links of a directory on this machine are followed; one that leads nowhere, or round in a circle, is named."""
    top = Path(origin.path)
    pending: list[tuple[Path, tuple[tuple[int, int], ...]]] = [(top, ())] if origin.local and top.is_dir() else []
    while pending:
        folder, around = pending.pop()
        there = folder.stat()
        same = there.st_dev, there.st_ino
        if same in around:
            raise SettingError(f"{folder} leads back to a folder around it: its copy would never end. Remove the link.")
        for one in folder.iterdir():
            if not one.exists():
                raise SettingError(f"{one} is a link to nothing, which cannot be copied: remove or mend it.")
            if one.is_dir():
                pending.append((one, (*around, same)))


def _copy_all(files: list[FoundFile], origin: Place, goal: Place) -> int:
    if len(files) == 1 and not files[0].path:
        if files_below(goal):
            raise SettingError(
                f"{goal.uri} is a directory: name the copy itself, for example {goal.uri}/{origin.name}."
            )
        with replaced_file(goal) as stream:
            return _copy_file(origin.filesystem, origin.path, stream.write)
    if single_file(goal) or files_below(goal):
        raise SettingError(f"there is something at {goal.uri} already: name another target, or remove it first.")
    into = _copy_to_local if goal.local else _copy_to_store
    return into(files, origin, goal)


def _copy_to_local(files: list[FoundFile], origin: Place, goal: Place) -> int:
    copied = 0
    with beside(Path(goal.path)) as new:
        new.mkdir()
        for file in files:
            path = new / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                copied += _copy_file(origin.filesystem, f"{origin.path.rstrip('/')}/{file.path}", stream.write)
        swap(new, Path(goal.path))
    return copied


def _copy_to_store(files: list[FoundFile], origin: Place, goal: Place) -> int:
    copied, done = 0, []
    try:
        for file in files:
            path = f"{goal.path.rstrip('/')}/{file.path}"
            done.append(path)
            with uploaded_file(Place(f"{goal.uri}/{file.path}", path, goal.filesystem, goal.medium)) as stream:
                copied += _copy_file(origin.filesystem, f"{origin.path.rstrip('/')}/{file.path}", stream.write)
    except BaseException:
        for path in done:
            with suppress(Exception):
                delete(goal, [path])
        raise
    return copied


def _copy_file(filesystem: Any, path: str, write: Callable[[bytes], object]) -> int:
    copied = 0
    with filesystem.open_input_stream(path, compression=None) as stream:
        while chunk := stream.read(CHUNK):
            write(chunk)
            copied += len(chunk)
    return copied
