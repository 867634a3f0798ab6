"""An artifact over time and over runs: its tree, and what changed between its versions."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings

from e2s_tasks.core.lineage import RunGraph
from e2s_tasks.core.records import VersionRecord
from e2s_tasks.core.upstream import Upstream
from e2s_tasks.errors import NotFoundError
from e2s_tasks.ledger import Ledger
from e2s_tasks.reporter import ArtifactHistory, origins
from e2s_tasks.reporter.ancestry import ancestry
from tests.lineage.ledgers import connected, ledgers, loading
from tests.lineage.runs import Run


@settings(max_examples=100)
@given(ledgers())
def test_the_rows_of_a_tree_add_up_to_the_fully_loaded_energy_and_every_row_to_what_is_below(runs):
    upstream = Upstream(loading(runs))
    for run in runs:
        graph = RunGraph(run)
        for version in run.versions:
            loaded = upstream.of(graph, version.id)
            rows = ancestry(loaded, upstream, run.run_id, version.id)
            assert sum(row["own_j"] or 0.0 for row in rows) == pytest.approx(loaded.joules.total or 0.0)
            assert rows[0]["lower_bound"] == bool(loaded.reasons)
            for row in rows:
                assert row["lower_bound"] or not any(one["lower_bound"] for one in rows if one["parent"] == row["id"])
                below = sum(one["joules"] or 0.0 for one in rows if one["parent"] == row["id"])
                assert (row["joules"] or 0.0) == pytest.approx((row["own_j"] or 0.0) + below)
            steps = [(row["run_id"], row["name"], row["at"]) for row in rows if row["own_j"] is not None]
            assert len(steps) == sum(bits.bit_count() for bits in loaded.steps.values())


def tree_of(runs, version_id):
    run = next(run for run in runs if any(one.id == version_id for one in run.versions))
    upstream = Upstream(loading(runs))
    return ancestry(upstream.of(RunGraph(run), version_id), upstream, run.run_id, version_id)


def test_all_who_wrote_a_name_stand_side_by_side_below_it():
    run = Run()
    for number in range(4):
        table = run.write("x://table", by=run.task(f"write{number}", 1.0), seen=False)
    rows = tree_of([run.records], table)
    assert (len(rows), max(row["depth"] for row in rows)) == (8, 2)
    assert rows[0]["joules"] == pytest.approx(4.0)
    assert [row["joules"] for row in rows if row["depth"] == 1] == pytest.approx([1.0] * 4)


def test_what_two_branches_need_stands_in_the_first_and_is_named_in_the_second():
    run = Run()
    raw = run.write("raw", by=run.task("load", 20.0))
    for side in ("left", "right"):
        task = run.task(side, 5.0)
        run.read(raw, by=task)
        run.write(side, by=task)
    join = run.task("join", 50.0)
    run.read("left@1", by=join)
    run.read("right@2", by=join)
    joined = run.write("joined", by=join)
    rows = tree_of([run.records], joined)
    shown = [("  " * row["depth"] + row["name"], row["repeated"], row["joules"]) for row in rows]
    assert shown == [
        ("joined", False, 80.0),
        ("  join", False, 80.0),
        ("    left", False, 25.0),
        ("      left", False, 25.0),
        ("        raw", False, 20.0),
        ("          load", False, 20.0),
        ("    right", False, 5.0),
        ("      right", False, 5.0),
        ("        raw", True, None),
    ]


def test_a_row_is_a_lower_bound_where_something_below_it_is_not_known():
    run = Run()
    load, look = run.task("load", 20.0), run.task("look", 5.0)
    run.read(None, by=load)
    join = run.task("join", 50.0)
    for name, task in (("loaded", load), ("seen", look)):
        run.read(run.write(name, by=task), by=join)
    rows = tree_of([run.records], run.write("joined", by=join))
    assert {row["name"] for row in rows if row["lower_bound"]} == {"joined", "join", "loaded", "load"}
    told = {cells[0].strip(): cells[1] for row in rows for cells in origins.ancestor(row | {"version": 1}, None)}
    assert (told["joined v1"], told["look"]) == (">= 75.0 J", "5.00 J")


def test_a_tree_of_thousands_of_levels_needs_no_recursion():
    runs, before = [], None
    for number in range(1500):
        run = Run(run_id=f"day{number}")
        task = run.task("add", 1.0)
        if before is not None:
            run.read(before, by=task)
        before = run.write("table", by=task)
        runs.append(run.records)
    rows = tree_of(connected(runs), before)
    assert rows[0]["joules"] == pytest.approx(1500.0)


@pytest.fixture
def history(tmp_path):
    """Two versions a day apart, whose training takes twice as much the second time."""
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    for number, (run_id, train_j) in enumerate([("monday", 100.0), ("tuesday", 210.0)]):
        run = Run(run_id=run_id)
        run.clock = number * 86_400.0
        run.task("load", 50.0)
        run.task("train", train_j)
        run.pass_on("load", "train")
        run.write("file:///models/delay", by=run.records.spans[-1].id)
        records = run.records
        ledger.ingest([*records.spans, *records.versions, *records.edges])
    return ArtifactHistory(ledger, "file:///models/delay")


def test_the_history_says_which_step_changed_most(history):
    first, second = history.rows(limit=20)
    assert first["change"] is None
    assert second["change"]["in_run_ratio"] == pytest.approx(260 / 150)
    assert [step["name"] for step in second["change"]["steps"]] == ["train", "load"]
    today = datetime.fromtimestamp(2 * 86_400, UTC)
    assert origins.change(second, today) == "in its own run +73 % since Thursday (v1): train 2.1x"


def two_versions(tmp_path, first, second):
    """The history of a model whose second version's training differs in these fields; its loading does not."""
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    for number, fields in enumerate((first, second)):
        run = Run(run_id=f"run{number}")
        run.clock = number * 86_400.0
        load = run.task("load", 50.0 + number)
        train = run.task("train", **fields)
        run.read(run.write("file:///raw", by=load), by=train)
        run.write("file:///model", by=train)
        ledger.ingest([*run.records.spans, *run.records.versions, *run.records.reads])
    return ArtifactHistory(ledger, "file:///model").one()


