"""Every surface says the same of one run: terminal, page, report, comparison, history, exporter, runs, MLflow."""

import io
import re

import pytest
from prometheus_client import generate_latest

from e2s_tasks.core.records import EdgeRecord, SourceRecord, Status, VersionRecord
from e2s_tasks.integrations.cli.compare_tables import print_comparison
from e2s_tasks.integrations.cli.kpi_tables import print_kpis
from e2s_tasks.integrations.mlflow import figures as of_mlflow
from e2s_tasks.integrations.prometheus.exporter import Exporter
from e2s_tasks.ledger import Ledger
from e2s_tasks.reporter import history, markdown, phrases, run_kpis, summarise_run, terminal, units
from e2s_tasks.reporter.compare import compare
from e2s_tasks.reporter.headline import headline
from e2s_tasks.reporter.html import render_fleet, render_run
from e2s_tasks.reporter.html.task_run_page import render_task_run
from e2s_tasks.reporter.task_run import summarise_task_runs
from e2s_tasks.settings import settings
from tests.exporter.conftest import scraped
from tests.reporter.runs import NOON, RUN, full_run, outcome, process, root, run, span
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


def killed_check():
    """A run whose last task, which led to no product, was killed: what it used is a lower bound, and all it is in."""
    killed = {"status": Status.CRASHED, "attributes": {"killed": True}}
    return run(
        root(cpu_j=1.0, ended_at=NOON + 9, solution="delays"),
        span("b", name="build", cpu_j=20.0, task_run_id="b"),
        span("t", name="train", cpu_j=11.0, task_run_id="t", started_at=NOON + 3),
        span("k", name="check", cpu_j=7.0, task_run_id="k", started_at=NOON + 6, attempt=1, **killed),
        processes=[process([SourceRecord("cpu", "RAPL", "measured")])],
        versions=[VersionRecord("v1", "file:///d/model", "t", RUN, NOON + 5, 300)],
        edges=[EdgeRecord("e1", RUN, "b", "t")],
        outcomes=[outcome("t", units=10.0, accurate=None)],
    )


def more_texts(ledger, summary, capsys):
    """What a person reads on the surfaces that tell of several runs, of a run's parts, or of KPIs alone."""
    print_comparison(compare(summary, summary))
    compared = capsys.readouterr().out
    print_kpis(run_kpis(ledger, RUN))
    kpis = capsys.readouterr().out
    found = summarise_task_runs(summary, ledger.run(RUN), ["k"])
    pages = {"task run": render_task_run(found, "check", "run"), "fleet": render_fleet(ledger, NOON - 1)}
    return {"comparison": compared, "KPIs": kpis} | {name: Page(page).text for name, page in pages.items()}


def test_no_surface_shows_a_lower_bound_as_an_exact_figure(ledger, capsys):
    records = killed_check()
    written = [*records.processes, *records.spans, *records.versions, *records.edges, *records.outcomes]
    other = Ledger.open(f"sqlite:///{settings().data_dir / 'other.db'}")
    other.ingest(written)
    summary = summarise_run(other, RUN)
    kpi = headline(summary)["kpi_value"]
    bounded = {units.joules(one) for one in (summary["energy_j"]["total"], summary["unclaimed_j"], 7.0, kpi)}
    assert bounded == {"39.0 J", "7.18 J", "7.00 J", "3.90 J"}
    surfaces = texts(other, summary) | more_texts(other, summary, capsys)
    for surface, text in surfaces.items():
        words = " ".join(text.split())
        for figure in bounded:
            assert re.findall(rf".{{20}}(?<!>= )(?<!at least )\b{re.escape(figure)}.{{9}}", words) == [], surface
        assert ">= 31.8 J" not in words  # what it wrote did not need the task that was killed
    assert all(">= 7.18 J" in surfaces[one] for one in ("terminal", "page", "report", "comparison"))
    assert all(">= 39.0 J / 10" in " ".join(surfaces[one].split()) for one in ("terminal", "page", "report", "KPIs"))
    assert summary["unclaimed_lower_bound"]
    assert (summary["orchestration_lower_bound"], summary["waiting_lower_bound"]) == (False, False)


@pytest.mark.parametrize(("shared_ns", "told"), [(2_500_000_000, True), (10_000_000, False)])
def test_what_several_steps_used_at_once_is_told_where_it_is_much(tmp_path, shared_ns, told):
    records = run(
        root(cpu_j=1.0, cpu_ns=0, ended_at=NOON + 9),
        span("a", name="fit", task_run_id="a", attempt=1, cpu_j=9.0, cpu_ns=3_000_000_000, shared_cpu_ns=shared_ns),
    )
    opened = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    opened.ingest([process(), *records.spans])
    summary = summarise_run(opened, RUN)
    said = "2.50 s of 3.00 s of CPU time were of threads or of a pool's processes that several used at once"
    for surface in ("terminal", "page", "report"):
        assert (said in " ".join(texts(opened, summary)[surface].split())) is told, surface


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
