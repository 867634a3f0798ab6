"""`e2s` as a person calls it, on a data directory of its own."""

import pytest

from e2s_tasks.integrations.cli import main
from e2s_tasks.ledger import Ledger
from e2s_tasks.settings import settings
from tests.reporter.runs import full_run


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("E2S_DATA_DIR", str(tmp_path / "e2s"))
    monkeypatch.setenv("COLUMNS", "80")
    settings.cache_clear()
    yield tmp_path / "e2s"
    settings.cache_clear()


@pytest.fixture
def e2s(capsys):
    def run(*arguments):
        """Exit code, stdout and stderr."""
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return run


@pytest.fixture
def ledger(data_dir):
    """A ledger with one run in it."""
    records = full_run()
    opened = Ledger.open(settings().ledger)
    opened.ingest([*records.processes, *records.spans, *records.versions, *records.outcomes, *records.decisions])
    return opened
