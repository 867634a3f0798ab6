"""KPIs and stages of a solution over a period, and `e2s kpi`."""

import json
import time
from dataclasses import replace

import pytest

from e2s_tasks.core.ratios import ratio_interval
from e2s_tasks.core.records import (
    DecisionRecord,
    Kind,
    OutcomeRecord,
    ReadRecord,
    SpanRecord,
    Status,
    VersionRecord,
)
from e2s_tasks.errors import NotFoundError, SettingError
from e2s_tasks.integrations.cli import main
from e2s_tasks.ledger import Ledger
from e2s_tasks.reporter import energy_by_stage, run_kpis, solution_kpis
from e2s_tasks.settings import settings
from tests.reporter.runs import SOURCES, process

NOW = time.time()
DAY = 86400.0
DECLARED = {"pue": 1.5, "tariff": 0.3, "currency": "EUR", "embodied_kg": 100.0, "lifetime_years": 1.0}


def records_of(
    number, joules, *, days_ago, status=Status.COMPLETED, solution="scoring", flow="score", name="prediction", **counts
):
    """A run of a flow (1 J) with a training step that used the rest, and its outcome if there are counts."""
    run_id, started = f"run-{number}", NOW - days_ago * DAY
    given = {"seq": 1, "process_id": "p1", "run_id": run_id, "flow_run_id": run_id, "started_at": started}
    ended = None if status == Status.RUNNING else started + 10
    found = [
        SpanRecord(
            id=f"f{number}", kind=Kind.FLOW, name=flow, status=status, solution=solution, ended_at=ended, cpu_j=1.0,
            attributes={"flow_run_name": f"name-{number}", "declared": DECLARED}, **given,
        ),
        SpanRecord(
            id=f"t{number}", kind=Kind.ATTEMPT, name="train", status=Status.COMPLETED, stage="training",
            parent_id=f"f{number}", ended_at=started + 9, cpu_j=joules - 1.0, task_run_id=f"task-{number}", **given,
        ),
        VersionRecord(f"v{number}", "file:///d/scored.parquet", f"t{number}", run_id, started + 9, 100),
    ]  # fmt: skip
    if counts:
        found.append(OutcomeRecord(f"o{number}", run_id, f"t{number}", started + 9, name, **counts))
    return found


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("E2S_DATA_DIR", str(tmp_path / "e2s"))
    monkeypatch.setenv("COLUMNS", "100")
    settings.cache_clear()
    opened = Ledger.open(settings().ledger)
    opened.ingest([
        process(SOURCES[:1]),
        *records_of(1, 1000.0, days_ago=40, units=1.0),
        *records_of(2, 110.0, days_ago=5, units=100.0, accurate=50.0),
        *records_of(3, 100.0, days_ago=4, units=90.0, accurate=45.0),
        *records_of(4, 120.0, days_ago=3, units=105.0, accurate=60.0),
        *records_of(5, 30.0, days_ago=2, status=Status.FAILED),
        *records_of(6, 500.0, days_ago=2),
        *records_of(7, 700.0, days_ago=1, status=Status.RUNNING, units=5.0, accurate=5.0),
        *records_of(8, 9000.0, days_ago=0.5, solution="another", units=1.0),
    ])  # fmt: skip
    yield opened
    settings.cache_clear()


