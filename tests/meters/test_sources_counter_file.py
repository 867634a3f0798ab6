"""Counter files: the same bytes as os.pread gives, with the interpreter lock kept."""

import ctypes
import gc
import os
from pathlib import Path

import pytest

from e2s_tasks.meters import counter_file
from e2s_tasks.meters.counter_file import CounterFile


@pytest.fixture(params=["ctypes", "os.pread"])
def either_way(request, monkeypatch):
    """Each test is run with the call that keeps the lock, and with the fallback."""
    if request.param == "os.pread":
        monkeypatch.setattr(counter_file, "_pread_that_keeps_the_lock", lambda: None)


def test_a_counter_file_shows_what_the_file_shows_now(tmp_path, either_way):
    path = tmp_path / "energy_uj"
    path.write_text("123456\n")
    counter = CounterFile(path)
    assert counter.read() == b"123456\n"
    path.write_text("7\n")  # shorter: nothing of the longer figure may be left
    assert counter.read() == b"7\n"


def test_a_reading_is_no_longer_than_its_size(tmp_path, either_way):
    path = tmp_path / "long"
    path.write_bytes(b"x" * 1000)
    assert CounterFile(path, size=10).read() == b"x" * 10


def test_an_empty_file_and_a_closed_one_are_gaps(tmp_path, either_way):
    path = tmp_path / "energy_uj"
    path.write_text("")
    counter = CounterFile(path)
    assert counter.read() is None
    path.write_text("5")
    counter.close()
    counter.close()
    assert counter.read() is None


def test_what_cannot_be_read_is_a_gap_and_no_exception(tmp_path, either_way):
    assert CounterFile(tmp_path).read() is None  # a folder opens, but does not read


def test_a_file_that_is_not_there_cannot_be_opened(tmp_path):
    with pytest.raises(FileNotFoundError):
        CounterFile(tmp_path / "nothing")
    gc.collect()  # the half-made object goes without a complaint


def test_a_file_that_was_put_in_its_place_is_followed(tmp_path, either_way):
    path = tmp_path / "energy_uj"
    path.write_text("1\n")
    counter = CounterFile(path)
    assert not counter.replaced()
    path.unlink()
    assert counter.replaced()
    assert not counter.reopen()
    path.write_text("2\n")
    assert counter.replaced()
    assert counter.reopen()
    assert not counter.replaced()
    assert counter.read() == b"2\n"


def test_the_kernels_own_files_are_read_alike_in_both_ways(either_way):
    assert (CounterFile(Path("/proc/self/stat"), 4096).read() or b"").startswith(b"%d (" % os.getpid())


def test_a_reading_inside_a_reading_spoils_neither(tmp_path):
    path = tmp_path / "energy_uj"
    path.write_text("100\n")
    counter = CounterFile(path)
    plain, nested = counter._pread, []
    if plain is None:
        pytest.skip("no call that keeps the lock here")

    def interrupted(*arguments):
        length = plain(*arguments)
        if not nested:  # a signal handler comes between the call and the use of the buffer
            path.write_text("99\n")
            nested.append(None)
            nested[0] = counter.read()
        return length

    counter._pread = interrupted
    assert counter.read() == b"99\n"
    assert nested == [b"99\n"]


def test_the_lock_is_kept_while_a_counter_is_read(tmp_path):
    """By the flag of ctypes that means so: what a busy thread does meanwhile depends on the host's load."""
    path = tmp_path / "energy_uj"
    path.write_text("100\n")
    pread = CounterFile(path)._pread
    if pread is None:
        pytest.skip("no call that keeps the lock here")
    assert pread._flags_ & ctypes._FUNCFLAG_PYTHONAPI
    assert pread.argtypes is not None
