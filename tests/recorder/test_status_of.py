"""How a span ended is told by what left it, whatever is being imported meanwhile."""

import asyncio
import sys
from types import ModuleType

import pytest

from e2s_tasks.core.records import Status
from e2s_tasks.core.spans import status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, Status.COMPLETED), (ValueError(), Status.FAILED), (TimeoutError(), Status.TIMED_OUT),
        (KeyboardInterrupt(), Status.CANCELLED), (asyncio.CancelledError(), Status.CANCELLED),
        (SystemExit(), Status.CRASHED),
    ],
)  # fmt: skip
def test_each_end_has_its_status(error, status):
    assert status_of(error) is status


@pytest.mark.parametrize("name", ["asyncio", "asyncio.exceptions"])
def test_an_error_is_a_failure_also_while_another_thread_imports_asyncio(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, ModuleType(name))  # as it is at the beginning of its import
    assert status_of(ValueError()) is Status.FAILED
