import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2s_tasks.settings import Settings
from tests.fakes.grid_server import GridServer

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    shutil.rmtree(Settings().data_dir / "grid", ignore_errors=True)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GridServer]:
    monkeypatch.setenv("NO_PROXY", "*")
    with GridServer() as fake:
        yield fake


@pytest.fixture
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the recorded answers and traces of ../shared/data are not here")
    return SHARED
