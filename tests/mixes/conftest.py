import shutil

import pytest

from e2s_tasks.core import spans
from tests.mixes.scene import Scene
from tests.recorder.conftest import Recorded


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A recorder of the test's own, as the process's."""
    import e2s_tasks.recorder.recorder as module

    made = Recorded(tmp_path)
    monkeypatch.setattr(spans, "factory", lambda: made.recorder)
    monkeypatch.setattr(module, "_recorder", made.recorder)
    module.watch_starts(lambda: made.recorder.meter)
    return made


@pytest.fixture(scope="session")
def profiled(tmp_path_factory):
    """A data directory in which the hardware profile was found once."""
    first = Scene(tmp_path_factory.mktemp("profile"))
    first.run("from e2s_tasks import span\nwith span('first'): pass\n")
    (profile,) = first.data.glob("profile*")
    return profile


@pytest.fixture
def scene(tmp_path, profiled):
    made = Scene(tmp_path)
    made.data.mkdir()
    shutil.copy(profiled, made.data)
    return made
