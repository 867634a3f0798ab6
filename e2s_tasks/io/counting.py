"""A file system that fsspec serves, and how many bytes its files really fetched: more than were asked for, where it
reads ahead.
"""

from functools import cache
from typing import Any


class Counter:
    """What the files of one read fetched, and what the store said of each file, by its path."""

    def __init__(self) -> None:
        self.fetched = 0
        self.told: dict[str, dict[str, Any]] = {}

    def counted(self, file: Any) -> Any:
        """The file opened for reading, which now counts what is fetched for it."""
        blocks = getattr(file, "cache", None)
        fetch = getattr(blocks, "fetcher", None)
        if blocks is None or fetch is None:
            return _Delivering(file, self)

        def fetch_and_count(start: int, end: int, **options: Any) -> Any:
            content = fetch(start, end, **options)
            self.fetched += len(content)
            return content

        blocks.fetcher = fetch_and_count
        return file


class _Delivering:
    """A file without a cache of its own: what it delivers is what was fetched."""

    def __init__(self, file: Any, counter: Counter) -> None:
        self._file, self._counter = file, counter

    def read(self, size: int = -1) -> Any:
        content = self._file.read(size)
        self._counter.fetched += len(content)
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def counting(filesystem: Any) -> tuple[Any, Counter | None]:
    """The same file system, counted, where fsspec serves it; else itself and None."""
    spec = spec_of(filesystem)
    if spec is None:
        return filesystem, None
    from pyarrow.fs import PyFileSystem

    counter = Counter()
    return PyFileSystem(_handler()(spec, counter)), counter


def spec_of(filesystem: Any) -> Any:
    """The fsspec file system that serves a pyarrow one; None if none does."""
    from pyarrow.fs import FSSpecHandler

    handler = getattr(filesystem, "handler", None)
    return handler.fs if isinstance(handler, FSSpecHandler) else None


@cache
def _handler() -> Any:
    """The class, made when pyarrow is first needed."""
    from pyarrow import PythonFile
    from pyarrow.fs import FSSpecHandler

    class CountingHandler(FSSpecHandler):  # type: ignore[misc]
        def __init__(self, spec: Any, counter: Counter) -> None:
            super().__init__(spec)
            self.counter = counter

        def _create_file_info(self, path: str, info: dict[str, Any]) -> Any:
            self.counter.told[path.lstrip("/")] = info
            return FSSpecHandler._create_file_info(path, info)  # noqa: SLF001 - static; it is what is overridden

        def get_file_info_selector(self, selector: Any) -> Any:
            # some writers leave an empty object "folder/", which is no file to read
            return [info for info in super().get_file_info_selector(selector) if not info.path.endswith("/")]

        def open_input_file(self, path: str) -> Any:
            if not self.fs.isfile(path):
                raise FileNotFoundError(path)
            return PythonFile(self.counter.counted(self.fs.open(path, mode="rb")), mode="r")

        open_input_stream = open_input_file

    return CountingHandler
