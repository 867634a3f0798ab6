"""External meters, against a local server that speaks Prometheus's API."""

import itertools
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.errors import SettingError
from e2s_tasks.meters.account import Account, Role
from e2s_tasks.meters.clocks import NoBusyClock
from e2s_tasks.meters.doctor import examine
from e2s_tasks.meters.external import Curve, ExternalMeter, PolledSource, load
from e2s_tasks.meters.meter import Meter
from e2s_tasks.meters.prometheus import QueryError, query
from e2s_tasks.meters.setup import sources
from e2s_tasks.settings import Settings
from tests.fakes.prometheus import FakePrometheus

S = 1_000_000_000
DOCUMENTED = Path(__file__).parents[2] / "docs" / "sources.md"


@pytest.fixture
def prometheus():
    fake = FakePrometheus()
    yield fake
    fake.close()


def meter_for(prometheus, **options):
    given = {"name": "m", "component": "cpu", "query": "q", "kind": "counter", "unit": "J", "every_s": 0.02}
    return ExternalMeter(**(given | {"url": prometheus.url} | options))


def test_a_query_yields_its_number(prometheus):
    prometheus.series["q"] = [12.5]
    assert query(prometheus.url, "q") == 12.5


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        ((500, b'{"status": "error", "error": "boom"}'), "boom"), ((200, b"<html>"), "without JSON"),
        ((401, b"no"), "token_env"), ((200, b"[]"), "no result"), ((200, b'{"status": "success"}'), "range"),
        ((200, b'{"status":"success","data":{"resultType":"matrix","result":[{"values":[]}]}}'), "range"),
    ],
)  # fmt: skip
def test_an_answer_without_a_number_names_the_remedy(prometheus, fault, remedy):
    prometheus.fault = fault
    with pytest.raises(QueryError, match=remedy):
        query(prometheus.url, "q")


@pytest.mark.parametrize(
    ("values", "remedy"),
    [([], "check its name"), ([1, 2], r"sum\(...\)"), (["NaN"], "exporter"), (["+Inf"], "exporter")],
)
def test_no_series_several_and_no_number_name_the_remedy(prometheus, values, remedy):
    prometheus.series["q"] = values
    with pytest.raises(QueryError, match=remedy):
        query(prometheus.url, "q")


def test_a_server_that_is_not_there_names_the_address():
    with pytest.raises(QueryError, match=r"127\.0\.0\.1:9"):
        query("http://127.0.0.1:9", "q")


def test_a_bearer_token_comes_from_the_environment(prometheus, monkeypatch):
    prometheus.token, prometheus.series["q"] = "secret", [1.0]
    monkeypatch.setenv("MY_TOKEN", "secret")
    assert meter_for(prometheus, token_env="MY_TOKEN").ask() == 1.0


def test_a_counter_that_jumps_at_each_scrape_is_spread_over_the_time_between():
    curve = Curve()
    for second, joules in enumerate([100, 100, 100, 160, 160, 160, 220]):
        curve.counted(second * S, joules)
    assert curve.at(0) == 0
    assert curve.at(3 * S) == pytest.approx(60)
    assert curve.at(4 * S) == pytest.approx(80)


def test_a_counter_that_was_reset_goes_on_from_there():
    curve = Curve()
    for second, joules in enumerate([100, 150, 20]):
        curve.counted(second * S, joules)
    assert curve.at(2 * S) == pytest.approx(70)


def test_a_gauge_is_integrated_by_the_trapezoidal_rule():
    curve = Curve()
    for second, watts in enumerate([10, 30, 30]):
        curve.drew(second * S, watts)
    assert curve.at(2 * S) == pytest.approx(50)


