"""The summary in a terminal."""

import io
import re
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from e2s_tasks.core.records import Kind, Status, VersionRecord
from e2s_tasks.reporter import summarise, terminal
from e2s_tasks.reporter.commands import command
from tests.reporter.runs import NOON, RUN, decision, full_run, process, root, run, span


def printed(records, encoding="utf-8", **options):
    """What a pipe of that encoding gets."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    terminal.print_summary(summarise(records), stream=stream, **options)
    return raw.getvalue().decode(encoding)


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "PYCHARM_HOSTED"):
        monkeypatch.delenv(name, raising=False)


def test_no_line_is_longer_than_80_columns_and_a_pipe_gets_no_colour(monkeypatch):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))  # else `e2s` is named with its whole path
    text = printed(full_run())
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text


def test_an_address_and_a_command_stay_on_one_line_to_be_copied(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    page = f"http://127.0.0.1:4200/runs/flow-run/{RUN}"
    lines = [line.strip() for line in printed(full_run(), page=f"first this, then\n{page}").splitlines()]
    assert lines[-2:] == ["page            first this, then", page]
    assert lines[-3].startswith("more ")
    assert lines[-3].endswith(f"e2s show {RUN}")


@pytest.mark.parametrize("on_path", [True, False])
def test_the_command_for_more_can_be_typed_here(monkeypatch, tmp_path, on_path):
    scripts = tmp_path / ".venv" / "bin"
    scripts.mkdir(parents=True)
    (scripts / "e2s").touch(mode=0o755)
    monkeypatch.setattr("sys.executable", str(scripts / "python"))
    monkeypatch.setenv("PATH", str(scripts) if on_path else str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert command("e2s") == ("e2s" if on_path else ".venv/bin/e2s")
    assert command("none") == "none"


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_long_names_fold_at_any_width(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    long = span("a", name="a_task_whose_name_is_as_long_as_names_get_in_generated_code_" * 3, cpu_j=1.0)
    text = printed(run(root(), long, decisions=[decision()])).partition("\nmore ")[0]
    assert max(len(line) for line in text.splitlines()) <= width


def test_at_50_columns_names_stay_whole_and_every_figure_is_there(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    whole = {"cpu_j": 1.0, "dram_j": 1.0, "static_j": 1.0}
    version = VersionRecord("v1", "file:///data/forecast.parquet", "b", RUN, NOON, 100)
    text = printed(run(root(), span("a", name="build_features", **whole), span("b", **whole), versions=[version]))
    assert max(len(line) for line in text.splitlines() if "e2s show" not in line) <= 50
    steps = text[text.index("Steps") :]
    assert re.search(r"^build_features +ok +2.00 s +3.00 J +50 %$", steps, re.MULTILINE)
    assert re.search(r"^forecast.parquet +b +3.00 J +3.00 J$", steps, re.MULTILINE)


@pytest.mark.parametrize(
    ("decided", "said"),
    [
        (decision(), "did not wait for a cleaner grid: waiting would have saved 50 % of the emissions"),
        (decision(plan={"rung": "average"}), "did not wait for a cleaner grid, so nothing was avoided"),
        (decision(start=None, reason="no policy"), None),
    ],
)
def test_the_headline_says_whether_waiting_avoided_anything_where_there_was_a_policy(decided, said, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    text = printed(run(root(), span("a", cpu_j=1.0), decisions=[decided]))
    headline = text[: text.index("Steps")]
    assert ("did not wait" in headline) == (said is not None)
    assert said is None or said in headline


def test_a_stranger_finds_the_figures_that_matter():
    text = printed(full_run())
    for phrase in (
        "283 J", "per accurate prediction", "/ 80 accurate predictions", "mg CO2eq (GB, average, direct)",
        "61 % of it in train (2 task runs)", "build_features failed 1", "build_features ok 2", "orchestration",
        "features.parquet v3", "measured", "modelled", "no GPU on this host", "would have saved 50 %",
        "not additive", "dedicated", "attempts that did not succeed", "e2s show 4c1ad7d2",
    ):  # fmt: skip
        assert phrase in " ".join(text.replace("│", " ").split()), phrase


def test_an_ascii_stream_gets_ascii():
    text = printed(run(root(), span("a", name="prévision", cpu_j=1.0)), encoding="ascii")
    assert text.isascii()
    assert "pr?vision" in text


@pytest.mark.parametrize("name", ["train [red]x[/red]", "load [/mnt/data]", "train [bold]", "a :smile: b"])
def test_markup_in_a_name_is_shown_as_it_is(name):
    records = run(root(), span("a", name=name, cpu_j=1.0))
    records.versions.append(VersionRecord("v", f"file:///data/{quote(name)}", "a", RUN, 3.0))
    text = printed(records)
    assert text.count(name.rpartition("/")[2]) >= 3
    assert name in text


def test_a_missing_figure_is_a_dash_and_a_missing_sensor_is_told():
    text = printed(run(root(), span("a"), processes=[process([])]))
    assert "energy unknown" in text
    assert "e2s doctor" in text


def test_hundreds_of_steps_fold_into_one_row_and_keep_the_sum():
    many = [span(f"t{i}", name="score", cpu_j=float(i)) for i in range(300)]
    lines = printed(run(root(), *many)).splitlines()
    assert len(lines) < 80
    assert any("other steps" in line for line in lines)


def test_equal_spans_inside_a_step_share_a_row():
    batches = [span(f"b{i}", Kind.SPAN, "batch", parent_id="t", cpu_j=1.0) for i in range(50)]
    text = printed(run(root(), span("t", name="train", cpu_j=1.0), *batches))
    assert "batch x 50" in text


def test_a_lower_bound_is_marked():
    text = printed(run(root(cpu_j=1.0, dram_j=1.0, static_j=1.0), span("killed", status=Status.CRASHED)))
    assert ">= 3.00 J" in text
    assert "lower bounds" in text


def test_a_run_without_any_figure_of_the_cpu_is_a_lower_bound_in_its_headline():
    missing = {"cpu_j": None, "static_j": None, "attributes": {"gaps": ["cpu", "static"]}}
    text = printed(run(root(dram_j=0.0, **missing), span("a", dram_j=56.8, **missing)))
    assert ">= 56.8 J" in text
    assert "static 0 J" not in text
    assert "no figure for cpu in 2 spans, static in 2 spans" in " ".join(text.split())


def test_steps_that_fell_wholly_into_a_gap_show_no_figure_even_folded():
    missing = {"cpu_j": None, "static_j": None, "dram_j": 0.0, "attributes": {"gaps": ["cpu", "static"]}}
    whole = [span(f"t{i}", name="score", cpu_j=1.0) for i in range(40)]
    gone = [span(f"g{i}", name="gone", **missing) for i in range(40)]
    lines = printed(run(root(cpu_j=1.0), *whole, *gone)).splitlines()
    (folded,) = [line for line in lines if "other steps" in line]
    assert folded.split()[-2:] == ["-", "-"]
    one = printed(run(root(cpu_j=1.0), *gone[:1])).splitlines()
    (row,) = [line for line in one if "gone" in line]
    assert row.split()[-4:-2] == ["-", "-"]


def test_without_a_decision_it_says_why_nothing_can_be_said():
    text = " ".join(printed(run(root(cpu_j=1.0))).split())
    assert "nothing can be said about waiting: no carbon intensity was looked up" in text


@pytest.mark.parametrize(("zone", "said"), [("GB", "`e2s plan` shows"), (None, "`e2s plan`, with --zone, shows")])
def test_without_a_policy_it_says_how_to_plan_one_and_that_it_takes_a_zone(zone, said):
    none = decision(start=None, end=None, expected=None, run_now=None, reason="no policy: at once", zone=zone)
    assert f"{said} when it would be cleaner" in " ".join(printed(run(root(cpu_j=1.0), decisions=[none])).split())


def test_grams_that_nobody_knows_are_told_with_the_figure_that_is_missing():
    none = {"cpu_j": None, "dram_j": None, "static_j": None}
    killed_at_once = printed(run(root(**none), decisions=[decision()]))
    assert "gCO2eq unknown: no energy figure" in killed_at_once
    assert "gCO2eq unknown: no carbon intensity" in printed(run(root(cpu_j=1.0)))


def test_a_narrow_terminal_cuts_no_title_and_no_figure(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = printed(full_run())
    assert "completed in 12.0 s" in " ".join(text.replace("│", " ").split())
    assert "written" not in text
