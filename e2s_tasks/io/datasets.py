"""Add to a partitioned data set as pyarrow does, but only once everything is written: a failed write leaves it be."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, get_args
from uuid import uuid4

from e2s_tasks.errors import SettingError
from e2s_tasks.io.inventory import FoundFile, inventory
from e2s_tasks.io.places import Place, keeps_no_folders
from e2s_tasks.io.replacing import beside, delete, files_below, remove, single_file, spool, upload

ExistingData = Literal["overwrite_or_ignore", "delete_matching", "error"]
UPLOADS = 8  # files at a time
MOST_FOOTERS = 1000  # of a larger data set the number of rows stays unknown: counting them would take too long


@contextmanager
def added_files(place: Place, existing: ExistingData, names: str | None = None) -> Iterator[tuple[str, str]]:
    """A directory to write into and a template of file names; on success the new files join the data set at `place`.

    existing: what becomes of what is there, as in `pyarrow.dataset.write_dataset`; a single file gives way. names: the
    user's own template. Elsewhere than on a local file system the new files are kept in a temporary folder until all of
    them are complete, and what is to go is deleted one by one at the end.

    Raises:
        SettingError: such a behaviour does not exist; something is there already and `existing` is "error".
    """
    _check(place, existing, names)
    token = uuid4().hex
    template = names or f"{token}-{{i}}.parquet"
    if place.local:
        with beside(Path(place.path)) as new:
            new.mkdir()
            yield str(new), template
            _move_in(new, Path(place.path), replace=existing == "delete_matching")
        return
    with spool() as folder:
        yield str(folder), template
        single, old = single_file(place), files_below(place)
        paths = _upload(folder, place)
    touched = {_folder(path) for path in paths}
    matching = [path for path in old if _folder(path) in touched] if existing == "delete_matching" else []
    delete(place, single + matching)


def _upload(folder: Path, place: Place) -> list[str]:
    """Put the files of a folder below a remote place, all or none; the result is their paths there."""
    paths = {file: f"{place.path.rstrip('/')}/{file.relative_to(folder).as_posix()}" for file in folder.rglob("*")}
    paths = {file: path for file, path in paths.items() if file.is_file()}
    try:
        if not keeps_no_folders(place):
            for parent in {_folder(path) for path in paths.values()}:
                place.filesystem.create_dir(parent, recursive=True)
        with ThreadPoolExecutor(UPLOADS) as pool:
            list(pool.map(lambda file: upload(file, place.filesystem, paths[file]), paths))
    except BaseException:
        for path in paths.values():
            with suppress(Exception):
                delete(place, [path])
        raise
    return list(paths.values())


def _check(place: Place, existing: str, names: str | None) -> None:
    if existing not in get_args(ExistingData):
        choices = ", ".join(map(repr, get_args(ExistingData)))
        raise SettingError(f"existing_data_behavior={existing!r} cannot be used: give one of {choices}.")
    if existing == "error" and (single_file(place) or files_below(place)):
        raise SettingError(
            f"{place.uri} has data already, and existing_data_behavior is 'error'. Name another path, or give "
            "'overwrite_or_ignore' to add to it or 'delete_matching' to replace the partitions that are written."
        )
    if names is not None and not place.local:
        raise SettingError(
            f"basename_template={names!r} cannot be used at {place.uri}: a file of the same name could not be brought "
            "back if the write fails. Leave it out."
        )


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _move_in(new: Path, target: Path, *, replace: bool) -> None:
    """Put a new data set where `target` is, or its files into the one there; a failure leaves all as it was.

    replace: a partition that gets new files loses its old ones.
    """
    aside = new.with_suffix(".old")
    moves = _Moves(aside, replace=replace)
    try:
        if target.is_file():
            moves.put_aside(target)
        moves.put(new, target)
    except BaseException:
        moves.undo()
        remove(aside)
        raise
    remove(aside)


class _Moves:
    """Renames on one file system that can be taken back."""

    def __init__(self, aside: Path, *, replace: bool) -> None:
        self._aside, self._replace = aside, replace
        self._done: list[tuple[Path, Path]] = []

    def put(self, new: Path, target: Path) -> None:
        """Move a file, or a directory into the one that is there."""
        if new.is_file() or (self._replace and any(inside.is_file() for inside in new.iterdir())):
            if target.is_file() if new.is_file() else target.is_dir():
                self.put_aside(target)
            self._move(new, target)
        elif not self._moved_at_once(new, target):
            for inside in sorted(new.iterdir()):
                self.put(inside, target / inside.name)

    def put_aside(self, path: Path) -> None:
        """Take away what is to be replaced."""
        self._aside.mkdir(exist_ok=True)
        self._move(path, self._aside / str(len(self._done)))

    def undo(self) -> None:
        """Take back what was done, the last first."""
        while self._done:
            source, to = self._done.pop()
            to.rename(source)

    def _moved_at_once(self, new: Path, target: Path) -> bool:
        """False where a directory is there already; tried before looking, since another writer may just make it."""
        try:
            self._move(new, target)
        except OSError:
            if not target.is_dir():
                raise
            return False
        return True

    def _move(self, source: Path, to: Path) -> None:
        source.rename(to)
        self._done.append((source, to))


def rows_of(place: Place, files: list[FoundFile]) -> int | None:
    """The rows of some files of a data set, from their footers; None: not known."""
    from pyarrow import ArrowException
    from pyarrow.dataset import dataset

    if len(files) <= MOST_FOOTERS:
        with suppress(OSError, ArrowException):
            paths = [f"{place.path}/{file.path}".rstrip("/") for file in files]
            return int(dataset(paths, filesystem=place.filesystem, format="parquet").count_rows()) if paths else 0
    return None


def data_files(place: Place) -> list[FoundFile]:
    """The files of a data set, without what is hidden from readers; none if nothing is there."""
    with suppress(FileNotFoundError):
        return [file for file in inventory(place) if not file.hidden]
    return []
