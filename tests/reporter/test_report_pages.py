"""Reports as pages: what `e2s show` says, nothing from elsewhere, and readable without seeing the charts."""

import re
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise

import matplotlib as mpl
import pytest

from e2s_tasks.core.records import PEAK_MEMORY, Kind, Status, VersionRecord
from e2s_tasks.errors import SettingError
from e2s_tasks.ledger import Ledger
from e2s_tasks.reporter import chart, phrases, provenance, summarise_run, units, waiting
from e2s_tasks.reporter.fleet import fleet
from e2s_tasks.reporter.html import page, render_fleet, render_run
from e2s_tasks.reporter.timeline import timeline
from e2s_tasks.reporter.tree import tree
from tests.reporter.runs import NOON, RUN, full_run, process, root, run, span
from tests.reporter.test_fleet import DAY, failed_run, moved, waiting_run

EVIL = '<script>alert(1)</script> & "$x_1$" \x1b[31m \u202e'
VOID = {"meta", "link", "img", "br", "hr", "input"}
NOW = datetime.fromtimestamp(NOON + 4 * DAY, UTC)


class Page(HTMLParser):
    """What is in a page: its elements with their attributes, and its text outside styles."""

    def __init__(self, html):
        super().__init__()
        self.elements, self._open, self.words, self.unclosed = [], [], [], []
        self.feed(re.sub("</?code>", "`", html))  # as the summary has it
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self._open)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self._open)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.unclosed.append(tag)

    def handle_data(self, data):
        if "style" not in self._open:
            self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs, _ in self.elements if name == tag]


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    opened = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    records = full_run()
    opened.ingest([process(), *records.spans, *records.versions, *records.outcomes, *records.decisions])
    opened.ingest([*moved(waiting_run(), "waiting", DAY), *moved(failed_run(), "failed", 2 * DAY)])
    nasty = run(
        root(cpu_j=1.0, ended_at=NOON + 9),
        span("a", name=EVIL, cpu_j=9.0, attempt=1),
        versions=[VersionRecord("v-evil", f"file:///d/{EVIL}", "a", RUN, NOON + 2, 10)],
    )
    nasty.spans[0].name = EVIL
    nasty.spans[0].attributes = {"flow_run_name": EVIL}
    nasty.spans[0].solution = EVIL
    opened.ingest(moved(nasty, "nasty", 60))
    written = nasty.versions[0]
    written.run_id, written.span_id = "nasty", "nasty-a"
    opened.ingest([written])
    return opened


def pages(ledger):
    """All kinds of pages, by a name."""
    found = {name: render_run(ledger, name) for name in (RUN, "waiting", "failed", "nasty")}
    return found | {"period": render_fleet(ledger, NOON - 1, NOW), "empty": render_fleet(ledger, NOON + 3 * DAY, NOW)}


def test_the_report_of_a_run_says_what_show_says(ledger):
    for name in (RUN, "waiting", "failed"):
        summary, text = summarise_run(ledger, name), Page(render_run(ledger, name)).text
        said = [
            phrases.whole(summary), units.watt_hours(summary["energy_j"]["total"]), phrases.worth(summary),
            phrases.biggest(summary), phrases.lost(summary) or "", waiting.waited(summary) or "",
            waiting.carbon(summary)[1:], provenance.not_attributed(summary), provenance.gaps(summary) or "",
            *(line.partition(" per ")[0] for line in phrases.kpi_lines(summary)[:1] if "undefined" not in line),
            *(units.joules(row["inclusive_j"]) for row in summary["steps"]),
            *(phrases.step_name(row) for row in summary["steps"]),
            *(phrases.in_run(one) for one in summary["artifacts"]),
            *(units.quantity(one["value"], one["unit"]) for one in summary["kpis"].values() if one["value"]),
            *(units.joules(joules) for joules in summary["energy_j"].values()),
            *phrases.reasons(summary),
        ]  # fmt: skip
        for one in said:
            assert " ".join(one.split()) in text, (name, one)


