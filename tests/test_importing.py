"""Modules of others are changed once they are imported, and not imported for it."""

import importlib
import sys

import pytest

from e2s_tasks.importing import ImportWatch


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that nobody has imported."""
    (tmp_path / "not_imported_yet.py").write_text("ready = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield "not_imported_yet"
    sys.modules.pop("not_imported_yet", None)


def test_it_is_told_at_the_end_of_the_first_import_and_at_once_of_what_is_there(module):
    told, watch = [], ImportWatch()
    watch.when_imported(module, lambda found: told.append(found.ready))
    assert (module in sys.modules, told) == (False, [])
    found = importlib.import_module(module)
    assert (told, type(found.__loader__).__module__.startswith("e2s_tasks")) == ([True], False)
    watch.when_imported(module, told.append)
    assert told == [True, found]


def test_each_of_several_that_wait_for_one_module_is_told(module):
    told = []
    for name in ("first", "second", "third"):
        ImportWatch().when_imported(module, lambda _, name=name: told.append(name))
    importlib.import_module(module)
    assert sorted(told) == ["first", "second", "third"]


def test_who_waits_for_a_module_that_there_is_not_changes_no_error(module):
    for _ in range(2):
        ImportWatch().when_imported("no_such_module_anywhere", print)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        importlib.import_module("no_such_module_anywhere")
