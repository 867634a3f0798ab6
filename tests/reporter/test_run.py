"""Summaries of runs as a real ledger holds them."""

from dataclasses import replace

import pytest

from e2s_tasks.core.records import Kind, Status, VersionRecord
from e2s_tasks.ledger import Ledger
from e2s_tasks.reporter import ArtifactHistory, summarise, summarise_run
from tests.reporter.runs import NOON, RUN, full_run, outcome, process, root, span

LATER = "later-run"


@pytest.fixture
def ledger(tmp_path):
    return Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")


def keep(ledger, records):
    ledger.ingest([*records.processes, *records.spans, *records.versions, *records.outcomes, *records.decisions])


def later(*spans):
    """Spans of a run a day later."""
    return [replace(one, run_id=LATER, flow_run_id=LATER, started_at=NOON + 86_400) for one in spans]


def a_run_and_one_that_reuses_its_result(ledger):
    producer = span("e1", name="evaluate", result_key="key", cpu_j=5.0, task_run_id="t1")
    inside = span("r1", Kind.READ, "read", parent_id="e1", cpu_j=2.0, storage_j=0.5)
    ledger.ingest([process(), root(cpu_j=1.0), producer, inside, outcome("e1", units=10.0)])
    again = span("root2", Kind.FLOW, "flight-delays", cpu_j=1.0)
    cached = span("c1", name="evaluate", status=Status.CACHED, result_key="key", parent_id="root2", cpu_j=0.0)
    ledger.ingest(later(again, cached))


def test_the_ledger_gives_the_same_summary_as_the_records(ledger):
    records = full_run()
    keep(ledger, records)
    from_ledger, by_hand = summarise_run(ledger, RUN), summarise(records)
    for one in (from_ledger, by_hand):
        one["spans"].sort(key=lambda row: row["id"])
        one["artifacts"][0].pop("version")  # of all that the ledger holds
    assert from_ledger == by_hand


def test_a_cached_task_run_avoids_its_producer_s_energy_with_all_that_was_inside(ledger):
    a_run_and_one_that_reuses_its_result(ledger)
    assert summarise_run(ledger, LATER)["avoided_j"] == pytest.approx(7.5)
    assert summarise_run(ledger, RUN)["avoided_j"] == 0.0


def test_a_cached_task_run_repeats_the_outcome_of_its_producer(ledger):
    a_run_and_one_that_reuses_its_result(ledger)
    kpi = summarise_run(ledger, LATER)["kpis"]["joules_per_prediction"]
    assert (kpi["numerator"], kpi["denominator"], kpi["value"]) == (1.0, 10.0, 0.1)


def test_what_made_a_result_anew_later_changes_nothing_of_who_had_reused_it(ledger):
    a_run_and_one_that_reuses_its_result(ledger)
    before = [summarise_run(ledger, LATER)[key] for key in ("avoided_j", "kpis")]
    common = {"run_id": "r3", "flow_run_id": "r3", "started_at": NOON + 9e5, "ended_at": NOON + 9e5 + 9}
    made = span("e3", name="evaluate", result_key="key", cpu_j=500.0, parent_id="root3", **common)
    anew = [replace(root(cpu_j=1.0), id="root3", **common), made]
    ledger.ingest([*anew, replace(outcome("e3", units=9.0), id="o3", run_id="r3")])
    assert [summarise_run(ledger, LATER)[key] for key in ("avoided_j", "kpis")] == before


def test_a_result_whose_producer_is_not_in_the_ledger_leaves_avoided_unknown(ledger):
    cached = span("c1", status=Status.CACHED, result_key="unknown", cpu_j=0.0)
    ledger.ingest([process(), root(cpu_j=1.0), cached])
    assert summarise_run(ledger, RUN)["avoided_j"] is None


def test_versions_of_an_artifact_are_numbered_over_all_runs(ledger):
    keep(ledger, full_run())
    uri = "file:///data/features.parquet"
    ledger.ingest(
        [
            *later(span("root2", Kind.FLOW, "flight-delays"), span("b2", name="rebuild", parent_id="root2", cpu_j=3.0)),
            VersionRecord("v2", uri, "b2", LATER, NOON + 90_000, 100, 10),
        ]
    )
    first, second = ArtifactHistory(ledger, uri).rows(limit=20)
    assert [one["version"] for one in (first, second)] == [1, 2]
    assert (second["produced_by"], second["in_run_j"], second["run_id"]) == ("rebuild", 3.0, LATER)
    assert ArtifactHistory(ledger, uri).rows(limit=1) == [second]
