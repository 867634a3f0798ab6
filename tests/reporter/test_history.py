"""Runs in a few figures, compared with those before them, and the page of a deployment's history."""

import re
from base64 import b64decode
from datetime import UTC, datetime, timedelta

import pytest

from e2s_tasks.core.records import OutcomeRecord
from e2s_tasks.reporter import history, phrases, summarise
from e2s_tasks.reporter.headline import compared, from_texts, headline, to_texts
from tests.reporter.runs import RUN, root, run, span

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def past(days, joules, **more):
    """A completed run so many days ago that used so much."""
    at = NOW - timedelta(days=days)
    given = {
        "run_id": f"run-{days}", "name": f"ran {days}", "flow": "f", "solution": None, "status": "completed",
        "started_at": at.isoformat(), "ended_at": at.isoformat(), "energy_j": joules, "lower_bound": False,
        "unsuccessful_j": 0.0, "emissions_g": (joules or 0.0) / 100, "avoided_g": None, "kpi": None, "kpi_value": None,
        "kpi_per": None,
    }  # fmt: skip
    return given | more


def test_a_headline_has_the_figures_of_the_summary():
    records = run(root(), span("work", cpu_j=8.0))
    records.outcomes.append(OutcomeRecord("o", RUN, "work", 1.0, name="row", units=10, accurate=4))
    summary = summarise(records)
    found = headline(summary)
    assert found["energy_j"] == summary["energy_j"]["total"]
    assert found["kpi"] == "joules_per_accurate_row"
    assert found["kpi_value"] == summary["kpis"]["joules_per_accurate_row"]["value"]
    assert found["status"] == summary["flow_run"]["status"]
    assert phrases.kpi_lines(summary)[0].endswith(f"/ 4 {found['kpi_per']}s")


def test_a_headline_survives_as_short_texts():
    found = past(0, 1.5, name='"ü"' * 100, kpi="joules_per_row", kpi_value=0.1)
    texts = to_texts(found)
    assert max(len(text) for text in texts.values()) <= 500
    assert from_texts(texts) == found | {"name": ('"ü"' * 100)[:80]}
    assert from_texts({**texts, "e2s_energy_j": "12.3, "}) is None
    assert from_texts({}) is None


def test_a_run_is_compared_with_the_median_of_the_completed_runs_of_30_days():
    earlier = [past(1, 10.0), past(2, 12.0), past(3, 11.0), past(4, 99.0, status="failed"), past(31, 99.0)]
    earlier += [past(5, 99.0, flow="another"), past(6, None)]
    found = compared(past(0, 13.2), [past(0, 13.2), *earlier])
    assert (found.figure, found.median, found.runs) == ("energy_j", 11.0, 3)
    assert found.change == pytest.approx(0.2)
    assert found.regressed(0.1)
    assert not found.regressed(0.3)


def test_too_few_runs_and_those_that_count_other_things_say_nothing():
    assert compared(past(0, 1.0), [past(1, 1.0), past(2, 1.0)]) is None
    assert compared(past(0, None), [past(day, 1.0) for day in range(1, 5)]) is None
    by_row = {"kpi": "joules_per_row", "kpi_value": 2.0, "kpi_per": "row"}
    others = [past(day, 1.0, kpi="joules_per_unit", kpi_value=1.0) for day in range(1, 5)]
    assert compared(past(0, 1.0, **by_row), others) is None
    same = [past(day, 1.0, **(by_row | {"kpi_value": 1.0})) for day in range(1, 5)]
    assert compared(past(0, 1.0, **by_row), same).change == pytest.approx(1.0)


def test_the_page_lists_the_newest_first_with_links_and_marks_regressions():
    rows = [past(0, 20.0), past(1, 10.0), past(2, 11.0, status="failed"), past(3, 10.0, lower_bound=True)]
    rows += [past(day, 10.0) for day in range(4, 40)]
    page = history.render("f/nightly [x]", rows, 0.2, "http://host/runs/flow-run/")
    assert page.startswith("### f/nightly \\[x\\]: its last 30 runs")
    assert "The last run used 20.0 J: **a regression**, +100 % against the median." in page
    table = [line for line in page.splitlines() if line.startswith("| [")]
    assert len(table) == 30
    assert table[0] == ("| [ran 0](http://host/runs/flow-run/run-0)<br>11-29 12:00 | 20.0 J<br>200 mg | **+100 %** |")
    assert "**failed**" in table[2]
    assert "\\>= 10.0 J" in table[3]
    assert page.count("data:image/svg+xml;base64,") == 1