@pytest.fixture
def e2s(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return run


def test_a_solutions_kpi_counts_failed_runs_and_leaves_out_what_is_not_known(ledger):
    found = solution_kpis(ledger, "scoring", NOW - 30 * DAY)
    assert found["runs"] == {"completed": 4, "failed": 1, "running": 1}
    kpi = found["kpis"]["joules_per_prediction"]
    assert (kpi["numerator"], kpi["denominator"], kpi["runs"]) == (360.0, 295.0, 4)
    assert kpi["value"] == pytest.approx(360 / 295)
    assert sorted(kpi["left_out"]) == ["1 run: it recorded no prediction", "1 run: it still runs"]
    expected = ratio_interval([(110.0, 100.0), (100.0, 90.0), (120.0, 105.0), (30.0, 0.0)])
    assert (kpi["interval"]["low"], kpi["interval"]["high"]) == (expected.low, expected.high)
    assert found["kpis"]["joules_per_accurate_prediction"]["value"] == pytest.approx(360 / 155)
    assert found["kpis"]["cost_per_prediction"]["value"] == pytest.approx(360 * 1.5 / 3.6e6 * 0.3 / 295)


def joules_per(found, name):
    kpi = found["kpis"][f"joules_per_{name}"]
    return kpi["numerator"], kpi["denominator"], kpi["runs"]


def test_a_failed_run_counts_for_the_outcomes_that_its_flow_records_and_no_others(ledger):
    ledger.ingest([
        *records_of(10, 100.0, days_ago=2, solution="two", units=10.0),
        *records_of(11, 30.0, days_ago=2, solution="two", status=Status.FAILED),
        *records_of(12, 900.0, days_ago=2, solution="two", flow="report", name="page", units=3.0),
        *records_of(13, 500.0, days_ago=2, solution="two", flow="train", status=Status.CRASHED),
    ])  # fmt: skip
    found = solution_kpis(ledger, "two")
    assert joules_per(found, "prediction") == (130.0, 10.0, 2)
    assert joules_per(found, "page") == (900.0, 3.0, 1)
    assert sorted(found["kpis"]["joules_per_page"]["left_out"]) == [
        "1 run: it recorded no page",
        "2 runs: it failed, and its flow recorded no page in any run",
    ]


@pytest.mark.parametrize(("trained", "joules"), [(None, 630.0), (Status.COMPLETED, 130.0)])
def test_the_failed_runs_of_a_flow_that_never_ended_well_count_for_the_solutions_only_outcome(ledger, trained, joules):
    ledger.ingest([
        *records_of(10, 100.0, days_ago=2, solution="one", units=10.0),
        *records_of(11, 30.0, days_ago=2, solution="one", status=Status.FAILED),
        *records_of(12, 500.0, days_ago=2, solution="one", flow="train", status=Status.FAILED),
        *(records_of(13, 700.0, days_ago=2, solution="one", flow="train", status=trained) if trained else ()),
    ])  # fmt: skip
    assert joules_per(solution_kpis(ledger, "one"), "prediction")[0] == joules


def test_a_solutions_kpi_without_a_crashed_run_of_unknown_energy_is_a_lower_bound(ledger):
    flow, step, *_ = records_of(11, 30.0, days_ago=2, solution="one", status=Status.CRASHED)
    dead = [replace(one, cpu_j=None, status=Status.CRASHED, attributes={"killed": True}) for one in (flow, step)]
    ledger.ingest([*records_of(10, 100.0, days_ago=2, solution="one", units=10.0), *dead])
    kpi = solution_kpis(ledger, "one")["kpis"]["joules_per_prediction"]
    assert (kpi["value"], kpi["lower_bound"]) == (10.0, True)
    assert kpi["bounds"] == ["without 1 run that achieved nothing: the energy is missing"]
    assert solution_kpis(ledger, "one")["lower_bound"]


def test_failed_runs_that_evaluated_nothing_are_no_evaluation_data_of_their_own(ledger):
    ledger.ingest([
        *records_of(10, 9.0, days_ago=2, status=Status.FAILED, solution="one"),
        *records_of(11, 90.0, days_ago=2, solution="one", units=10.0, accurate=5.0),
    ])  # fmt: skip
    kpi = solution_kpis(ledger, "one")["kpis"]["accuracy_per_kwh_of_prediction"]
    assert kpi["runs"] == 2
    assert kpi["caveat"].startswith("over 10 predictions, ")


@pytest.mark.parametrize(("digests", "sets"), [(("sha256:ab", "sha256:ab"), 1), (("sha256:ab", "sha256:cd"), 2)])
def test_evaluation_data_that_each_run_writes_anew_is_one_set_if_its_content_is(ledger, digests, sets):
    for number, digest in zip((10, 11), digests, strict=True):
        *records, outcome = records_of(number, 90.0, days_ago=2, solution="one", units=10.0, accurate=5.0)
        version = VersionRecord(
            f"d{number}", "file:///d/truth.csv", f"t{number}", f"run-{number}", NOW - 2 * DAY, content_digest=digest
        )
        read = ReadRecord(
            f"r{number}", "file:///d/truth.csv", f"t{number}", f"run-{number}", NOW - 2 * DAY + 5, version.id
        )
        ledger.ingest([*records, outcome, version, read])
    caveat = solution_kpis(ledger, "one")["kpis"]["accuracy_per_kwh_of_prediction"]["caveat"]
    assert ("2 different sets of evaluation data" in caveat) == (sets == 2)
    assert "truth.csv (sha256:ab)" in caveat


@pytest.mark.parametrize(("sizes", "sets"), [((90, 90), 1), ((90, 91), 2)])
def test_evaluation_data_without_a_digest_is_told_apart_by_its_rows_and_bytes(ledger, sizes, sets):
    for number, size in zip((10, 11), sizes, strict=True):
        *records, outcome = records_of(number, 90.0, days_ago=2, solution="one", units=10.0, accurate=5.0)
        run_id, at = f"run-{number}", NOW - 2 * DAY
        version = VersionRecord(f"d{number}", "file:///d/truth.parquet", f"f{number}", run_id, at, size, 7)
        read = ReadRecord(f"r{number}", version.uri, f"t{number}", run_id, at + 5, version.id)
        ledger.ingest([*records, outcome, version, read])
    caveat = solution_kpis(ledger, "one")["kpis"]["accuracy_per_kwh_of_prediction"]["caveat"]
    assert ("2 different sets of evaluation data" in caveat) == (sets == 2)
    assert "truth.parquet (7 rows, 90 bytes, no digest)" in caveat


def test_evaluation_data_and_a_model_of_earlier_runs_are_known_by_what_these_wrote(ledger):
    made = [
        VersionRecord("old", "file:///d/truth.csv", "f2", "run-2", NOW - 5 * DAY, 9, content_digest="sha256:ab"),
        VersionRecord("model", "file:///d/model.bin", "t2", "run-2", NOW - 5 * DAY, 9, content_digest="sha256:cd"),
        VersionRecord("again", "file:///d/truth.csv", "f3", "run-3", NOW - 4 * DAY, 9, content_digest="sha256:ab"),
    ]
    ledger.ingest(made)
    for number, truth in ((10, "old"), (11, "again")):
        *records, outcome = records_of(number, 90.0, days_ago=2, solution="one", units=10.0, accurate=5.0)
        records = [replace(one, stage=None) if isinstance(one, SpanRecord) else one for one in records]
        of_run = f"t{number}", f"run-{number}", NOW - 2 * DAY + 5
        ledger.ingest([
            *records, outcome, ReadRecord(f"a{number}", "file:///d/truth.csv", *of_run, truth),
            ReadRecord(f"b{number}", "file:///d/model.bin", *of_run, "model"),
        ])  # fmt: skip
    caveat = solution_kpis(ledger, "one")["kpis"]["accuracy_per_kwh_of_prediction"]["caveat"]
    assert caveat.startswith("over 10 predictions, truth.csv (sha256:ab): ")  # once; the model is of a training step


def test_a_solution_of_which_no_run_got_as_far_as_an_outcome_says_why(ledger):
    ledger.ingest(records_of(9, 9.0, days_ago=2, status=Status.CRASHED, solution="stuck"))
    (kpi,) = solution_kpis(ledger, "stuck")["kpis"].values()
    assert (kpi["value"], kpi["reason"]) == (None, "the run crashed before an outcome was recorded")


def test_a_solutions_kpis_are_of_the_period_only(ledger):
    assert solution_kpis(ledger, "scoring")["runs"]["completed"] == 5
    nothing = solution_kpis(ledger, "scoring", NOW - 60.0)
    assert (nothing["runs"], nothing["kpis"], nothing["energy_j"], nothing["stages"]) == ({}, {}, None, [])


def test_a_higher_level_has_a_wider_interval(ledger):
    narrow, wide = (
        solution_kpis(ledger, "scoring", NOW - 30 * DAY, interval_level=level)["kpis"]["joules_per_prediction"][
            "interval"
        ]
        for level in (0.5, 0.8)
    )
    assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]
    with pytest.raises(SettingError, match="between 0 and 1"):
        solution_kpis(ledger, "scoring", interval_level=95)