def test_a_failed_attempt_is_marked_in_the_table_and_in_the_bars(ledger):
    html = render_run(ledger, RUN)
    assert re.search(r'<tr class="lost">\s*<th[^>]*>build_features</th>\s*<td[^>]*>failed</td>', html)
    assert "attempts that did not succeed" in Page(html).text


@pytest.mark.slow
def test_the_report_of_a_period_says_what_the_sums_are(ledger):
    found, text = fleet(ledger, NOON - 1, NOW.timestamp()), Page(render_fleet(ledger, NOON - 1, NOW)).text
    for joules in (found["energy_j"], found["unsuccessful_j"], *(row["energy_j"] for row in found["steps"])):
        assert units.joules(joules) in text
    for grams in (found["emissions_g"], found["avoided_g"], found["predicted_avoided_g"]):
        assert units.grams(grams) in text
    for row in (*found["flows"], *found["top_runs"]):
        assert units.joules(row["energy_j"]) in text
        assert " ".join(units.printable(row["flow"]).split()) in text
    for one in found["kpis"]:
        for kpi in one["kpis"].values():
            assert kpi["value"] is None or units.quantity(kpi["value"], kpi["unit"]) in text


def test_the_top_of_a_periods_report_says_what_its_energy_rests_on_with_the_range(ledger, tmp_path):
    found, text = fleet(ledger, NOON - 1, NOW.timestamp()), Page(render_fleet(ledger, NOON - 1, NOW)).text
    top = text[: text.index("by day")]
    low = units.joules(found["energy_j_range"]["total"][0])
    assert f"Energy >= {units.joules(found['energy_j'])} " in top
    assert f"partly measured, partly modelled (at least {low}; parts are missing)" in top
    used = {"dram_j": 1.0, "static_j": 1.0}
    other = Ledger.open(f"sqlite:///{tmp_path / 'whole.db'}")
    other.ingest([process(), root(cpu_j=1.0, **used), span("m", cpu_j=5.0, **used)])
    bounds = fleet(other, NOON - 1, NOW.timestamp())["energy_j_range"]["total"]
    between = " and ".join(units.joules(end) for end in bounds)
    assert f"(between {between})" in Page(render_fleet(other, NOON - 1, NOW)).text


def test_a_page_asks_nothing_of_anybody_and_runs_nothing(ledger):
    for name, html in pages(ledger).items():
        found = Page(html)
        tags = {tag for tag, *_ in found.elements}
        assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}, name
        for _, attributes, _ in found.elements:
            assert not any(key.startswith("on") or key in ("src", "action") for key in attributes), name
            assert attributes.get("href", "#").startswith("#")
        assert "default-src 'none'" in html
        style = html[html.index("<style>") : html.index("</style>")]
        assert "url(" not in style
        assert "@import" not in style
        assert len(html.encode()) < 300_000


def test_names_are_text_whatever_is_in_them(ledger):
    for html in (render_run(ledger, "nasty"), render_fleet(ledger, NOON - 1, NOW)):
        assert "<script>" not in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; " in html
        assert "$x_1$" in html
        assert "\x1b" not in html
        assert "\u202e" not in html


def test_every_chart_has_a_name_and_a_description_and_ids_are_once(ledger):
    for name, html in pages(ledger).items():
        found = Page(html)
        ids = Counter(attributes["id"] for _, attributes, _ in found.elements if attributes.get("id"))
        assert [one for one, count in ids.items() if count > 1] == [], name
        charts = found.all("svg")
        assert bool(charts) == (name != "empty"), name
        for attributes in charts:
            assert attributes["role"] == "img"
            assert {attributes["aria-labelledby"], attributes["aria-describedby"]} <= set(ids)
        for reference in re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", html):
            assert "".join(reference) in ids, name
        assert not re.search(r"#01(02|01|03)0[0-9a-f]", html), "a colour that stands for a variable is left"