@given(st.lists(st.integers(1, 500), min_size=2, max_size=20), st.lists(st.integers(1, 3 * S), min_size=1, max_size=30))
def test_segments_that_follow_each_other_book_what_the_curve_shows_over_all_of_them(steps, lengths):
    source = PolledSource(ExternalMeter(name="m", component="cpu", url="", query="", kind="counter", unit="J"))
    for second, joules in enumerate(itertools.accumulate(steps, initial=0)):
        source._curve.counted(second * S, joules)
    source._answered_ns = time.monotonic_ns()
    ends = list(itertools.accumulate(lengths, initial=S // 2))
    booked = sum(source.reading(a, b, 1.0, 1.0).joules for a, b in itertools.pairwise(ends))
    assert booked == pytest.approx(source._curve.at(ends[-1]) - source._curve.at(ends[0]), rel=1e-9)


def test_a_meter_waits_for_an_external_counter_and_books_what_it_counted(prometheus):
    begin = time.monotonic()
    prometheus.series = {"q": [0.0]}
    source = PolledSource(meter_for(prometheus))
    meter = Meter([source], NoBusyClock())
    account = Account(Role.ATTEMPT)
    meter.begin(account)
    while time.monotonic() - begin < 0.6:
        prometheus.series["q"] = [50.0 * (time.monotonic() - begin)]
        time.sleep(0.005)
        meter.tick()
    meter.finish(account)
    before = meter.settled
    give_up = time.monotonic() + 20
    while meter.backlog and time.monotonic() < give_up:
        prometheus.series["q"] = [50.0 * (time.monotonic() - begin)]
        time.sleep(0.005)
        meter.settle()
    assert meter.backlog == 0
    assert meter.settled > before
    duration = (account.closed_ns - account.opened_ns) / 1e9
    assert meter.counted_j == pytest.approx(50 * duration, rel=0.15)
    spans = sum(account.joules.values())
    assert spans + meter.other_j + meter.idle_j == pytest.approx(meter.counted_j, rel=1e-9)


def test_a_server_that_falls_silent_leaves_a_gap(prometheus):
    prometheus.series["q"] = [1.0]
    source = PolledSource(meter_for(prometheus, patience_s=0.1))
    first = source.read()
    time.sleep(0.1)
    prometheus.fault = (500, b"")
    time.sleep(0.4)
    later = source.read()
    assert source.is_known(later - 1) is False or source.is_known(first)
    time.sleep(0.2)
    assert source.is_known(later)
    assert source.reading(first, later, 0.5, 0.0).joules is None


def test_an_external_meter_takes_the_place_of_our_own_source(tmp_path, prometheus):
    file = tmp_path / "meters.toml"
    file.write_text(
        f'[[meter]]\nname="pdu"\ncomponent="cpu"\nurl="{prometheus.url}"\nquery="q"\nkind="gauge"\nunit="W"\n'
    )
    chosen = sources(Settings(data_dir=tmp_path, external_meters=file))
    cpu = [record for record in chosen.records if record.component == "cpu"]
    assert [(record.name, record.provenance) for record in cpu] == [("pdu", "measured")]
    assert {record.component for record in chosen.records} >= {"cpu", "dram", "static"}


def test_components_in_a_pdus_figure_are_not_added_again(tmp_path, prometheus):
    file = tmp_path / "meters.toml"
    text = f'[[meter]]\nname="pdu"\ncomponent="cpu"\nurl="{prometheus.url}"\nquery="q"\nkind="gauge"\nunit="W"\n'
    file.write_text(text + 'covers=["dram", "gpu"]\n')
    chosen = sources(Settings(data_dir=tmp_path, external_meters=file))
    assert len(chosen.sources) == 1
    assert {one.component for one in chosen.records if one.absent} == {"dram", "gpu"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no \\[\\[meter\\]\\]"), ("[[meter]", "cannot be read"), ('[[meter]]\nname="x"', "missing"),
        ('[[meter]]\nwatt=3', "watt"),
        ('[[meter]]\nname="x"\ncomponent="disk"\nurl="u"\nquery="q"\nkind="gauge"\nunit="W"', "disk"),
        ('[[meter]]\nname="x"\ncomponent="cpu"\nurl="u"\nquery="q"\nkind="gauge"\nunit="J"', "unit of a gauge"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_names_the_value(tmp_path, text, named, caplog):
    file = tmp_path / "meters.toml"
    file.write_text(text)
    with pytest.raises(SettingError, match=named):
        load(file)
    chosen = sources(Settings(data_dir=tmp_path, external_meters=file))
    assert any(record.component == "cpu" for record in chosen.records)
    assert "External meters are not used" in caplog.text


def documented_meters():
    blocks = DOCUMENTED.read_text().split("```toml\n")[1:]
    return [block.split("```")[0] for block in blocks]


@pytest.mark.parametrize("block", documented_meters())
def test_the_documented_queries_work(tmp_path, prometheus, block, monkeypatch):
    monkeypatch.setattr("e2s_tasks.meters.doctor.APART_S", 0.05)
    file = tmp_path / "meters.toml"
    file.write_text(block.replace("http://localhost:9090", prometheus.url))
    for meter in load(file):
        prometheus.series[meter.query] = [1000.0]
    found = [one for one in examine(Settings(data_dir=tmp_path, external_meters=file)) if "external" in one.name]
    assert found
    assert {one.state for one in found} == {"ok"}


def test_the_doctor_tells_what_is_wrong_with_a_meter(tmp_path, prometheus):
    file = tmp_path / "meters.toml"
    file.write_text(
        f'[[meter]]\nname="pdu"\ncomponent="cpu"\nurl="{prometheus.url}"\nquery="q"\nkind="gauge"\nunit="W"\n'
    )
    (found,) = [one for one in examine(Settings(data_dir=tmp_path, external_meters=file)) if "external" in one.name]
    assert found.state == "failed"
    assert "0 series" in found.detail
    assert found.fix
