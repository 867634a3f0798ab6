"""A file system that counts, by itself, every byte that is read through it."""

import threading
from pathlib import Path

import pyarrow as pa
from pyarrow.fs import FileSystemHandler, LocalFileSystem, PyFileSystem


class CountingHandler(FileSystemHandler):
    """This machine's files, opened by Python: `count` is the bytes that `read` has given out."""

    def __init__(self):
        self._local, self._lock, self.count = LocalFileSystem(), threading.Lock(), 0

    def add(self, size):
        with self._lock:
            self.count += size

    def open_input_file(self, path):
        return pa.PythonFile(_Counted(Path(path).open("rb", buffering=0), self.add), mode="r")

    open_input_stream = open_input_file

    def __getattribute__(self, name):
        return object.__getattribute__(self, name)

    def get_type_name(self):
        return "mock"

    def normalize_path(self, path):
        return path

    def get_file_info(self, paths):
        return self._local.get_file_info(paths)

    def get_file_info_selector(self, selector):
        return self._local.get_file_info(selector)

    def _refuse(self, *_, **__):
        raise NotImplementedError

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = move = copy_file = _refuse
    open_output_stream = open_append_stream = _refuse


class _Counted:
    def __init__(self, file, add):
        self._file, self._add = file, add

    def read(self, size=-1):
        content = self._file.read(size)
        self._add(len(content))
        return content

    def __getattr__(self, name):
        return getattr(self._file, name)


def counted():
    """The file system, and its handler, which has the count."""
    handler = CountingHandler()
    return PyFileSystem(handler), handler