def test_charts_are_the_same_whatever_the_users_own_drawings_look_like(ledger):
    plain = render_run(ledger, RUN, NOW)
    with mpl.rc_context({"text.usetex": True, "font.size": 40, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert render_run(ledger, RUN, NOW) == plain
        assert mpl.rcParams["font.size"] == 40


def test_headings_are_in_order_and_tables_have_heads(ledger):
    for name, html in pages(ledger).items():
        found = Page(html)
        assert found.unclosed == [], name
        assert found.all("html") == [{"lang": "en"}]
        levels = [int(tag[1]) for tag, *_ in found.elements if re.fullmatch(r"h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels)), name
        assert all("scope" in attributes for attributes in found.all("th")), name
        assert len(found.all("caption")) == len(found.all("table"))
        regions = [one["aria-label"] for one in found.all("div") if one.get("role") == "region"]
        assert len(regions) == len(set(regions)), name


def test_light_and_dark_have_the_same_variables_and_every_one_used_is_there(ledger):
    style = (page.TEMPLATES / "style.css").read_text()
    light, dark = (set(re.findall(r"(--[\w-]+):", part)) for part in re.findall(r":root \{(.*?)\}", style, re.DOTALL))
    assert light == dark
    used = {name for html in pages(ledger).values() for name in re.findall(r"var\((--[\w-]+)\)", html)}
    assert used <= light


def luminance(colour):
    """The relative luminance of WCAG 2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    """The contrast ratio of WCAG 2."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_and_drawings_stand_out_in_light_and_dark():
    style = (page.TEMPLATES / "style.css").read_text()
    for part in re.findall(r":root \{(.*?)\}", style, re.DOTALL):
        colours = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", part))
        for name in ("--text", "--muted", "--accent", "--lost"):
            for ground in ("--paper", "--page"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        for name in ("--rest", "--grid", *(f"--s{number}" for number in range(1, 9))):
            assert contrast(colours[name], colours["--paper"]) >= 3, name


def test_charts_in_prefect_stand_out_on_their_own_paper_whatever_the_page_is():
    assert contrast(chart.TEXT, chart.PAPER) >= 4.5
    assert min(contrast(one, chart.PAPER) for one in (chart.FILL, chart.MARKED)) >= 4.5
    svg = chart.curve([(0, 1, 300), (1, 2, 100)], (0, 1), ("here", "there"))
    assert svg.index(chart.PAPER) < min(svg.index(one) for one in (chart.TEXT, chart.FILL, chart.MARKED))


def test_a_run_without_any_energy_has_a_report_that_says_so(tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.ingest(
        [root(status=Status.RUNNING, ended_at=None), span("x", Kind.ATTEMPT, status=Status.RUNNING, ended_at=None)]
    )
    text = Page(render_run(ledger, RUN)).text
    assert "energy unknown: no source gave a figure" in text
    assert "No source gave a figure for any step." in text
    assert "status running" in text


def test_the_report_of_a_dag_run_of_which_nothing_has_begun_says_that(tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.ingest([root(process_id=RUN, status=Status.FAILED)])
    text = Page(render_run(ledger, RUN)).text
    assert "energy unknown: no attempt began, or none was measured" in text
    assert "No step has begun, or none was measured." in text
    assert "No source gave" not in text
    assert Page(render_fleet(ledger, NOON - 1, NOW)).text.count("Energy -") >= 1


def test_a_run_that_was_to_wait_and_has_not_begun_avoided_nothing(tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    records = waiting_run()
    records.spans[1:] = [replace(records.spans[1], status=Status.CANCELLED)]
    records.spans[0].status = Status.CANCELLED
    ledger.ingest([process(), *records.spans, *records.decisions])
    text = Page(render_run(ledger, RUN)).text
    assert "Avoided nothing It was to wait for a cleaner grid, and has not begun." in text
    assert "has not begun: nothing was avoided" in text
    assert fleet(ledger, NOON - 1, NOON + DAY)["waited_runs"] == 0


def test_a_run_of_many_steps_and_strange_lengths_stays_small(tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    spans = [
        span(
            f"s{n}",
            name=f"step {n} " + "long " * 30,
            started_at=NOON + n / 7,
            ended_at=NOON + n / 7 + 5,
            cpu_j=float(n),
        )
        for n in range(1000)
    ]
    ledger.ingest([process(), root(cpu_j=1.0, ended_at=NOON + 200), *spans])
    html = render_run(ledger, RUN)
    assert len(html.encode()) < 500_000
    assert re.search(r"90\d other steps", html)


def test_a_missing_package_is_named_with_what_to_install(monkeypatch, ledger):
    monkeypatch.setitem(page.NEEDED, "no_such_module", "NoSuch")
    with pytest.raises(SettingError, match=r"A report needs NoSuch: pip install 'e2s-tasks\[report\]'\."):
        render_run(ledger, RUN)


def test_in_a_frame_a_report_is_made_without_matplotlib_with_its_charts_in_words(monkeypatch, ledger):
    drawn = render_run(ledger, RUN, inside=lambda span: f"task/{span.id}")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    told = render_run(ledger, RUN, inside=lambda span: f"task/{span.id}")
    assert "<svg" in drawn
    assert "<svg" not in told
    summary = summarise_run(ledger, RUN)
    for one in (one for one in summary["consumers"] if one["inclusive_j"]):
        assert f"{one['name']}: {phrases.row_joules(one)}" in Page(told).text
    for html in (drawn, told):
        assert '<a href="task/f1">build_features</a>' in html


def test_the_memory_of_attempts_has_a_column_where_it_is_known(ledger):
    assert "peak memory" not in render_run(ledger, RUN)
    with_memory = run(root(cpu_j=1.0), span("a", cpu_j=1.0, attempt=1, attributes={PEAK_MEMORY: 255_000_000}))
    ledger.ingest(moved(with_memory, "memory", 5 * DAY))
    assert "peak memory" in render_run(ledger, "memory")
    assert "255 MB" in render_run(ledger, "memory")


def test_a_run_that_goes_on_says_so_far_of_all_that_still_grows(ledger):
    records = waiting_run()
    records.spans = [
        one if one.id == "w" else replace(one, status=Status.RUNNING, ended_at=None) for one in records.spans
    ]
    ledger.ingest(moved(records, "goes-on", 6 * DAY))
    text = Page(render_run(ledger, "goes-on")).text
    for said in ("Energy so far", "Emissions so far", "Avoided by waiting so far", "CO2eq avoided so far"):
        assert said in text
    summary = summarise_run(ledger, "goes-on")
    for said in (phrases.energy(summary), phrases.emissions(summary), waiting.carbon(summary)):
        assert " so far" in said
    assert "so far" not in Page(render_run(ledger, "waiting")).text


def test_the_power_of_a_run_that_goes_on_reaches_until_now():
    goes_on = {"status": Status.RUNNING, "ended_at": None}
    records = run(root(**goes_on), span("a", cpu_j=500.0, attempt=1, **goes_on))
    found = timeline(records, tree(records.spans, RUN), now=NOON + 100)
    assert found.edges[-1] == NOON + 100
    assert [float(watts.max()) for watts in found.watts.values()] == pytest.approx([5.0])


def test_a_day_without_runs_and_an_empty_period_say_so_and_have_no_figure_that_nobody_knows(ledger):
    rows = re.findall(r"<tr>\s*<th[^>]*>(2026-[-0-9]+)</th>(.*?)</tr>", pages(ledger)["period"], re.DOTALL)
    cells = {day: re.findall(r"<td[^>]*>(.*?)</td>", row) for day, row in rows}
    assert cells["2026-02-05"] == ["no runs", "", "", ""]
    assert cells["2026-02-03"][0] == "1"
    empty = Page(pages(ledger)["empty"]).text
    assert "No measured run started in this period." in empty
    assert "of the energy" not in empty
    assert "Emissions" not in empty


def test_what_a_reused_result_avoided_is_told_where_it_is_known(ledger):
    assert "1 reused result: what that avoided is not known" in Page(pages(ledger)["period"]).text


def test_what_lacks_a_part_is_marked_in_the_flow_in_its_description_and_in_the_powers(tmp_path):
    records = run(
        root(cpu_j=0.0, dram_j=0.0, static_j=0.0, ended_at=NOON + 9),
        span("k", name="train", task_run_id="t", attempt=1, status=Status.CRASHED, cpu_j=40.0, dram_j=0.0,
             static_j=0.0, attributes={"killed": True}),
        span("t", name="train", task_run_id="t", attempt=2, cpu_j=50.0, dram_j=0.0, static_j=0.0, started_at=NOON + 3),
        span("l", name="look", task_run_id="l", attempt=1, cpu_j=5.0, dram_j=0.0, static_j=0.0, started_at=NOON + 6),
        versions=[VersionRecord("v", "file:///d/model", "t", RUN, NOON + 5, 10)],
    )  # fmt: skip
    opened = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    opened.ingest([process(), *records.spans, *records.versions])
    html = render_run(opened, RUN)
    assert "train into model v1: &gt;= 90.0 J" in html
    assert "model v1 in all: &gt;= 90.0 J" in html
    assert "look into no final product: 5.00 J" in html
    assert "no final product in all: 5.00 J" in html
    assert re.search(r"<text[^>]*>model v1 +&gt;= 90.0 J</text>", html)
    powers = html[html.index("Power of the steps") :]
    train, look = (re.search(rf'">{name}</th>(.*?)</tr>', powers, re.DOTALL).group(1) for name in ("train", "look"))
    assert train.count("&gt;= ") == 3
    assert "&gt;= " not in look


@pytest.mark.parametrize(("before", "named"), [(0, True), (2, True), (3600, False)])
def test_the_legend_of_the_grids_intensity_names_what_lies_within_it(tmp_path, before, named):
    records = waiting_run()
    records.decisions[0].plan["arrived"] = NOON - before
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.ingest([process(), *records.spans, *records.decisions])
    text = Page(render_run(ledger, RUN)).text
    assert "the run from 2026-02-02" in text
    assert ("when it would have begun at once" in text) == named


def test_commands_stand_in_pages_as_code_and_what_is_in_them_is_text(tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.ingest([process(), root(cpu_j=1.0)])
    for html in (render_run(ledger, RUN), render_fleet(ledger, NOON - 1, NOW), render_fleet(ledger, NOON + DAY, NOW)):
        assert "`" not in html
    assert "<code>e2s report RUN</code> has each step" in render_fleet(ledger, NOON - 1, NOW)
    made = page.render("nothing.html.jinja", title="t", made="now", facts=[], cards=[], sentences=[], said="",
                       reasons=[("why", "`e2s show <b>` & `x`")])  # fmt: skip
    assert "<dd><code>e2s show &lt;b&gt;</code> &amp; `x`</dd>" in made


def test_a_solution_without_an_outcome_says_so_below_its_name(tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.ingest([process(), root(cpu_j=1.0, solution="rides")])
    html = render_fleet(ledger, NOON - 1, NOW)
    assert re.search(r"<h3>rides</h3>\s*<p>No outcome was recorded.</p>", html)


def test_a_printed_page_has_what_its_notes_rest_on_open_and_no_word_of_scrolling():
    style = (page.TEMPLATES / "style.css").read_text()
    printed = style[style.index("@media print") :]
    assert "details::details-content { display: block; content-visibility: visible" in printed
    assert "hint" not in printed
    assert ".hint { display: none;" in style
