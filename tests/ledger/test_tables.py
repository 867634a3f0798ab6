"""The ledger as pandas and Arrow tables, and as Parquet."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from e2s_tasks.core.records import EdgeRecord, ProcessRecord, SourceRecord
from e2s_tasks.errors import NotFoundError, SettingError
from e2s_tasks.ledger import Ledger, export, this_process
from e2s_tasks.settings import settings
from tests.ledger.journals import started

DAY_S = 86400.0


@pytest.fixture
def filled(ledger, flow, span, version, read):
    """A run of each of three days: the last one's subflow ran in another process."""
    for day in range(3):
        run, at = f"run-{day}", day * DAY_S + 100.0
        ledger.ingest(
            [
                ProcessRecord(f"p{day}", "h", "b", 1, 1, at, "share", [SourceRecord("cpu", "RAPL", "measured")]),
                flow(run, at, cpu_j=1.0, solution=("churn", "delays", "delays")[day]),
                span(f"fit-{day}", run=run, at=at + 1, cpu_j=2.0, storage_j=0.5, cpu_ns=1_500_000_000),
                span(
                    f"read_it-{day}", "read", run=run, at=at + 2, bytes_read=7 if day else None, attributes={"a": "ü"}
                ),
                version("file:///lake/a%20b.parquet", at + 3, run=run),
                EdgeRecord(f"e{day}", run, "t1", "t2"),
            ]
        )
    ledger.ingest([span("sub", "flow", "run-2", 2 * DAY_S + 200.0, flow_run_id="S")])
    ledger.ingest([span("far", run="S", at=2 * DAY_S + 201.0, cpu_j=4.0, status="failed")])
    ledger.ingest([read("file:///lake/a%20b.parquet", 2 * DAY_S + 150.0, run="run-2")])
    return ledger


def test_spans_are_a_frame_with_units_in_the_names_and_times_that_are_times(filled):
    frame = filled.spans()
    assert list(frame["span_id"][:3]) == ["flow-run-0", "fit-0", "read_it-0"]
    fit = frame.set_index("span_id").loc["fit-0"]
    assert (fit.energy_j, fit.cpu_j, fit.cpu_s, fit.duration_s) == (2.5, 2.0, 1.5, 1.0)
    assert fit.started_at == pd.Timestamp("1970-01-01 00:01:41", tz="UTC")
    assert str(frame.dtypes["bytes_read"]) == "Int64"
    assert json.loads(frame["attributes"][2]) == {"a": "ü"}
    assert frame.loc[frame.kind == "read", "energy_j"].isna().all()


def test_the_arrow_table_has_the_same_rows_and_its_types(filled):
    table = filled.spans(to="arrow")
    assert table.schema.field("started_at").type == pa.timestamp("us", tz="UTC")
    assert table["span_id"].to_pylist() == list(filled.spans()["span_id"])
    assert filled.spans(name="nobody", to="arrow").schema == table.schema


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({"run": "run-2"}, "flow-run-2 fit-2 read_it-2 sub far"),
        ({"run": "S"}, "flow-run-2 fit-2 read_it-2 sub far"),
        ({"run": "name-of-run-0"}, "flow-run-0 fit-0 read_it-0"),
        ({"kind": "read"}, "read_it-0 read_it-1 read_it-2"),
        ({"kind": ["flow", "read"], "since": "1970-01-03"}, "flow-run-2 read_it-2 sub"),
        ({"name": "fit-*"}, "fit-0 fit-1 fit-2"),
        ({"name": "read?it*"}, ""),
        ({"name": "READ*"}, ""),
        ({"status": "failed"}, "far"),
        ({"solution": "delays", "kind": "attempt"}, "fit-1 fit-2 far"),
        ({"since": date(1970, 1, 2), "until": datetime(1970, 1, 3, tzinfo=UTC)}, "flow-run-1 fit-1 read_it-1"),
        ({"until": 101.5}, "flow-run-0 fit-0"),
        ({"since": "30d"}, ""),
    ],
)
def test_spans_are_chosen_by(filled, filters, ids):
    assert list(filled.spans(**filters)["span_id"]) == ids.split()


def test_what_cannot_be_asked_for_is_said(filled):
    with pytest.raises(SettingError, match="since='yesterday'"):
        filled.spans(since="yesterday")
    with pytest.raises(SettingError, match="to='polars'"):
        filled.artifacts(to="polars")
    with pytest.raises(NotFoundError):
        filled.spans(run="unknown")


@pytest.mark.parametrize("question", ["spans", "artifacts", "flow_runs"])
def test_a_time_that_ends_before_it_begins_is_refused_with_both_its_ends(filled, question):
    with pytest.raises(SettingError, match=r"until='1970-01-01' lies before since='1970-01-02'"):
        getattr(filled, question)(since="1970-01-02", until="1970-01-01")
    assert len(getattr(filled, question)(since="1970-01-02", until="1970-01-02")) == 0


