"""`e2s compare`, on a ledger of its own."""

import json
from dataclasses import replace

import pytest

from e2s_tasks.ledger import Ledger
from e2s_tasks.settings import settings
from tests.reporter.runs import NOON, RUN, full_run, process, root, span

OTHER = "9e0f2f61-1111-4d1c-9c1b-0d3ad8d1f0bb"


@pytest.fixture
def ledger(data_dir):
    opened, records = Ledger.open(settings().ledger), full_run()
    opened.ingest([*records.processes, *records.spans, *records.versions, *records.outcomes, *records.decisions])
    later = root(cpu_j=4.0, attributes={"flow_run_name": "brave-\x1b[31mowl"}, ended_at=NOON + 20)
    spans = [later, span("t", name="train" + "_on_everything" * 6, cpu_j=90.0, attempt=1)]
    moved = {"run_id": OTHER, "flow_run_id": OTHER}
    theirs = [
        replace(one, id=f"b-{one.id}", parent_id=one.parent_id and f"b-{one.parent_id}", **moved) for one in spans
    ]
    opened.ingest([process(), *theirs])
    return opened


@pytest.mark.parametrize("columns", [80, 60])
def test_both_runs_stand_side_by_side_in_a_narrow_terminal(e2s, ledger, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, err = e2s("compare", "amber-fox", OTHER)
    assert (code, err) == (0, "")
    assert max(len(line) for line in out.splitlines()) <= columns
    assert "\x1b" not in out
    for word in (
        "Totals",
        "Components",
        "Steps",
        "only in A",
        "only in B",
        "measured",
        "missing",
        "KPIs",
        "283 J in A",
    ):
        assert word in out, word


def test_json_has_the_figures_of_show(e2s, ledger):
    code, out, _ = e2s("compare", RUN[:8], OTHER[:8], "--json")
    found = json.loads(out)
    shown = [json.loads(e2s("show", run, "--json")[1]) for run in (RUN, OTHER)]
    assert code == 0
    assert [found[side] for side in "ab"] == [one["flow_run"] for one in shown]
    energy = found["totals"][0]
    assert [energy["a"], energy["b"]] == [one["energy_j"]["total"] for one in shown]


def test_an_unknown_run_is_an_error_with_a_near_match(e2s, ledger):
    code, out, err = e2s("compare", RUN, "amber-fix")
    assert (code, out) == (1, "")
    assert "Did you mean amber-fox?" in err


def test_it_takes_two_runs(e2s, ledger):
    code, out, err = e2s("compare", RUN)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