def test_a_solutions_energy_by_stage_adds_up_to_what_all_its_runs_used(ledger):
    rows = energy_by_stage(ledger, "scoring", NOW - 30 * DAY)
    assert {row["stage"]: row["energy_j"] for row in rows} == {"training": 1554.0, "orchestration": 6.0}
    assert sum(row["share"] for row in rows) == pytest.approx(1.0)
    found = solution_kpis(ledger, "scoring", NOW - 30 * DAY)
    assert (found["stages"], found["energy_j"]) == (rows, 1560.0)


def test_a_solution_that_nobody_ran_gets_near_matches(ledger):
    with pytest.raises(NotFoundError) as caught:
        solution_kpis(ledger, "scorning")
    assert caught.value.suggestions == ("scoring",)


def test_a_runs_products_have_kpis_of_their_own_in_run_and_fully_loaded(ledger):
    read = ReadRecord("r3", "file:///d/scored.parquet", "t3", "run-3", NOW - 4 * DAY, "v2")
    decisions = [
        DecisionRecord(f"d{number}", f"run-{number}", NOW - 5 * DAY, "average", "a trace", "", intensity=intensity)
        for number, intensity in ((2, 500.0), (3, 100.0))
    ]
    ledger.ingest([read, *decisions])
    (product,) = run_kpis(ledger, "run-3")["products"]
    in_run, fully = product["in_run"], product["fully_loaded"]
    assert product["uri"] == "file:///d/scored.parquet"
    assert in_run["joules_per_prediction"]["value"] == pytest.approx(100 / 90)
    assert in_run["cost_per_prediction"]["numerator"] == pytest.approx(100 * 1.5 / 3.6e6 * 0.3)
    assert in_run["sci_per_prediction"]["numerator"] == pytest.approx(
        100 * 1.5 / 3.6e6 * 100 + 100e3 * 10 / (365.25 * DAY)
    )
    assert fully["joules_per_prediction"]["numerator"] == pytest.approx(100 + 110)
    assert fully["joules_per_prediction"]["value"] == pytest.approx(210 / 90)
    carbon = fully["carbon_per_prediction"]
    assert carbon["numerator"] == pytest.approx((100 * 100 + 110 * 500) * 1.5 / 3.6e6)
    assert carbon["lower_bound"]
    assert fully["sci_per_prediction"]["value"] is None
    assert "earlier runs" in fully["sci_per_prediction"]["reason"]