EXACT, MORE, LESS, PARTLY, MISSING = (
    {"joules": 1000.0}, {"joules": 1500.0}, {"joules": 2.0}, {"attributes": {"gaps": ["cpu"]}}, {"joules": None},
)  # fmt: skip
NOT_KNOWN = "in its own run since Thursday (v1): which took more is not known; of what is: load 1.0x"


@pytest.mark.parametrize(
    ("first", "second", "ratio", "told"),
    [
        pytest.param(EXACT, LESS | PARTLY, "-", NOT_KNOWN, id="what is missing may have been more"),
        pytest.param(EXACT, MISSING, "-", NOT_KNOWN, id="nothing is known of it"),
        pytest.param(EXACT | PARTLY, MORE, "-", NOT_KNOWN, id="the version before is a lower bound"),
        pytest.param(
            EXACT, MORE | PARTLY, ">= +48 %",
            "in its own run at least +48 % since Thursday (v1): train at least 1.5x, load 1.0x",
            id="a rise from an exact figure is certain",
        ),
        pytest.param(
            EXACT, MORE, "+48 %", "in its own run +48 % since Thursday (v1): train 1.5x, load 1.0x", id="both are exact"
        ),
    ],
)  # fmt: skip
def test_of_a_lower_bound_only_a_rise_from_an_exact_figure_is_told(tmp_path, first, second, ratio, told):
    found = two_versions(tmp_path, first, second)
    assert origins.ratio(found["change"]) == ratio
    assert origins.change(found, datetime.fromtimestamp(2 * 86_400, UTC)) == told
    assert (found["change"]["in_run_ratio"] is None) == (ratio == "-") == found["change"]["in_run_unknown"]
    assert found["change"]["in_run_at_least"] == ratio.startswith(">=")
    train = next(step for step in found["change"]["steps"] if step["name"] == "train")
    assert (train["ratio"] is None, train["unknown"], train["only_in"]) == (ratio == "-", ratio == "-", None)


def test_a_version_is_shown_by_its_number_and_an_unknown_number_is_an_error(history):
    assert history.one(1)["in_run_j"] == pytest.approx(150.0)
    assert history.one()["version"] == 2
    assert history.one()["tree"][0]["version"] == 2
    for number in (0, 3):
        with pytest.raises(NotFoundError, match="It has 1 to 2"):
            history.one(number)


def test_who_gives_too_little_of_an_id_is_told_what_is_enough(history):
    for id_ in ("abcdef01", "abcdef02"):
        history._ledger.ingest([VersionRecord(id_, "file:///models/delay", "w", "killed", 3 * 86_400.0, bytes=1)])
    found = ArtifactHistory(history._ledger, "file:///models/delay")
    assert found.one("ABCDEF01")["version_id"] == "abcdef01"
    with pytest.raises(
        NotFoundError, match=r"has no version ABCDE. It has 1 to 4. Give at least 6 characters of an id."
    ):
        found.one("ABCDE")
    with pytest.raises(NotFoundError, match=r"It has 1 to 4. The ids of 2 begin so: give more of one."):
        found.one("abcdef0")
    with pytest.raises(NotFoundError, match=r"It has 1 to 4.$"):
        found.one("other")


def test_a_version_whose_run_is_not_in_the_ledger_says_so_and_hides_no_other(history):
    history._ledger.ingest([VersionRecord("lost", "file:///models/delay", "w", "killed", 3 * 86_400.0, bytes=1)])
    found = ArtifactHistory(history._ledger, "file:///models/delay")
    rows = found.rows(limit=20)
    assert [row["in_run_j"] for row in rows] == [pytest.approx(150.0), pytest.approx(260.0), None]
    assert (rows[2]["lower_bound"], found.one()["tree"]) == (True, [])
    assert "not in the ledger" in rows[2]["reasons"][0]