def test_no_row_of_the_page_is_wider_than_a_phone():
    kpi = {"kpi": "joules_per_row", "kpi_value": 0.00512, "kpi_per": "row", "lower_bound": True}
    rows = [past(day, 212_345.0, name="a-rather-long-name-of-a-run", **kpi) for day in range(5)]
    page = history.render("f/d", rows, 0.2, "http://host/")
    (first, *_) = [line for line in page.splitlines() if line.startswith("| [")]
    cells = [re.sub(r"\]\([^)]*\)|[\\*\[]", "", cell).split("<br>") for cell in first.strip("| ").split(" | ")]
    assert cells[0] == ["a-rather-long-", "name-of-a-run", "11-29 12:00"]
    assert sum(max(map(len, lines)) for lines in cells) <= 36


def drawn(page):
    """The SVG of the page's chart."""
    return b64decode(re.search(r"base64,([^)]+)", page)[1]).decode()


def test_a_failed_run_without_the_kpi_of_the_others_has_a_mark_in_the_chart_in_place_of_a_column():
    kpi = {"kpi": "joules_per_row", "kpi_value": 2.0, "kpi_per": "row"}
    rows = [past(0, 900.0, status="failed"), *(past(day, 20.0, **kpi) for day in range(1, 4))]
    page = history.render("f/d", rows, 0.2, None)
    assert "The last run (failed) used 900 J: **a regression**, +4,400 % against the median energy." in page
    assert "**+4,400 % energy**" in page.replace("\\", "")
    svg = drawn(page)
    assert svg.count("<rect") == 1 + 3  # the paper, and the columns
    assert (svg.count(">x<"), svg.count(">x did not succeed<")) == (1, 1)
    assert "joules per row<" in svg
    assert "the highest 2.00 J" in svg


def test_a_run_that_completed_without_the_kpi_of_the_others_leaves_its_place_in_the_chart_empty():
    kpi = {"kpi": "joules_per_row", "kpi_value": 2.0, "kpi_per": "row"}
    rows = [past(0, 20.0, **kpi), past(1, 900.0), past(2, 20.0, **kpi), past(3, 20.0, **kpi)]
    page = history.render("f/d", rows, 0.2, None)
    assert "The last run used 20.0 J, 2.00 J per row" in page
    svg = drawn(page)
    assert svg.count("<rect") == 1 + 3  # the paper, and the columns
    assert ">x" not in svg


PARTLY = {"lower_bound": True}
THREE = [past(1, 10.0), past(2, 10.0), past(3, 10.0)]


@pytest.mark.parametrize(
    ("last", "change", "regressed", "said", "cell"),
    [
        pytest.param(
            past(0, 0.01, **PARTLY), None, None,
            "The last run used \\>= 10.0 mJ; whether that is above or below the median is not known.", "-",
            id="what is missing may have been more",
        ),
        pytest.param(
            past(0, 11.0, **PARTLY), 0.1, None,
            "The last run used \\>= 11.0 J: at least +10 % against the median.", "\\>= +10 %",
            id="above the median, but not by the threshold",
        ),
        pytest.param(
            past(0, 15.0, **PARTLY), 0.5, True,
            "The last run used \\>= 15.0 J: **a regression**, at least +50 % against the median.", "**\\>= +50 %**",
            id="above the threshold without what is missing",
        ),
        pytest.param(
            past(0, 9.9999), -1e-5, False, "The last run used 10.0 J: 0 % against the median.", "0 %",
            id="hardly a difference",
        ),
    ],
)  # fmt: skip
def test_of_a_lower_bound_only_that_it_is_above_the_median_is_known(last, change, regressed, said, cell):
    found = compared(last, THREE)
    assert found.change == (change if change is None else pytest.approx(change))
    assert found.at_least == (last["lower_bound"] and change is not None)
    assert found.regressed(0.2) is regressed
    page = history.render("f/d", [last, *THREE], 0.2, None)
    assert said in page
    assert next(line for line in page.splitlines() if line.startswith("| ran 0")).endswith(f"| {cell} |")


def test_lower_bounds_are_kept_out_of_the_median_of_others():
    lower = [past(day, 0.01, **PARTLY) for day in range(4, 9)]
    assert compared(past(0, 10.0), [*THREE, *lower]).median == 10.0
    assert compared(past(0, 10.0), [*THREE[:2], *lower]) is None


@pytest.mark.parametrize(("bounds", "said"), [((True, False), "&gt;= 3.00 J"), ((False, False), "3.00 J")])
def test_the_highest_of_the_chart_is_a_lower_bound_where_a_run_of_it_is(bounds, said):
    rows = [past(number, 3.0 - number, lower_bound=lower) for number, lower in enumerate(bounds)]
    svg = drawn(history.render("f/d", rows, 0.2, None))
    assert f"the highest {said}<" in svg


def test_a_first_run_has_a_page_without_a_chart_or_a_link():
    page = history.render("f/d", [past(0, 20.0)], 0.2, None)
    assert "its first run" in page
    assert "too few runs before it" in page
    assert "svg" not in page
    assert "| ran 0<br>" in page
