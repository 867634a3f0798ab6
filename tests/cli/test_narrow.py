"""What the commands print in a terminal of few columns."""

import re

import pytest

from e2s_tasks.core.records import VersionRecord
from e2s_tasks.ledger import Ledger
from e2s_tasks.settings import settings
from tests.reporter.runs import NOON, RUN, full_run, span

OTHER = "0" * 8
COMMANDS = [
    ("runs",), ("show", RUN), ("compare", RUN, OTHER), ("kpi", RUN),
    ("kpi", "--solution", "delay-forecast", "--since", "20260101"),
    ("artifact", "features.parquet"), ("artifact", "features.parquet", "--history"),
]  # fmt: skip
NUMBER = re.compile(r"\d")
HEAD = re.compile(r"run +flow |step +|v +written |KPI +|came from |stage +|status | {6,}A ")


@pytest.fixture
def ledger(data_dir):
    records = full_run()
    other = [
        span("x", name="train", run_id=OTHER, flow_run_id=OTHER, parent_id=None, kind="flow", cpu_j=123.4, dram_j=1.0,
             static_j=1.0, ended_at=NOON + 6543.2),
    ]  # fmt: skip
    opened = Ledger.open(settings().ledger)
    again = VersionRecord("v2", "file:///data/features.parquet", "x", OTHER, NOON + 9, 9_600_000, 336_776)
    opened.ingest([*records.processes, *records.spans, *records.versions, *records.outcomes, *records.decisions])
    opened.ingest([*other, again])
    return opened


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_figures_are_whole_at_any_width_and_no_line_is_too_long(e2s, ledger, monkeypatch, command):
    def printed(width):
        monkeypatch.setenv("COLUMNS", str(width))
        code, out, _ = e2s(*command)
        assert code == 0
        return [line.rstrip() for line in out.splitlines() if not line.startswith("more ")]

    def words(lines):
        return {word.strip("│") for line in lines for word in line.split()}

    whole, wide = {word for word in words(printed(200)) if NUMBER.search(word)}, words([*printed(99), *printed(200)])
    for width in range(30, 121, 3):
        lines = printed(width)
        assert max(map(len, lines)) <= width
        assert {word for word in words(lines) if NUMBER.search(word)} <= whole | {"02-02"}  # the day without its year
        heads = [line for line in lines if HEAD.match(line)]
        assert heads
        assert words(heads) <= wide


@pytest.mark.parametrize(
    ("command", "columns"),
    [
        (("runs",), "run flow energy"), (("show", RUN), "step energy share"),
        (("artifact", "features.parquet"), "came from energy share"),
        (("artifact", "features.parquet", "--history"), "v written (UTC) in-run"), (("kpi", RUN), "KPI value"),
    ],
)  # fmt: skip
def test_at_30_columns_the_figures_that_matter_most_are_left(e2s, ledger, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", "30")
    assert columns in [" ".join(line.split()) for line in e2s(*command)[1].splitlines()]
