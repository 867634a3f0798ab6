"""Counters that never fall, are never counted twice, and cost little to read again."""

import os
import time
from dataclasses import replace

import pytest

from e2s_tasks.core.records import Kind, Status
from e2s_tasks.ledger import Ledger
from e2s_tasks.settings import settings
from tests.exporter.test_figures import renamed
from tests.reporter.runs import NOON, RUN, decision, full_run, root, run, span
from tests.servers.postgresql import PostgreSQL, missing

ENERGY = "e2s_energy_joules_total"


@pytest.fixture
def filled(ledger):
    for number in range(5):
        records = full_run()
        at = {"started_at": NOON + 5.1, "ended_at": NOON + 5.2, "parent_id": "t1"}
        records.spans.append(span("inner", Kind.SPAN, cpu_j=0.1, dram_j=0.1, static_j=0.1, **at))
        ledger.ingest(renamed(records, number))
    return ledger


def test_a_scrape_reads_those_runs_alone_that_were_written_to(filled, start):
    scrape = start()
    scrape()
    assert scrape.runs_read == 5
    filled.ingest(renamed(full_run(), 7))
    before = scrape().one(ENERGY)
    assert scrape.runs_read == 6
    assert scrape().one(ENERGY) == before
    assert scrape.runs_read == 6


def test_a_span_that_is_written_again_counts_once(ledger, start):
    records = run(root(cpu_j=1.0), span("a", status=Status.RUNNING, ended_at=None, cpu_j=2.0))
    ledger.ingest([*records.processes, *records.spans])
    scrape = start()
    assert scrape().one(ENERGY) == 3.0
    ledger.ingest([span("a", seq=2, cpu_j=5.0)])
    assert scrape().one(ENERGY) == 6.0
    ledger.ingest([span("a", seq=2, cpu_j=5.0)])
    ledger.ingest([span("a", seq=1, cpu_j=2.0)])
    assert scrape().one(ENERGY) == 6.0


def test_what_arrives_late_is_counted_however_old_it_is(filled, start):
    scrape = start()
    before = scrape().one(ENERGY)
    filled.ingest([replace(root(cpu_j=9.0), id="old", run_id="old", flow_run_id="old", started_at=1000.0)])
    filled.ingest([span("late", run_id=f"{RUN}-2", parent_id="root-2", started_at=NOON + 121, cpu_j=4.0)])
    assert scrape().one(ENERGY) == pytest.approx(before + 13.0)


def test_a_counter_holds_still_where_a_figure_is_put_right_to_a_smaller_one_also_over_a_restart(ledger, start):
    records = run(root(cpu_j=3.6e6), decisions=[decision(plan={"slots": [[NOON, NOON + 100, 200.0]]})])
    ledger.ingest([*records.processes, *records.spans, *records.decisions])
    scrape = start()
    assert scrape().one("e2s_emissions_grams_total") == pytest.approx(200.0)
    seen = decision(plan={"slots": [[NOON, NOON + 100, 150.0]], "observed": True})
    ledger.ingest([replace(seen, id="seen", at=NOON + 500)])
    assert scrape().one("e2s_emissions_grams_total") == pytest.approx(200.0)
    assert start()().one("e2s_emissions_grams_total") == pytest.approx(200.0)
    more = replace(root(cpu_j=3.6e6), id="r2", run_id="r2", flow_run_id="r2")
    ledger.ingest([more, replace(decision(intensity=100.0, plan={}), id="d2", run_id="r2")])
    assert start()().one("e2s_emissions_grams_total") == pytest.approx(250.0)


def test_counters_stay_after_a_prune_and_a_restart(filled, start):
    before = start()()
    pruned = filled.prune(0.0)
    assert pruned.spans > 0
    after = start()()
    for name in (ENERGY, "e2s_emissions_grams_total", "e2s_failed_energy_joules_total"):
        assert after[name].keys() == before[name].keys()
        for labels, value in before[name].items():
            assert value <= after[name][labels] <= value + 1e-5