def test_a_kind_or_a_status_that_no_span_can_have_is_refused_with_those_that_it_can(filled):
    with pytest.raises(SettingError, match=r"kind='task' is unknown: give one of flow, orchestration, attempt"):
        filled.spans(kind=["read", "task"])
    with pytest.raises(SettingError, match=r"status='fail' is unknown: give one of running, completed"):
        filled.spans(status="fail")
    with pytest.raises(SettingError, match=r"status='\?ailed'"):
        filled.flow_runs(status="?ailed")
    assert list(filled.spans(kind="at*", status="fail*")["span_id"]) == ["far"]


def test_artifacts_are_numbered_over_all_runs_whatever_is_chosen(filled):
    frame = filled.artifacts("file:///lake/*.parquet", run="run-2")
    assert frame[["uri", "version", "run_id", "bytes"]].to_numpy().tolist() == [
        ["file:///lake/a%20b.parquet", 3, "run-2", 1]
    ]
    assert list(filled.artifacts("/lake/a b.parquet", since="1970-01-02")["version"]) == [2, 3]
    assert len(filled.artifacts("/elsewhere")) == 0


def test_flow_runs_have_their_whole_energy(filled):
    frame = filled.flow_runs()
    assert list(frame["run_id"]) == ["run-0", "run-1", "run-2"]
    assert list(frame["energy_j"]) == [3.5, 3.5, 7.5]
    assert list(frame["spans"]) == [3, 3, 5]
    assert list(filled.flow_runs(solution="delays", until="1970-01-03")["run_id"]) == ["run-1"]
    assert list(filled.flow_runs("run-0", name="del*", status="completed")["flow_run_name"]) == ["name-of-run-0"]
    assert len(filled.flow_runs(status="failed")) == 0


def test_the_configured_ledger_is_opened_with_what_waits_in_journals(tmp_path, monkeypatch, span):
    monkeypatch.setenv("E2S_DATA_DIR", str(tmp_path))
    settings.cache_clear()
    try:
        started(settings().journals, this_process()).append(span("a"))
        assert list(Ledger.open().spans()["span_id"]) == ["a"]
    finally:
        settings.cache_clear()


# -- Parquet ------------------------------------------------------------------------------------------------------


def rows_of(folder):
    return {path.name: len(pd.read_parquet(path)) for path in folder.iterdir() if path.is_dir()}


def test_an_export_holds_every_record_once_in_days(filled, tmp_path):
    done = {one.records: (one.rows, one.days) for one in filled.export(tmp_path / "out")}
    assert done == {
        "spans": (11, 3), "versions": (3, 3), "reads": (1, 1), "edges": (3, 3), "outcomes": (0, 0), "decisions": (0, 0),
        "processes": (3, 3),
    }  # fmt: skip
    spans = tmp_path / "out" / "spans"
    assert sorted(path.name for path in spans.iterdir()) == ["day=1970-01-01", "day=1970-01-02", "day=1970-01-03"]
    expected = filled.spans(to="arrow").to_pylist()
    found = [row for path in sorted(spans.glob("*/*.parquet")) for row in pq.ParquetFile(path).read().to_pylist()]
    assert sorted(found, key=str) == sorted(expected, key=str)
    table = duckdb.read_parquet(f"{spans}/*/*.parquet", hive_partitioning=True)
    assert table.aggregate("day, sum(energy_j) AS j").order("day").project("j").fetchall() == [(3.5,), (3.5,), (7.5,)]
    assert pd.read_parquet(spans)["energy_j"].sum() == 14.5


def test_an_export_anew_replaces_the_days_that_it_covers_and_no_other(filled, tmp_path, span):
    filled.export(tmp_path)
    filled.ingest([span("new", run="run-1", at=DAY_S + 500.0), span("later", run="run-2", at=2 * DAY_S + 500.0)])
    (tmp_path / "reads" / "day=1970-01-02").mkdir()
    (tmp_path / "reads" / "day=1970-01-02" / "part-0.parquet").write_bytes(b"what is not in the ledger any more")
    filled.export(tmp_path, since="1970-01-02T23:00", until="1970-01-03")
    assert rows_of(tmp_path / "spans") == {"day=1970-01-01": 3, "day=1970-01-02": 4, "day=1970-01-03": 5}
    assert rows_of(tmp_path / "reads") == {"day=1970-01-03": 1}
    assert json.loads((tmp_path / "_e2s_export.json").read_text())["since"] == "1970-01-02"


