"""`e2s runs`."""

import json
import time

import pytest
from rich.cells import cell_len

from e2s_tasks.core.records import Kind, Status
from e2s_tasks.ledger import Ledger
from e2s_tasks.reporter import summarise_run
from e2s_tasks.settings import settings
from tests.reporter.runs import RUN, process, root, span

WHOLE = {"cpu_j": 1.0, "dram_j": 1.0, "static_j": 1.0}


def test_runs_lists_what_the_ledger_holds(e2s, ledger):
    (row,) = json.loads(e2s("runs", "--json", "--limit", "5")[1])["runs"]
    assert (row["id"], row["flow"], row["name"], row["status"]) == (RUN, "flight-delays", "amber-fox", "completed")
    assert row["energy_j"] == pytest.approx(282.7)
    assert "4c1ad7d2" in e2s("runs")[1]


UNUSED = WHOLE | dict.fromkeys(("cpu_j", "dram_j", "static_j"), 0.0)
REMOTE = {
    "source": "LLM",
    "where": "remote",
    "provenance": "modelled",
    "calls": 1,
    "joules": 3.0,
    "low": 1.0,
    "high": 9.0,
}


@pytest.mark.parametrize(
    ("spans", "lower"),
    [
        ([span("a", **WHOLE), span("b", **WHOLE)], False),
        ([span("a", **WHOLE), span("b", **WHOLE | {"dram_j": None})], True),
        ([span("a", **WHOLE), span("b", status=Status.CACHED)], False),
        ([span("a", **WHOLE), span("b", **WHOLE, attributes={"gaps": ["cpu"]})], True),
        ([span("a", **WHOLE, status=Status.CRASHED, attributes={"killed": True})], True),
        ([span("a", **WHOLE, status=Status.CANCELLED, attributes={"killed": True})], True),
        ([span("a", **WHOLE, status=Status.CANCELLED, attributes={"stopped": True})], False),
        (
            [
                span("a", **UNUSED, status=Status.CANCELLED, attributes={"killed": True}),
                span("b", **UNUSED, status=Status.CANCELLED, attributes={"killed": "soon after"}),
            ],
            True,
        ),
        (
            [
                span(
                    "a",
                    **UNUSED,
                    status=Status.CRASHED,
                    attributes={"killed": True},
                )
            ],
            False,
        ),
        ([span("a", **WHOLE, attributes={"remote_work": "LLM"})], True),
        (
            [
                span("a", **WHOLE, attributes={"remote_work": "LLM"}),
                span("b", Kind.SPAN, parent_id="a", **WHOLE),
                span("c", Kind.SPAN, parent_id="b", remote_j=3.0, **WHOLE, attributes={"remote": [REMOTE]}),
            ],
            False,
        ),
    ],
)
def test_runs_marks_an_energy_of_which_parts_are_missing_as_the_summary_does(e2s, data_dir, spans, lower):
    opened = Ledger.open(settings().ledger)
    opened.ingest([process(), root(**WHOLE), *spans])
    (row,) = json.loads(e2s("runs", "--json")[1])["runs"]
    assert row["lower_bound"] == lower == bool(summarise_run(opened, RUN)["gaps"])
    assert (">= " in e2s("runs")[1]) == lower


def test_runs_are_one_a_line_with_whole_names_at_50_columns(e2s, ledger, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    head, row = e2s("runs")[1].splitlines()
    assert head.split() == ["run", "flow", "status", "began", "(UTC)", "energy"]
    assert row.split()[:3] == [RUN[:8], "flight-delays", "ok"]
    assert len(row) <= 50


def test_runs_show_their_energy_at_40_columns_and_leave_out_when_they_began(e2s, ledger, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    head, row = e2s("runs")[1].splitlines()
    assert head.split() == ["run", "flow", "status", "energy"]
    assert row.split()[-1] == "J"
    assert len(row) <= 40


def test_a_name_that_is_too_long_loses_its_middle(e2s, ledger, monkeypatch):
    for number, name in enumerate(["manual__2026-11-29T17:55:50.123456+00:00_AbCdEf12", "手動実行" * 9 + "_AbCdEf12"]):
        ids = dict.fromkeys(("run_id", "flow_run_id"), f"{number}1b2c3d4-e5f6")
        ledger.ingest([span(name, Kind.FLOW, "f", cpu_j=1.0, attributes={"flow_run_name": name}, **ids)])
    monkeypatch.setenv("COLUMNS", "80")
    lines = e2s("runs")[1].splitlines()
    assert sum("f12 " in line and "…" in line and (" manual" in line or " 手動" in line) for line in lines) == 2
    assert max(map(cell_len, lines)) <= 80


@pytest.mark.parametrize("columns", [50, 72, 80, 100])
def test_runs_with_long_names_are_one_a_line_and_whole_in_json(e2s, ledger, monkeypatch, columns):
    names = [
        "scheduled__2026-11-29T00:00:00+00:00",
        "manual__2026-11-29T17:55:50.123456+00:00_AbCdEf12",
        "two words " * 9,
    ]
    for number, name in enumerate(names):
        ids = dict.fromkeys(("run_id", "flow_run_id"), f"{number}1b2c3d4-e5f6")
        told = {"flow_run_name": name}
        ledger.ingest([span(name, Kind.FLOW, "a_dag_with_a_rather_long_name", cpu_j=1e4, attributes=told, **ids)])
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = e2s("runs")[1].splitlines()
    assert len(lines) == 1 + len(names) + 1
    assert max(map(len, lines)) <= columns
    assert sum("a_dag" in line and "\u2026" in line and "kJ" in line for line in lines) == len(names)
    assert {row["name"] for row in json.loads(e2s("runs", "--json")[1])["runs"]} == {*names, "amber-fox"}


def test_a_run_that_goes_on_tells_how_long_it_has_worked_so_far(e2s, ledger):
    ids = dict.fromkeys(("run_id", "flow_run_id"), "ab1b2c3d4-e5f6")
    at = {"started_at": time.time() - 90, "ended_at": None, "status": Status.RUNNING}
    ledger.ingest([span("f", Kind.FLOW, "goes-on", cpu_j=1.0, **at, **ids)])
    [line] = [one for one in e2s("runs")[1].splitlines() if "goes-on" in one]
    assert " 1 min 30 s so far " in line
    assert json.loads(e2s("runs", "--json")[1])["runs"][0]["duration_s"] is None
