"""Every surface says the same of one run: terminal, page, report, comparison, history, exporter, runs, MLflow."""

import io
import re

import pytest
from prometheus_client import generate_latest

from e2s_tasks.integrations.mlflow import figures as of_mlflow
from e2s_tasks.integrations.prometheus.exporter import Exporter
from e2s_tasks.ledger import Ledger
from e2s_tasks.reporter import history, markdown, phrases, summarise_run, terminal, units
from e2s_tasks.reporter.compare import compare
from e2s_tasks.reporter.headline import headline
from e2s_tasks.reporter.html import render_run
from e2s_tasks.settings import settings
from tests.exporter.conftest import scraped
from tests.reporter.runs import RUN, full_run
from tests.reporter.test_report_pages import Page


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("E2S_DATA_DIR", str(tmp_path))
    settings.cache_clear()
    opened = Ledger.open(settings().ledger)
    records = full_run()
    opened.ingest([*records.processes, *records.spans, *records.versions, *records.outcomes, *records.decisions])
    yield opened
    settings.cache_clear()


def texts(ledger, summary):
    """What a person reads on each surface, without markup."""
    stream = io.StringIO()
    terminal.print_summary(summary, stream=stream)
    page = re.sub(r"\\([^\w\s])", r"\1", markdown.render(summary)).replace("*", "")
    return {"terminal": stream.getvalue(), "page": page, "report": Page(render_run(ledger, RUN)).text}


def test_a_person_reads_the_same_figures_everywhere(ledger):
    summary = summarise_run(ledger, RUN)
    kpi = headline(summary)
    said = {
        phrases.whole(summary), units.grams(summary["emissions_g"]["total"]), units.quantity(kpi["kpi_value"], "J"),
        *(units.joules(row["inclusive_j"]) for row in summary["steps"] if row["depth"] == 0),
        *(units.joules(one["in_run_j"]) for one in summary["artifacts"]),
        *(units.joules(one["attributed_j"]) for one in summary["artifacts"] if one["final"]),
        units.joules(summary["unsuccessful_j"]),
    }  # fmt: skip
    for surface, text in texts(ledger, summary).items():
        words = " ".join(text.split())
        assert [one for one in said if one not in words] == [], surface
    row = history.render("d", [kpi], 0.2, None)
    assert units.joules(summary["energy_j"]["total"]) in row
    assert units.grams(summary["emissions_g"]["total"]) in row


def test_a_program_reads_the_same_figures_everywhere(ledger):
    summary = summarise_run(ledger, RUN)
    total, grams = summary["energy_j"]["total"], summary["emissions_g"]["total"]
    exporter = Exporter(settings(), remembers=False)
    exporter.read()
    shown = scraped(generate_latest(exporter.registry).decode())
    totals = {row["name"]: row["b"] for row in compare(summary, summary)["totals"]}
    (row,) = ledger.runs()
    (frame,) = ledger.flow_runs().to_dict("records")
    assert shown.one("e2s_energy_joules_total") == pytest.approx(total, abs=1e-5)
    assert shown.one("e2s_emissions_grams_total") == pytest.approx(grams, abs=1e-5)
    assert headline(summary)["energy_j"] == totals["energy"] == row.energy.total == frame["energy_j"] == total
    assert headline(summary)["emissions_g"] == totals["emissions"] == grams
    assert sum(one["exclusive_j"] or 0.0 for one in summary["spans"]) == pytest.approx(total)
    told = of_mlflow.run_figures(summary)
    assert told["e2s/total_j"] == total
    assert told["e2s/emissions_g"] == grams