@pytest.mark.slow
def test_an_export_that_is_killed_leaves_what_was_there(sqlite_url, tmp_path, span):
    ledger = Ledger.open(sqlite_url)
    ledger.ingest([span(f"a{n}", at=float(n)) for n in range(1000)])
    ledger.export(tmp_path / "out")
    ledger.ingest([span(f"b{n}", at=float(n)) for n in range(30_000)])
    code = (
        "import sys; from e2s_tasks.ledger import Ledger\n"
        "from e2s_tasks.ledger import export\n"
        "def slow(*arguments): print('staged', flush=True); sys.stdin.readline()\n"
        "export._put_in_place = slow\n"
        "Ledger.open(sys.argv[1]).export(sys.argv[2])\n"
    )
    for folder in ("out", "fresh"):
        killed = subprocess.Popen(
            [sys.executable, "-c", code, sqlite_url, str(tmp_path / folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert killed.stdout.readline() == b"staged\n"
        with pytest.raises(SettingError, match="Another export"):
            ledger.export(tmp_path / folder)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    assert len(pd.read_parquet(tmp_path / "out" / "spans")) == 1000
    assert not list((tmp_path / "fresh").glob("[!.]*"))
    ledger.export(tmp_path / "fresh")
    assert len(pd.read_parquet(tmp_path / "fresh" / "spans")) == 31_000
    assert sorted(path.name for path in (tmp_path / "fresh").iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("until", ["1970-01-01", "1970-01-02T12:00"])
def test_an_export_of_no_day_is_refused_and_touches_nothing(filled, tmp_path, until):
    with pytest.raises(SettingError) as refused:
        filled.export(tmp_path / "out", since="1970-01-02T06:00", until=until)
    assert "since='1970-01-02T06:00'" in str(refused.value)
    assert f"until={until!r}" in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("blocked", ["file", "lake/spans", "/proc/lake"])
def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_left_in_it(filled, tmp_path, blocked):
    (tmp_path / "file").write_text("")
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "spans").write_text("a file where a folder has to be")
    before = sorted(tmp_path.rglob("*"))
    folder = (tmp_path / blocked).parent if blocked == "lake/spans" else tmp_path / blocked
    with pytest.raises(SettingError, match=f"The folder '{folder}' cannot be exported to"):
        filled.export(folder)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("existing", [True, False])
def test_an_export_that_is_interrupted_leaves_what_was_there_and_nothing_else(filled, tmp_path, monkeypatch, existing):
    if existing:
        filled.export(tmp_path / "out", until="1970-01-02")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(export, "_put_in_place", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        filled.export(tmp_path / "out")
    after = sorted(tmp_path.rglob("*"))
    assert after == [path for path in before if path.name != "_e2s_export.json"]
    monkeypatch.undo()
    filled.export(tmp_path / "out")
    assert rows_of(tmp_path / "out")["spans"] == 11


@pytest.mark.slow
def test_an_export_for_which_there_is_no_room_says_so_and_leaves_nothing(sqlite_url, tmp_path, span):
    Ledger.open(sqlite_url).ingest([span(f"{n}", name=os.urandom(40).hex()) for n in range(3000)])
    code = (
        "import resource, signal, sys; from e2s_tasks.ledger import Ledger\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "ledger = Ledger.open(sys.argv[1]); ledger.runs()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "try: ledger.export(sys.argv[2])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    command = [sys.executable, "-c", code, sqlite_url, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"SettingError The folder '{tmp_path / 'out'}' cannot be exported to (")
    assert "File too large" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_export_holds_only_a_portion_of_the_rows_in_memory(sqlite_url, tmp_path, span):
    ledger = Ledger.open(sqlite_url)
    peaks = []
    for start, count in ((0, 20_000), (20_000, 40_000)):
        ledger.ingest([span(f"s{start + n}", at=float(n)) for n in range(count)])
        code = (
            "import sys; from pathlib import Path; from e2s_tasks.ledger import Ledger\n"
            "Ledger.open(sys.argv[1]).export(sys.argv[2])\n"
            "lines = Path('/proc/self/status').read_text().splitlines()\n"
            "print(next(line.split()[1] for line in lines if line.startswith('VmHWM')))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, sqlite_url, str(tmp_path / "out")], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 25  # MB; 40,000 more rows at once take over 60


def test_the_commands_export_and_prune(tmp_path, sqlite_url, span, flow):
    now = time.time()
    ledger = Ledger.open(sqlite_url)
    ledger.ingest([flow("run-1"), span("a", ended_at=9.0, parent_id="flow-run-1", cpu_j=1.0)])
    ledger.ingest([span("b", "span", parent_id="a", cpu_j=1.0)])
    ledger.ingest([flow("run-2", now - 9.0)])
    environment = os.environ | {"E2S_LEDGER_URL": sqlite_url, "E2S_DATA_DIR": str(tmp_path / "data"), "COLUMNS": "200"}

    def e2s(*arguments):
        command = [sys.executable, "-c", "from e2s_tasks.integrations.cli import main; main()", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    assert json.loads(e2s("export", str(tmp_path / "out"), "--since", "2d", "--json")[1])["records"][0] == {
        "records": "spans", "rows": 1, "days": 1,
    }  # fmt: skip
    assert "1 inner spans of 1 runs would be folded" in e2s("prune", "--keep", "90d", "--dry-run")[1]
    assert json.loads(e2s("prune", "--keep", "90d", "--json")[1])["spans"] == 1
    code, _, err = e2s("prune", "--keep", "ninety")
    assert code == 1
    assert "--keep='ninety'" in err
