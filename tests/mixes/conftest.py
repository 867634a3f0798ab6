import pytest

from e2s_tasks.core import spans
from tests.recorder.conftest import Recorded


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A recorder of the test's own, as the process's."""
    import e2s_tasks.recorder.recorder as module

    made = Recorded(tmp_path)
    monkeypatch.setattr(spans, "factory", lambda: made.recorder)
    monkeypatch.setattr(module, "_recorder", made.recorder)
    module.watch_starts(lambda: made.recorder.children)
    return made
