"""Of a run with very many task instances the events of assets tell no more than each can be told without a wait."""

from types import SimpleNamespace

import pytest

from e2s_tasks.core.records import SpanRecord, VersionRecord
from e2s_tasks.integrations.airflow import assets
from e2s_tasks.ledger import Ledger
from e2s_tasks.recorder import guard


def _attempt(number, run="run"):
    return SpanRecord(
        f"a{number}", 1, "p", run, "attempt", "score", "completed", float(number),
        ended_at=number + 1.0, flow_run_id=run, task_run_id=f"t{number}", cpu_j=float(number + 1),
    )  # fmt: skip


@pytest.fixture
def told(tmp_path, monkeypatch):
    """What the ledger tells an instance of a mapped task about its asset, in a run of three instances."""
    monkeypatch.setattr(guard, "_warned", set())
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    run = SpanRecord("root", 1, "run", "run", "flow", "d", "running", 0.0, flow_run_id="run")
    attempts = [_attempt(number) for number in range(3)]
    versions = [VersionRecord(f"v{one.id}", "asset:/scores", one.id, "run", 10.0 + one.started_at) for one in attempts]
    Ledger.open(url).ingest([run, *attempts, *versions])
    settings = SimpleNamespace(ledger=url, journals=tmp_path)
    recorder = SimpleNamespace(settings=settings, write_down=lambda: None)
    span = SimpleNamespace(id="a1", run_id="run", recorder=recorder)
    return lambda: assets._from_the_ledger(span, {"asset:/scores"}, [])


def test_an_instance_of_a_mapped_task_tells_what_its_own_version_of_the_asset_has_cost(told):
    [row] = told()["artifacts"]
    assert (row["version_id"], row["in_run_j"]) == ("va1", 3.0)  # with the one before, and without the later one


def test_beyond_some_number_of_spans_the_attempts_energy_alone_is_told_and_why(told, monkeypatch):
    monkeypatch.setattr(assets, "MANY", 4)
    assert told()["artifacts"]
    monkeypatch.setattr(assets, "MANY", 3)
    with pytest.warns(guard.MeteringWarning, match="the run has more than 3 spans: `e2s show` tells it"):
        assert told() == assets.NOTHING