def test_e2s_kpi_shows_the_latest_run_a_named_one_and_a_solution(ledger, e2s):
    assert json.loads(e2s("kpi", "--json")[1])["run"]["id"] == "run-8"
    code, out, err = e2s("kpi", "name-2")
    assert (code, err) == (0, "")
    assert "joules per accurate prediction" in out
    assert "2.20 J" in out
    assert "PUE 1.5 (declared)" in out
    code, out, err = e2s("kpi", "--solution", "scoring", "--since", "30d")
    assert (code, err) == (0, "")
    assert "scoring since" in out
    assert "95 % interval" in out
    assert "left out: 1 run: it still runs" in out
    assert "Energy by stage" in out
    assert max(len(line) for line in out.splitlines()) <= 100
    assert "scoring since" in e2s("kpi", "--solution", "scoring", "--since", "3y")[1]
    document = json.loads(e2s("kpi", "--solution", "scoring", "--since", "30d", "--level", "0.9", "--json")[1])
    assert document["interval_level"] == 0.9
    assert document["kpis"]["joules_per_prediction"]["interval"]["method"] == "fieller"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("kpi", "run-1", "--solution", "scoring"), "give one of them"),
        (("kpi", "--since", "3d"), "--solution NAME"),
        (("kpi", "--solution", "scoring", "--since", "soon"), "'2026-11-24T12:00' or '30d' (ago)"),
        (("report", "--since", "soon"), "--since='soon' is no point in time: write for example '2026-11-24'"),
        (("report", "--since", "-soon"), "--since='-soon' is no point in time"),
        (("kpi", "--solution", "scoring", "--since", "-3d"), "negative"),
        (("kpi", "--solution", "scoring", "--since", "0"), "zero"),
        (("kpi", "--solution", "scoring", "--since", "3x"), "--since='3x' is no point in time"),
        (("kpi", "--solution", "scoring", "--level", "95"), "--level=95"),
        (("kpi", "--solution", "scorning"), "Did you mean scoring?"),
        (("kpi", "nobody"), "No run 'nobody'"),
    ],
)
def test_unusable_input_of_e2s_kpi_is_one_line_and_exit_code_1(ledger, e2s, arguments, said):
    code, out, err = e2s(*arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert said in err