def test_without_what_the_last_one_kept_a_restart_begins_from_the_ledger(filled, start, data_dir):
    before = start()().one(ENERGY)
    for path in (data_dir / "exporter").iterdir():
        path.unlink()
    assert start()().one(ENERGY) == before


def test_a_kept_state_that_is_broken_is_no_trouble(filled, start, data_dir, caplog):
    before = start()().one(ENERGY)
    for path in (data_dir / "exporter").iterdir():
        path.write_text("{")
    assert start()().one(ENERGY) == before
    assert "cannot be read" in caplog.text


def test_another_ledger_at_the_same_address_begins_the_counters_anew(filled, start, data_dir):
    start()()
    filled.close()
    for path in data_dir.glob("ledger.db*"):
        path.unlink()
    records = run(root(cpu_j=1.0))
    Ledger.open(settings().ledger).ingest([*records.processes, *records.spans])
    assert start()().one(ENERGY) == 1.0


def test_the_status_of_a_run_moves_with_it(ledger, start):
    ledger.ingest([*run().processes, root(status=Status.RUNNING, ended_at=None, cpu_j=1.0)])
    scrape = start()
    assert scrape().one("e2s_runs", status="running") == 1
    ledger.ingest([root(seq=2, cpu_j=2.0)])
    shown = scrape()
    assert (shown.one("e2s_runs", status="running"), shown.one("e2s_runs", status="completed")) == (0, 1)


def test_steps_beyond_the_limit_are_other_and_their_number_is_told(ledger, start):
    spans = [span(f"s{number}", started_at=NOON + number, cpu_j=1.0) for number in range(20)]
    records = run(root(cpu_j=1.0), *spans)
    ledger.ingest([*records.processes, *records.spans])
    scrape = start(exporter_steps=5)
    shown = scrape()
    assert len(shown.labels(ENERGY, "step")) == 6
    assert shown.one(ENERGY, step="other") == 16.0
    assert shown.one(ENERGY) == 21.0
    assert shown.one("e2s_exporter_steps_folded") == 16
    kept = shown.labels(ENERGY, "step")
    ledger.ingest([span("early", started_at=NOON - 1, cpu_j=1.0, run_id="r0", flow_run_id="r0", parent_id=None)])
    assert start(exporter_steps=5)().labels(ENERGY, "step") == kept


def test_no_run_id_uri_or_task_run_name_is_a_label(filled, start):
    for samples in start()().values():
        for labels in samples:
            assert not any(RUN in value or "file://" in value or "amber-fox" in value for _, value in labels)


def test_the_forecast_of_the_present_hour_is_shown_as_long_as_a_decision_knows_it(ledger, start):
    now = time.time()
    plan = {"slots": [[now - 10, now + 1000, 123.0], [now + 1000, now + 2000, 90.0]]}
    records = run(root(cpu_j=1.0), decisions=[decision(plan=plan)])
    ledger.ingest([*records.processes, *records.spans, *records.decisions])
    shown = start()()
    assert shown.one("e2s_forecast_intensity_grams_per_kwh", zone="GB", signal="average, direct") == 123.0


@pytest.mark.slow
def test_in_postgresql_it_counts_the_same(ledger, start, monkeypatch):
    why = missing()
    if why is not None:
        (pytest.fail if os.environ.get("TEST_SERVERS") == "required" else pytest.skip)(why)
    server = PostgreSQL().start()
    try:
        other = Ledger.open(server.create("ledger"))
        for one in (ledger, other):
            one.ingest(renamed(full_run(), 1))
        here = start()()
        monkeypatch.setenv("E2S_LEDGER_URL", server.url("ledger"))
        settings.cache_clear()
        scrape = start(ledger_url=server.url("ledger"))
        assert scrape()[ENERGY] == here[ENERGY]
        other.ingest(renamed(full_run(), 2))
        assert scrape().one(ENERGY) == pytest.approx(2 * here.one(ENERGY))
        scrape()
        assert scrape.runs_read == 2
    finally:
        server.remove()
