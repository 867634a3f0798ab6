"""A run that lives in an orchestrator's database alone, as an Airflow DAG's does: it has no flow body to speak of."""

import io

import pytest

from e2s_tasks.core.lineage import lineage_of
from e2s_tasks.core.records import Kind, VersionRecord
from e2s_tasks.ledger import Ledger
from e2s_tasks.reporter import figures, markdown, summarise, summarise_run, terminal
from e2s_tasks.reporter.compare import compare
from e2s_tasks.reporter.energy_flow import energy_flow
from e2s_tasks.reporter.fleet import fleet
from e2s_tasks.reporter.html import render_fleet, render_run
from e2s_tasks.reporter.tally import tally
from e2s_tasks.reporter.timeline import timeline
from e2s_tasks.reporter.tree import adopted, tree
from tests.reporter.runs import NOON, RUN, process, root, run, span
from tests.reporter.test_report_pages import Page

BODY = "delays (spans outside its tasks)"


def dag_run():
    """A task whose process also worked before it, of which a span tells a part."""
    return run(
        span("root", Kind.FLOW, "delays", process_id=RUN, ended_at=NOON + 9, attributes={"flow_run_name": "manual__1"}),
        span("o", Kind.ORCHESTRATION, "airflow process", parent_id=None, ended_at=NOON + 8, cpu_j=3.0),
        span("b", Kind.SPAN, "reading the DAG's file", parent_id="o", cpu_j=1.0),
        span("t", name="train", parent_id="o", started_at=NOON + 2, task_run_id="t", attempt=1, cpu_j=40.0),
        versions=[VersionRecord("v", "file:///data/model", "t", RUN, NOON + 3, 10)],
    )


@pytest.fixture
def ledger(tmp_path):
    records = dag_run()
    opened = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    opened.ingest([process(), *records.spans, *records.versions])
    return opened


def test_its_orchestration_is_called_so_in_every_list_of_steps(ledger):
    records, wanted = ledger.run(RUN), {"train", "orchestration", BODY}
    spans, summary = tree(records.spans, RUN), summarise_run(ledger, RUN)
    assert {row["name"] for row in summary["steps"] if row["depth"] == 0} == wanted
    assert {row["name"] for row in summary["consumers"]} == wanted
    assert {row["name"] for row in fleet(ledger, NOON - 1, NOON + 100)["steps"]} == wanted
    assert set(tally(records, lambda _: None).energy) == wanted
    assert {name for _, name in timeline(records, spans).watts} == wanted
    flows = energy_flow(records, spans, lineage_of(adopted(records, spans)))
    assert {row["step"] for row in flows} == wanted
    assert figures.lacking(records)
    assert {row["step"] for row in flows if row["lower_bound"]} == wanted


def test_no_surface_speaks_of_a_body(ledger):
    out = io.StringIO()
    summary = summarise_run(ledger, RUN)
    terminal.print_summary(summary, stream=out)
    pages = [Page(html).text for html in (render_run(ledger, RUN), render_fleet(ledger, NOON - 1))]
    for text in (out.getvalue(), markdown.render(summary), *pages):
        assert "orchestration" in text
        assert "body" not in text.replace("nobody", "")


def test_its_orchestration_is_compared_with_that_of_a_flow_run():
    flow = run(root(cpu_j=2.0, ended_at=NOON + 9), span("t", name="train", task_run_id="t", attempt=1, cpu_j=30.0))
    rows = compare(summarise(flow), summarise(dag_run()))["steps"]
    (row,) = [row for row in rows if row["kind"] == "orchestration"]
    assert (row["a"], row["b"], row["only_in"]) == (2.0, 3.0, None)
