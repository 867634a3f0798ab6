"""The command line, on a ledger of its own."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from e2s_tasks.core.records import ProcessRecord, Status, VersionRecord
from e2s_tasks.ledger import Ledger, this_process
from e2s_tasks.settings import settings
from tests.ledger.journals import started
from tests.reporter.runs import NOON, RUN, root, span


def test_an_empty_ledger_is_told_kindly(e2s):
    code, out, _ = e2s("runs")
    assert code == 0
    assert "No runs yet: run `make run`" in out
    assert json.loads(e2s("runs", "--json")[1]) == {"runs": []}


def test_show_without_a_run_fails_on_one_line(e2s):
    code, out, err = e2s("show")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith("e2s: ")


@pytest.mark.parametrize("name", [(), (RUN,), (RUN[:6],), ("amber-fox",)])
def test_show_finds_a_run_by_id_by_its_start_by_name_and_the_latest(e2s, ledger, name):
    code, out, err = e2s("show", *name, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["flow_run"]["id"] == RUN


def test_show_prints_the_summary_for_people(e2s, ledger):
    code, out, _ = e2s("show")
    assert code == 0
    assert "per accurate prediction" in out
    to_be_copied = "more  "  # a command, whole, however long the way to it is
    assert max(len(line) for line in out.splitlines() if not line.startswith(to_be_copied)) <= 80


def test_of_an_unknown_solution_it_is_told_how_prefect_and_airflow_declare_one(e2s, data_dir):
    code, _, err = e2s("kpi", "--solution", "delays")
    assert code == 1
    assert '@e2s_flow(solution="...") in Prefect' in err
    assert "the tag e2s:solution=... of a DAG" in err


def test_runs_of_one_name_are_told_apart_by_what_ran_and_when(e2s, data_dir):
    for number, dag in enumerate(("extract", "publish")):
        run_id = f"{number}{RUN[1:]}"
        ids = {"run_id": run_id, "flow_run_id": run_id, "process_id": run_id, "started_at": NOON + 60 * number}
        run = replace(root(attributes={"flow_run_name": "manual__1"}), id=f"root {number}", name=dag, **ids)
        Ledger.open(settings().ledger).ingest([run])
    code, _, err = e2s("show", "manual__1")
    assert code == 1
    assert err == (
        f"e2s: 'manual__1' could be any of 2 runs: 1{RUN[1:]} (publish, 2026-02-02 02:41 UTC),"
        f" 0{RUN[1:]} (extract, 2026-02-02 02:40 UTC). Give more of the run's id.\n"
    )


def test_the_kpis_of_a_run_without_energy_say_why(e2s, data_dir):
    Ledger.open(settings().ledger).ingest([root(process_id=RUN, status=Status.FAILED)])
    code, out, _ = e2s("kpi")
    assert code == 0
    assert "no attempt began" in " ".join(out.split())


def test_an_unknown_run_is_an_error_with_a_near_match(e2s, ledger):
    code, out, err = e2s("show", "amber-fix")
    assert (code, out) == (1, "")
    assert "Did you mean amber-fox?" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("runz",), "Did you mean run or runs?"),
        (("comparee", "a", "b"), "Did you mean compare?"),
        (("show", "flight-delay"), f"Did you mean {RUN[:8]}, the latest run of flight-delays?"),
        (("report", "Flight-Delays"), f"Did you mean {RUN[:8]}, the latest run of flight-delays?"),
        (("kpi", "delay-forecast"), f"Did you mean {RUN[:8]}, the latest run of the solution delay-forecast?"),
        (("kpi", "--solution", "delay-forcast"), "Did you mean delay-forecast?"),
        (("kpi", "--solution", "churn"), "These have run: delay-forecast."),
        (("plan", "Fligt-Delays"), "Did you mean flight-delays?"),
        (("artifact", "forcast.parquet"), "Did you mean file:///data/a/forecast.parquet or file:///data/b/forecast."),
    ],
)
def test_an_unknown_name_is_an_error_that_says_what_was_meant(e2s, ledger, arguments, said):
    ledger.ingest([forecast("a"), forecast("b")])
    code, out, err = e2s(*arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert said in err
    assert "features" not in err  # much less like it


def forecast(folder, created_at=NOON):
    uri = f"file://{Path('/data', folder)}/forecast.parquet"
    return VersionRecord(f"{uri} {created_at}", uri, "w1", RUN, created_at)


def test_a_name_of_several_artifacts_is_an_error_that_lists_them_the_newest_first(e2s, ledger):
    ledger.ingest([forecast("a"), forecast("b"), forecast("b", NOON + 1), forecast("c", NOON - 1)])
    code, out, err = e2s("artifact", "forecast.parquet")
    assert (code, out, err.count("\n")) == (1, "", 1)
    uris = [f"file:///data/{folder}/forecast.parquet" for folder in "bac"]
    assert f"could be any of 3 artifacts: {', '.join(uris)}. Give more of the path.\n" in err
    ledger.ingest([forecast(f"f{number}", NOON - 2) for number in range(20)])
    assert e2s("artifact", "forecast.parquet")[2].endswith(" and 13 more. Give more of the path.\n")
    assert e2s("artifact", "b/forecast.parquet")[0] == 0  # several versions of one are no matter


def test_a_path_here_that_ends_as_other_artifacts_do_is_shown_and_they_are_named(e2s, ledger, tmp_path, monkeypatch):
    ledger.ingest([forecast("b"), forecast(str(tmp_path))])
    monkeypatch.chdir(tmp_path)
    for more in ((), ("--history",)):
        code, out, _ = e2s("artifact", "forecast.parquet", *more)
        assert code == 0
        assert out.startswith(f"file://{tmp_path}"[:80])
        assert "another artifact that is called so: file:///data/b/forecast.parquet" in out
    assert json.loads(e2s("artifact", "forecast.parquet", "--json")[1])["others"] == ["file:///data/b/forecast.parquet"]
    assert "another artifact" not in e2s("artifact", str(tmp_path / "forecast.parquet"))[1]


@pytest.mark.parametrize("mistyped", [RUN[:7] + "9", RUN[:11] + "9", RUN[:-1] + "9"])
def test_an_id_with_a_wrong_digit_gets_the_right_one_suggested(e2s, ledger, mistyped):
    code, _, err = e2s("show", mistyped)
    assert code == 1
    assert f"Did you mean {RUN[: len(mistyped)]}" in err


def test_a_solution_without_a_run_in_the_period_has_no_figure(e2s, ledger):
    assert e2s("kpi", "--solution", "delay-forecast")[1].splitlines()[0].endswith(": no runs")


def test_an_artifact_is_found_by_the_end_of_its_uri(e2s, ledger):
    code, out, _ = e2s("artifact", "features.parquet", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["uri"] == "file:///data/features.parquet"
    (version,) = found["versions"]
    assert (version["version"], version["produced_by"], version["run_id"]) == (1, "build_features", RUN)
    assert version["in_run_j"] > 101
    for which in ("1", version["version_id"], version["version_id"][:8], version["version_id"][:8].upper()):
        shown = json.loads(e2s("artifact", "features.parquet", "--version", which, "--json")[1])
        assert [one["version_id"] for one in shown["versions"]] == [version["version_id"]]
    assert (
        "has no version other. It has version 1 alone." in e2s("artifact", "features.parquet", "--version", "other")[2]
    )
    assert "features.parquet" in e2s("artifact", "features.parquet")[1]


def test_an_unknown_artifact_is_an_error_with_a_near_match(e2s, ledger):
    code, _, err = e2s("artifact", "feature.parquet")
    assert code == 1
    assert "features.parquet" in err


def test_what_is_there_is_shown_while_another_process_holds_the_ledgers_lock(e2s, ledger, monkeypatch, caplog):
    monkeypatch.setattr("e2s_tasks.ledger.ledger.READERS_PATIENCE_S", 0.1)
    for name in ("one", "two"):
        started(settings().journals, this_process()).append(span(name))
    before = {path.name for path in settings().journals.iterdir()}
    with closing(sqlite3.connect(settings().ledger.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        code, out, _ = e2s("show", "--json")
        other.execute("ROLLBACK")
    assert (code, json.loads(out)["flow_run"]["id"]) == (0, RUN)
    assert [one.message for one in caplog.records if "newest records wait" in one.message] == caplog.messages
    assert len(caplog.messages) == 1
    assert {path.name for path in settings().journals.iterdir()} == before


def test_a_crashed_process_s_run_shows_because_its_journal_is_replayed(e2s, data_dir):
    here = this_process()
    gone = ProcessRecord("p1", here.host, "another boot", here.pid, 1, NOON, "dedicated")
    journal = started(settings().journals, gone)
    journal.append(span("t", status=Status.RUNNING, ended_at=None, parent_id=None, flow_run_id=None, cpu_j=2.0))
    summary = json.loads(e2s("show", "--json")[1])
    assert summary["flow_run"]["status"] == "crashed"
    assert summary["energy_j"]["cpu"] == 2.0


def test_plan_finds_the_cleanest_hours_of_a_trace(e2s, tmp_path):
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    trace = tmp_path / "trace.csv"
    hours = ((start + timedelta(hours=h), 50 if 4 <= h < 6 else 200) for h in range(24))
    trace.write_text(
        "ts_utc,zone,carbon_intensity\n" + "".join(f"{at.isoformat()},GB,{value}\n" for at, value in hours)
    )
    arguments = ("plan", "--zone", "GB", "--duration", "2h", "--slack", "12h", "--trace", str(trace))
    code, out, err = e2s(*arguments, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["start"] == (start + timedelta(hours=4)).isoformat()
    assert (found["expected_gco2eq_per_kwh"], found["run_now_gco2eq_per_kwh"]) == pytest.approx((50, 200))
    assert found["saving_percent"] == pytest.approx(75.0)
    assert found["end"] > found["start"]
    assert found["source"]
    assert found["reason"]
    assert "50.0 gCO2eq/kWh" in e2s(*arguments)[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("plan", "--zone", "Atlantis", "--duration", "2h"), "Atlantis"),
        (("plan", "--zone", "GB", "--duration", "-2h"), "--duration='-2h' is negative: give more than zero"),
        (("plan", "--zone", "GB", "--duration", "0"), "--duration='0' is zero: give more than zero"),
        (("plan", "--zone", "GB", "--duration", "soon"), "--duration='soon' is no duration"),
        (("plan", "--zone", "GB", "--duration", "2"), "--duration=2: 2 of what? Write for example 2h."),
        (
            ("plan", "--zone", "GB", "--duration", "2h", "--slack", "12"),
            "--slack=12: 12 of what? Write for example 12h",
        ),
        (("exporter", "--port", "99999", "--once"), "--port=99999: give a number from 1 to 65535"),
        (("scheduler", "--every", "5"), "--every=5: 5 of what? Write for example 5m."),
        (("kpi", "--solution", "s", "--since", "30"), "--since=30: 30 of what? Write for example 30d."),
        (("kpi", "--solution", "s", "--since", "29991231"), "lies in the future"),
        (("export", "out", "--since", "30"), "--since=30: 30 of what? Write for example 30d."),
        (("export", "out", "--until", "-2h"), "--until='-2h' is negative"),
        (("export", "out", "--since", "soon"), "--since='soon' is no point in time"),
        (("prune", "--keep", "90"), "--keep=90: 90 of what? Write for example 90d."),
        (("prune", "--keep", "6m"), "--keep=6m: m are minutes. Keep an hour at least (1h)"),
        (("plan", "--zone", "GB", "--duration", "2h", "--slack", "-1h"), "--slack='-1h' is negative: give zero or"),
        (("plan", "--zone", "Frnace", "--duration", "2h"), "Did you mean FRA (France)"),
        (("plan", "--duration", "2h"), "--zone"),
        (("plan", "--zone", "GB"), "Nobody knows how long the run takes: give --duration"),
        (("plan", "heavy"), "No run of a flow or DAG 'heavy' is in the ledger. Run a flow that is decorated"),
        (("plan", "--zone", "GB", "--duration", "2h", "--trace", "no.csv"), "no.csv"),
        (("runs", "--limit", "0"), "--limit"),
        (("runs", "--limit", "many"), 'unable to convert "many" into int. `e2s runs --help` lists what it takes.'),
        (("runs", "--nope"), "Unknown option: --nope. `e2s runs --help` lists what it takes."),
        (("compare", "a"), "`e2s compare --help` lists what it takes."),
        (("shwo",), "Did you mean show? `e2s --help` lists the commands."),
        (("show", "a", "b"), "b"),
    ],
)
def test_unusable_input_is_one_line_on_stderr_and_exit_code_1(e2s, arguments, said):
    code, out, err = e2s(*arguments)
    assert (code, out) == (1, "")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("since", ["36h", "1d12h", "12w", "2y", "20260101", "2026-01-01"])
def test_every_command_reads_when_a_period_began_in_the_same_way(e2s, ledger, tmp_path, since):
    for command in (("kpi", "--solution", "delay-forecast"), ("export", str(tmp_path / "out"))):
        code, _, err = e2s(*command, "--since", since)
        assert (code, err) == (0, "")


def test_a_ledger_that_cannot_be_opened_is_one_line_and_names_the_remedy(e2s, monkeypatch):
    monkeypatch.setenv("E2S_LEDGER_URL", "sqlite:////proc/nowhere/ledger.db")
    settings.cache_clear()
    code, out, err = e2s("runs")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "E2S_LEDGER_URL" in err


def test_a_setting_that_cannot_be_used_is_one_line(e2s, monkeypatch):
    monkeypatch.setenv("E2S_TICK_S", "soon")
    settings.cache_clear()
    code, _, err = e2s("runs")
    assert (code, err.count("\n")) == (1, 1)
    assert "E2S_TICK_S" in err


def test_doctor_says_what_is_measured_and_where_things_are(e2s, data_dir):
    code, out, _ = e2s("doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert {one["state"] for one in found["findings"]} <= {"ok", "missing", "failed"}
    assert any(one["name"] == "ledger" and one["state"] == "ok" for one in found["findings"])
    assert found["profile"]["cpus"] >= 1
    assert str(data_dir) in e2s("doctor")[1].replace("\n", "")


def test_doctor_fails_where_something_fails_and_shows_addresses_whole(e2s, monkeypatch):
    long = "sqlite:////proc/" + "nowhere-" * 12 + "/ledger.db"
    monkeypatch.setenv("E2S_LEDGER_URL", long)
    settings.cache_clear()
    code, out, err = e2s("doctor")
    assert (code, err) == (1, "")
    assert long in "".join(line.strip() for line in out.splitlines())
    assert e2s("doctor", "--json")[0] == 1


def test_doctor_tells_all_where_the_users_powers_contradict_each_other(e2s, monkeypatch):
    monkeypatch.setenv("E2S_CPU_TDP_W", "5")
    monkeypatch.setenv("E2S_CPU_IDLE_W", "10")
    settings.cache_clear()
    code, out, err = e2s("doctor")
    assert (code, err) == (1, "")
    assert "CPU: your settings" in out
    assert "ledger" in out


def test_doctor_fails_where_measured_work_could_write_nothing_down(e2s, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("E2S_DATA_DIR", str(tmp_path / "file"))
    monkeypatch.setenv("E2S_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    settings.cache_clear()
    code, out, _ = e2s("doctor", "--json")
    (finding,) = [one for one in json.loads(out)["findings"] if one["state"] == "failed"]
    assert code == 1
    assert (finding["name"], "E2S_DATA_DIR" in finding["fix"]) == ("data directory", True)


def test_no_command_prints_help(e2s):
    code, out, _ = e2s()
    assert code == 0
    assert all(command in out for command in ("runs", "show", "artifact", "plan", "doctor"))


def test_version(e2s):
    assert e2s("--version")[1].strip()[0].isdigit()


@pytest.mark.slow
@pytest.mark.parametrize("command", [["release", "some-run"], ["scheduler", "--once"]])
def test_a_prefect_server_that_does_not_answer_is_told_with_the_remedy(command):
    environment = os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_CLIENT_MAX_RETRIES": "0"}
    done = subprocess.run(
        [Path(sys.executable).with_name("e2s"), *command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("e2s: Prefect does not answer")
    assert "correct PREFECT_API_URL" in done.stderr
