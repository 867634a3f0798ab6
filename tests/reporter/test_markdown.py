"""The summary as the Prefect page shows it."""

import re
from base64 import b64decode
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from e2s_tasks.core.records import Kind, Status, VersionRecord
from e2s_tasks.reporter import chart, markdown, phrases, summarise
from tests.reporter.runs import NOON, RUN, full_run, root, run, span


def rows_of(text):
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]


def chart_of(text):
    encoded = re.search(r"!\[[^]]*\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", text).group(1)
    return ET.fromstring(b64decode(encoded))


def test_the_chart_is_an_image_with_a_bar_for_each_consumer():
    svg = chart_of(markdown.render(summarise(full_run())))
    *texts, legend = [one.text for one in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[::2] == ["train", "build_features", "orchestration and flow body", "evaluate"]
    assert legend == "orange: attempts that did not succeed"
    fills = [one.get("fill") for one in svg.iter("{http://www.w3.org/2000/svg}rect")]
    assert fills.count(chart.MARKED) == 1  # of the one step that failed once


def test_a_name_is_escaped_in_the_chart_and_in_the_table():
    text = markdown.render(summarise(run(root(), span("a", name="a|b<c>*d*_e_&`f`", cpu_j=1.0))))
    assert r"a\|b\<c\>\*d\*\_e\_\&\`f\`" in text
    assert "a|b<c>*d*_e_&`f`" in [one.text for one in chart_of(text).iter("{http://www.w3.org/2000/svg}text")]


def test_the_commands_that_sentences_name_are_code_and_a_name_s_backticks_are_not():
    text = markdown.render(summarise(run(root(), span("a", name="`x`"), processes=[])))
    assert "(`e2s doctor` says why)" in text
    assert r"\`x\`" in text


def test_the_total_is_all_of_it():
    text = markdown.render(summarise(full_run()))
    (total,) = [cells for cells in rows_of(text) if "total" in cells[0]]
    assert [cell.strip() for cell in total[1:3]] == ["**\\>= 283 J**", "**100 %**"]


def test_every_row_of_a_table_has_the_columns_of_its_head():
    text = markdown.render(summarise(run(root(), span("a", name="x|y\nz", cpu_j=1.0))))
    assert {len(cells) for cells in rows_of(text)} == {3}


def test_no_line_of_a_table_or_of_a_chart_is_wider_than_a_phone():
    long = "a very long name of a step, and one_that_has_no_blank_to_be_broken_at_whatever_is_done"
    spans = [
        span("a", name=long, cpu_j=1.0, bytes_read=123_456_789, bytes_written=987_654_321, task_run_id="a"),
        span("b", Kind.SPAN, name="inside", parent_id="a", cpu_j=1.0),
        span("w", Kind.WRITE, parent_id="b", storage_j=1.0),
    ]
    versions = [VersionRecord("v", f"file:///data/{long.replace(' ', '-')}.parquet", "w", RUN, NOON, 10_000_000)]
    text = markdown.render(summarise(run(root(), *spans, versions=versions)))
    for cells in rows_of(text):
        lines = [max(shown(cell).split("<br>"), key=len) for cell in cells]
        assert len(lines) <= 3
        assert sum(len(line.strip()) for line in lines) <= (45 if len(lines) == 3 else 46), lines
    svg = chart_of(text)
    assert float(svg.get("width")) <= 360
    assert float(svg.get("font-size")) >= 12
    by_line = {}
    for one in svg.iter("{http://www.w3.org/2000/svg}text"):
        by_line.setdefault(one.get("y"), []).append(one.text)
    assert max(sum(map(len, line)) for line in by_line.values()) <= 48


def shown(cell):
    """A cell as a person reads it."""
    return re.sub(r"\\(.)", r"\1", cell).replace("*", "")


def test_what_lies_inside_a_step_is_marked_by_what_the_page_really_shows():
    text = markdown.render(summarise(run(root(), span("a", cpu_j=1.0), span("b", Kind.SPAN, parent_id="a", cpu_j=1.0))))
    assert [row[0].split("<br>")[0].strip() for row in rows_of(text)][2:4] == ["a", "\u00b7 b"]
    assert "&emsp;" not in text


def test_a_failed_attempt_says_so_below_its_name_and_an_ok_one_says_nothing():
    spans = [
        span("f1", name="build", status=Status.FAILED, attempt=1, cpu_j=1.0, task_run_id="t"),
        span("f2", name="build", attempt=2, cpu_j=1.0, bytes_read=1000, task_run_id="t", started_at=NOON + 3),
    ]
    cells = [row[0].strip() for row in rows_of(markdown.render(summarise(run(root(), *spans)))) if "build" in row[0]]
    assert cells == [
        "build<br>**failed**, try 1<br>2.00 s, CPU 0 ms",
        "build<br>try 2<br>2.00 s, CPU 0 ms<br>1.00 kB in",
    ]


def test_more_than_thirty_steps_fold_into_one_row_with_their_sum():
    many = [span(f"t{i}", name=f"step{i}", cpu_j=1.0) for i in range(100)]
    text = markdown.render(summarise(run(root(), *many)))
    (folded,) = [cells for cells in rows_of(text) if "other steps" in cells[0]]
    assert folded[0].strip() == "*70 other steps*<br>CPU 0 ms"
    assert folded[1].strip() == "\\>= 70.0 J"


def test_a_single_step_is_not_folded_and_all_stay_in_the_order_of_time():
    many = [span(f"t{i}", name=f"step{i:02}", started_at=NOON + i, cpu_j=float(1 + i)) for i in range(30)]
    summary = summarise(run(root(cpu_j=90.5), *many))
    text = markdown.render(summary)
    assert "other step" not in text
    assert "#### Steps\n" in text
    assert re.findall(r"step\d\d", text) == [f"step{i:02}" for i in range(30)]
    assert [len(phrases.top_rows(summary, most)[1]) for most in (31, 30, 29, 28)] == [0, 0, 2, 3]


def test_where_steps_are_folded_the_biggest_come_first_and_the_title_says_so():
    many = [span(f"t{i}", name=f"step{i}", started_at=NOON + i, cpu_j=float((7 * i) % 100)) for i in range(100)]
    failed = span("t200", name="broken", started_at=NOON + 200, cpu_j=1.5, status=Status.FAILED)
    text = markdown.render(summarise(run(root(cpu_j=90.5), *many, failed)))
    assert "#### Steps, the biggest first" in text
    shares = [cells for cells in rows_of(text) if "%" in cells[2] and "other steps" not in cells[0]][:30]
    shown = [float(cells[1].replace("\\>=", "").replace("J", "")) for cells in shares]
    assert shown == [*sorted((*range(72, 100), 90.5), reverse=True), 1.5]
    few = markdown.render(summarise(run(root(cpu_j=90.5), *many[:9])))
    assert "#### Steps\n" in few
    assert re.findall(r"step\d", few) == [f"step{i}" for i in range(9)]


def test_many_failed_attempts_leave_the_biggest_steps_two_thirds_of_the_rows():
    many = [span(f"t{i}", name=f"step{i}", cpu_j=float(100 + i)) for i in range(40)]
    failed = [span(f"f{i}", name="broken", cpu_j=float(i), status=Status.FAILED) for i in range(60)]
    text = markdown.render(summarise(run(root(cpu_j=90.5), *failed, *many)))
    told = [cells[0] for cells in rows_of(text) if "%" in cells[2]]
    assert [f"step{39 - i}" in told[i] for i in range(20)] == [True] * 20
    assert sum("broken" in one for one in told) == 10
    assert any("*70 other steps, 50 of them failed*" in one for one in told)


def test_the_page_says_what_the_terminal_says():
    text = markdown.render(summarise(full_run()))
    for phrase in ("283 J", "per accurate prediction", "would have saved 50 %", "no GPU on this host", "not additive"):
        assert phrase in text


def test_a_run_without_energy_has_a_page_without_a_chart():
    text = markdown.render(summarise(run(root(), processes=[])))
    assert "![" not in text
    assert "energy unknown" in text


def test_a_run_that_goes_on_says_as_of_when_and_one_that_is_over_does_not():
    now = datetime(2026, 11, 29, 22, 15, 3, tzinfo=UTC)
    running = summarise(run(root(status=Status.RUNNING, ended_at=None, cpu_j=1.0)))
    assert "As of 2026-11-29 22:15:03 UTC" in markdown.render(running, now)
    assert "As of" not in markdown.render(summarise(full_run()), now)
