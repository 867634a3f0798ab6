"""External meters: what the server counted is what is booked; whatever it answers, measured work goes on."""

import json
import threading
import time
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.errors import SettingError
from e2s_tasks.meters.account import Account, Role
from e2s_tasks.meters.curve import Curve
from e2s_tasks.meters.external import ExternalMeter, external_meters
from e2s_tasks.meters.external_source import ExternalSource
from e2s_tasks.meters.samples import CounterSamples, GaugeSamples
from e2s_tasks.meters.setup import sources
from e2s_tasks.meters.source import Source, ready
from e2s_tasks.settings import Settings
from tests.fakes.prometheus import PrometheusServer
from tests.fakes.world import World, WorldMeter
from tests.meters.test_sources import HOST

S = 1_000_000_000
# The queries of docs/sources.md, and series as the exporters show them.
DOCUMENTED = [
    ('kepler_node_cpu_joules_total{instance="node1",zone="package"}', "counter", "J",
     {'kepler_node_cpu_joules_total{instance="node1",node_name="node1",zone="package",path="/sys/..."}': 12.5,
      'kepler_node_cpu_joules_total{instance="node1",node_name="node1",zone="dram"}': 3.0}, 12.5),
    ('sum(scaph_socket_energy_microjoules{instance="node1"})', "counter", "uJ",
     {'scaph_socket_energy_microjoules{instance="node1",socket_id="0"}': "4000000",
      'scaph_socket_energy_microjoules{instance="node1",socket_id="1"}': "5000000"}, 9.0),
    ('scaph_host_power_microwatts{instance="node1"} * 0.000001', "gauge", "W",
     {'scaph_host_power_microwatts{instance="node1"}': "88000000"}, 88.0),
    ('sum(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{instance="node1"})', "counter", "mJ",
     {'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{instance="node1",gpu="0",UUID="GPU-a",device="nvidia0"}': 1500,
      'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{instance="node1",gpu="1",UUID="GPU-b",device="nvidia1"}': 500}, 2.0),
    ('Package_Joules_Consumed{instance="node1",aggregate="system"}', "counter", "J",
     {'Package_Joules_Consumed{instance="node1",aggregate="system",source="uncore"}': 77.0,
      'Package_Joules_Consumed{instance="node1",aggregate="socket",socket="0",source="uncore"}': 77.0}, 77.0),
    ('DRAM_Joules_Consumed{instance="node1",aggregate="system"}', "counter", "J",
     {'DRAM_Joules_Consumed{instance="node1",aggregate="system",source="uncore"}': 7.0}, 7.0),
    ('rPDU2DeviceStatusPower{instance="pdu1"} * 10', "gauge", "W",
     {'rPDU2DeviceStatusPower{instance="pdu1",rPDU2DeviceStatusIndex="1"}': 25}, 250.0),
]  # fmt: skip


@pytest.fixture(autouse=True)
def ends_with_the_test(monkeypatch):
    """No thread asks on after its test."""
    started, real = [], ExternalSource._begin
    monkeypatch.setattr(ExternalSource, "_begin", lambda source: (started.append(source), real(source))[1])
    yield
    for source in started:
        source.close()
        source._thread.join(10)


def meter(url: str = "http://localhost:1", **changes) -> ExternalMeter:
    given = {"name": "m", "component": "cpu", "url": url, "query": "energy", "kind": "counter", "unit": "J"}
    return ExternalMeter(**{**given, "poll_s": 0.05, "scrape_s": 0.2, "timeout_s": 1.0, **changes})


# -- from samples to joules -------------------------------------------------------------------------------------------


@given(
    steps=st.lists(st.tuples(st.integers(1, 5 * S), st.floats(0.001, 1e4)), min_size=1, max_size=20),
    cuts=st.lists(st.floats(0, 1), max_size=20),
)
def test_adjoining_stretches_of_a_curve_add_up_to_what_was_counted(steps, cuts):
    curve, now = Curve(), 0
    for length, joules in steps:
        curve.add(now, now + length, joules)
        now += length
    edges = [0, *sorted(round(cut * now) for cut in cuts), now]
    parts = [curve.energy(begin, end) for begin, end in pairwise(edges)]
    assert sum(parts) == pytest.approx(sum(joules for _, joules in steps))


def test_a_value_that_is_shown_again_and_again_is_one_scrape():
    curve = Curve()
    samples = CounterSamples(curve, poll_ns=S, patience_ns=50 * S)
    for second, value in enumerate([100, 100, 200, 200, 200, 500, 500]):
        samples.add(second * S, value)
    assert curve.end == 5 * S
    assert curve.energy(2 * S, 5 * S) == pytest.approx(300)
    assert curve.energy(2 * S, 3 * S) == pytest.approx(100)
    assert curve.energy(4 * S, 6 * S) is None


def test_a_counter_that_was_reset_or_stands_still_is_a_gap_and_then_counts_on():
    curve = Curve()
    samples = CounterSamples(curve, poll_ns=S, patience_ns=3 * S)
    for second, value in enumerate([0, 10, 20, 5, 15, 15, 15, 15, 15, 15, 15, 25, 35]):
        samples.add(second * S, value)
    assert curve.energy(1 * S, 2 * S) == 10
    assert curve.energy(2 * S, 3 * S) is None
    assert curve.energy(3 * S, 4 * S) == 10
    assert curve.energy(5 * S, 6 * S) is None
    assert curve.energy(11 * S, 12 * S) == 10


def test_a_counter_that_wraps_counts_on_where_its_range_is_known():
    curve = Curve()
    samples = CounterSamples(curve, poll_ns=S, patience_ns=9 * S, wraps_at=1000.0)
    for second, value in enumerate([800, 900, 980, 60, 70]):
        samples.add(second * S, value)
    assert curve.energy(1 * S, 4 * S) == pytest.approx(80 + 80 + 10)


def test_a_sum_that_lacks_a_series_for_a_while_is_a_gap_at_both_ends_and_no_burst():
    curve = Curve()
    samples = CounterSamples(curve, poll_ns=S, patience_ns=60 * S)
    for second, value in enumerate([5e6, 5e6 + 50, 5e6 + 100, 2e6 + 75, 2e6 + 100, 5e6 + 250, 5e6 + 300]):
        samples.add(second * S, value)
    assert [curve.energy(at * S, (at + 1) * S) for at in range(1, 6)] == [50, None, 25, None, 50]


@pytest.mark.parametrize(
    ("values", "known"),
    [
        ([5000, 5010, 5020, 0, 0, 5050, 5060], [10, None, None, None, 10]),
        ([5000, 5010, 5020, 3000, 3010, 5050, 5060], [10, None, 10, None, 10]),
        ([40, 50, 60, 0, 25, 50, 75], [10, None, 25, 25, 25]),
    ],
)
def test_a_counter_that_shows_less_for_a_while_is_a_gap_at_both_ends_and_one_that_was_reset_counts_on(values, known):
    curve = Curve()
    samples = CounterSamples(curve, poll_ns=S, patience_ns=60 * S)
    for second, value in enumerate(values):
        samples.add(second * S, value)
    assert [curve.energy(at * S, (at + 1) * S) for at in range(1, 6)] == known


def test_the_first_value_after_a_silence_has_no_known_time():
    curve = Curve()
    samples = CounterSamples(curve, poll_ns=S, patience_ns=60 * S)
    for second, value in [(0, 0), (1, 10), (20, 150), (21, 210), (22, 220)]:
        samples.add(second * S, value)
    assert curve.energy(1 * S, 21 * S) == 200


def test_a_power_that_no_machine_draws_is_passed_over():
    curve = Curve()
    samples = GaugeSamples(curve, patience_ns=5 * S)
    for second, value in enumerate([50, 50, 2**32 - 1, 50, 50]):
        samples.add(second * S, value)
    assert curve.energy(0, 4 * S) == pytest.approx(200)


def test_power_is_integrated_by_trapezoids_and_a_long_silence_is_a_gap():
    curve = Curve()
    samples = GaugeSamples(curve, patience_ns=5 * S)
    for second, watts in [(0, 100), (1, 200), (3, 200), (13, 200), (14, 200)]:
        samples.add(second * S, watts)
    assert curve.energy(0, 3 * S) == pytest.approx(150 + 400)
    assert curve.energy(3 * S, 4 * S) is None
    assert curve.energy(13 * S, 14 * S) == pytest.approx(200)


class Truth:
    """A counter at a known power over time, scraped now and then; marks are given by hand."""

    def __init__(self, source: ExternalSource) -> None:
        self.source, self.now, self.joules = source, time.monotonic_ns(), 0.0

    def pass_time(self, length_ns: int, watts: float) -> None:
        self.now += length_ns
        self.joules += watts * length_ns * 1e-9


@given(
    st.lists(st.tuples(st.integers(S // 100, S // 2), st.floats(1.0, 500.0), st.booleans(), st.booleans()), max_size=40)
)
def test_what_the_meter_counted_is_what_is_booked_however_late_the_samples_come(steps):
    source = ExternalSource(meter(poll_s=1.0, scrape_s=300.0), HOST)
    truth, booked, segment = Truth(source), 0.0, 0
    source._samples.add(truth.now, truth.joules)
    truth.pass_time(S, 50.0)
    source._samples.add(truth.now, truth.joules)  # the first value whose time is known
    started, segment = truth.joules, truth.now
    highest = estimated = 0.0
    for length, watts, scraped, closed in [*steps, (S, 400.0, True, True), (S, 400.0, True, True)]:
        truth.pass_time(length, watts)
        highest = max(highest, watts)
        if scraped:
            source._samples.add(truth.now, truth.joules)
        if closed:
            reading = source.reading(segment, truth.now, 1.0, 0.5)
            booked += reading.joules or 0.0
            estimated += reading.estimated or 0.0
            segment = truth.now
    assert booked + source._owed_j == pytest.approx(truth.joules - started)
    assert estimated + source._estimated_j == pytest.approx(0.0, abs=1e-6)  # all of it was put right


def test_estimates_that_were_too_high_are_put_right_and_never_negative():
    source = ExternalSource(meter(poll_s=1.0, scrape_s=300.0), HOST)
    at = time.monotonic_ns()
    for second, joules in enumerate([0, 100, 200]):
        source._samples.add(at + second * S, joules)
    first = source.reading(at + 2 * S, at + 4 * S, 2.0, 0.5).joules
    assert first == pytest.approx(200.0)  # estimated: 100 W went on
    source._samples.add(at + 4 * S, 210.0)  # in truth 5 W
    source._samples.add(at + 5 * S, 260.0)
    assert source.reading(at + 4 * S, at + 5 * S, 1.0, 0.5).joules == 0.0
    source._samples.add(at + 9 * S, 460.0)
    last = source.reading(at + 5 * S, at + 9 * S, 4.0, 0.5).joules
    assert first + 0.0 + last == pytest.approx(260.0)


def test_what_no_sample_tells_goes_on_at_the_mean_power_of_the_last_few_and_not_at_the_last_ones_alone():
    """A value each second that is asked for each 1.5 s changes by one step, then by two."""
    curve = Curve()
    for number, joules in enumerate([900.0, 50.0, 100.0, 50.0, 100.0]):
        curve.add(number * S, (number + 1) * S, joules)
    assert curve.power_w == pytest.approx(75.0)
    curve.add(5 * S, 6 * S, None)
    assert curve.power_w is None
    curve.add(6 * S, 7 * S, 10.0)
    assert curve.power_w == 10.0


def test_a_reading_tells_what_of_it_was_estimated_and_later_what_of_that_was_put_right():
    source = ExternalSource(meter(poll_s=1.0, scrape_s=300.0), HOST)
    at = time.monotonic_ns()
    for second, joules in enumerate([0, 100, 200]):
        source._samples.add(at + second * S, joules)
    early = source.reading(at, at + 2 * S, 2.0, 0.5)  # of its first second nothing is known, and never will be
    assert (early.joules, early.estimated) == (pytest.approx(200.0), pytest.approx(100.0))
    late = source.reading(at + 2 * S, at + 4 * S, 2.0, 0.5)
    assert (late.joules, late.estimated) == (pytest.approx(200.0), pytest.approx(200.0))
    source._samples.add(at + 4 * S, 210.0)
    source._samples.add(at + 5 * S, 260.0)
    assert source.reading(at + 4 * S, at + 5 * S, 1.0, 0.5).estimated == pytest.approx(-200.0)


@pytest.mark.parametrize(("seconds", "expected"), [(4, {"cpu": 0.5}), (40, {})])
def test_a_run_that_ends_before_a_tenth_of_it_is_left_to_estimates_knows_it(seconds, expected):
    """Samples come a second late; the run begins one second before the first stretch that they tell."""
    world = World()
    source = ExternalSource(meter(poll_s=1.0, scrape_s=300.0), HOST)
    world.now_ns = at = time.monotonic_ns()
    source.read = lambda: world.now_ns  # type: ignore[method-assign]
    world_meter = WorldMeter(world, source)
    source._samples.add(at, 0.0)
    task = world_meter.start(Account(Role.ATTEMPT))
    for second in range(1, seconds + 1):
        world.run(S, {0: S})
        if second < seconds:
            source._samples.add(world.now_ns, second * 50.0)
        world_meter.tick()
        world_meter.settle(force=True)
    world_meter.stop(task)
    world_meter.settle(force=True)
    assert task.estimated == pytest.approx(expected)


# -- a server ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("query", "kind", "unit", "series", "expected"), DOCUMENTED)
def test_each_documented_query_is_understood(query, kind, unit, series, expected):
    with PrometheusServer(series) as server:
        source = ExternalSource(meter(server.url, query=query, kind=kind, unit=unit), HOST)
        assert source.poll() == pytest.approx(expected), source.problem


def test_each_documented_query_stands_in_the_documents():
    page = (Path(__file__).parents[2] / "docs/sources.md").read_text()
    for query, _, unit, _, _ in DOCUMENTED:
        assert query in page
        assert f'unit = "{unit}"' in page


def wait_until(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


@pytest.mark.parametrize("kind", ["counter", "gauge"])
def test_a_live_meter_books_the_servers_joules_and_asks_on_its_own_thread(kind):
    start = time.monotonic()
    shown = (lambda: (time.monotonic() - start) * 200) if kind == "counter" else 200.0
    with PrometheusServer({"energy": shown}) as server:
        unit = "J" if kind == "counter" else "W"
        source = ExternalSource(meter(server.url, kind=kind, unit=unit, scrape_s=30.0), HOST)
        assert server.asked == []
        begin = source.read()
        time.sleep(0.8)
        end = source.read()
        wait_until(lambda: (source._curve.end or 0) >= end, 60.0)
        assert source.ready(end)
        reading = source.reading(begin, end, (end - begin) * 1e-9, 0.5)
        assert reading.joules == pytest.approx(200 * (end - begin) * 1e-9, rel=0.35)
        assert {thread for _, _, thread in server.asked} - {threading.get_ident()}
        assert (reading.component, reading.background_to) == ("cpu", "static")


def test_reading_the_time_never_waits_for_a_server_that_hangs():
    with PrometheusServer({"energy": 1.0}) as server:
        server.stall_s = 30.0
        source = ExternalSource(meter(server.url), HOST)
        source.read()
        wait_until(lambda: server.asked)
        begin = time.perf_counter()
        marks = [source.read() for _ in range(100)]
        assert None not in marks
        assert time.perf_counter() - begin < 5.0  # the server's answer would take 30 s
        assert source.reading(marks[0], marks[-1], 0.1, 0.1).joules is None


@pytest.mark.parametrize(
    ("fault", "query", "remedy"),
    [
        ((401, "text/plain", "no"), "energy", "token_env"),
        ((403, "text/html", "<html>"), "energy", "token_env"),
        ((500, "text/plain", "oops"), "energy", "down or overloaded (HTTP 500)"),
        ((502, "text/html", "<html>bad gateway</html>"), "energy", "down or overloaded"),
        ((503, "application/json", '{"status":"error","error":"too many queries"}'), "energy", "too many queries"),
        ((404, "text/html", "<html>not found</html>"), "energy", "9090"),
        ((200, "text/html", "<html>Grafana</html>"), "energy", "9090"),
        ((200, "application/json", "[1, 2]"), "energy", "9090"),
        ((200, "application/json", '{"status":"success","data":{}}'), "energy", "unknown form"),
        ((200, "application/json", '{"status":"success"}'), "energy", "unknown form"),
        (None, "nothing", "no series"),
        (None, "energy[5m]", "leave out the [...]"),
        (None, "energy{", "parse error"),
        (None, "two", "2 series"),
        (None, "bad", "NaN"),
        (None, "infinite", "+Inf"),
        (None, "negative", "-5"),
    ],
)
def test_each_fault_of_a_server_is_a_gap_that_names_its_remedy(fault, query, remedy):
    series = {"energy": 1.0, 'two{a="1"}': 1.0, 'two{a="2"}': 1.0, "bad": "NaN", "infinite": "+Inf", "negative": "-5"}
    with PrometheusServer(series) as server:
        server.fault = fault
        source = ExternalSource(meter(server.url, query=query), HOST)
        assert source.poll() is None
        assert remedy in source.problem
        assert source.reading(source.read(), source.read(), 0.1, 0.1).joules is None


def test_a_server_that_is_not_there_or_too_slow_is_named():
    source = ExternalSource(meter("http://127.0.0.1:9"), HOST)
    assert source.poll() is None
    assert "127.0.0.1:9" in source.problem
    with PrometheusServer({"energy": 1.0}) as server:
        server.stall_s = 5.0
        source = ExternalSource(meter(server.url, timeout_s=0.2), HOST)
        assert source.poll() is None
        assert "timeout_s" in source.problem


def test_a_bearer_token_comes_from_the_environment_and_is_never_shown(monkeypatch):
    monkeypatch.setenv("METER_TOKEN", "secret-token")
    with PrometheusServer({"energy": 5.0}) as server:
        server.token = "secret-token"
        source = ExternalSource(meter(server.url, token_env="METER_TOKEN", headers={"X-Scope-OrgID": "1"}), HOST)
        assert source.poll() == 5.0
        assert server.asked[0][1]["X-Scope-OrgID"] == "1"
        assert "secret-token" not in repr(source.records)


def test_a_long_silence_is_said_once(monkeypatch):
    source = ExternalSource(meter("http://127.0.0.1:9"), HOST)
    source._answered_s -= 1000
    with pytest.warns(UserWarning, match=r"127\.0\.0\.1:9") as said:
        [source.poll() for _ in range(2)]
    assert len(said) == 1
    source._warned = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert source.poll() is None


# -- its file, and what it replaces -----------------------------------------------------------------------------------


def toml(tmp_path, text: str) -> Path:
    path = tmp_path / "meters.toml"
    path.write_text(text)
    return path


GOOD = '[[meter]]\nname = "m"\ncomponent = "cpu"\nurl = "http://h:9090"\nquery = "q"\nkind = "counter"\n'


def test_a_file_of_meters_is_read_from_toml_and_json(tmp_path):
    (from_toml,) = external_meters(toml(tmp_path, GOOD + 'unit = "kWh"\n'))
    path = tmp_path / "meters.json"
    path.write_text(json.dumps({"meter": [{"name": "m", "component": "cpu", "url": "http://h:9090", "query": "q",
                                           "kind": "counter", "unit": "kWh"}]}))  # fmt: skip
    assert external_meters(path) == [from_toml]
    assert from_toml.factor == 3.6e6


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[[meter]", "TOML"), ("", "no meter"), ("meter = 1", "no meter"), ("meter = [1]", "1"),
        (GOOD.replace('"cpu"', '"disk"'), "disk"), (GOOD.replace("counter", "meter"), "'meter'"),
        (GOOD + 'unit = "W"', "'W'"), (GOOD + "pol_s = 1", "pol_s"), (GOOD + "poll_s = 0", "poll_s=0"),
        (GOOD + 'scrape_s = "x"', "scrape_s='x'"), (GOOD + "idle_w = -1", "idle_w=-1"),
        (GOOD.replace("http://h", "h"), "h:9090"), (GOOD.replace('query = "q"', ""), "query=None"),
        (GOOD + "headers = {a = 1}", "headers"), (GOOD + "timeout_s = inf", "timeout_s=inf"),
        (GOOD + GOOD.replace('"cpu"', '"host"'), "host"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_an_error_that_names_the_value_and_never_breaks_the_work(tmp_path, text, names):
    path = toml(tmp_path, text)
    with pytest.raises(SettingError) as error:
        external_meters(path)
    assert names in str(error.value)
    settings = Settings(data_dir=tmp_path, powercap_root=tmp_path, external_meters=path)
    with pytest.warns(UserWarning, match="left out"):
        chosen = sources(settings, HOST)
    assert next(record for record in chosen.records if record.component == "cpu").name == "CPU model"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingError, match=r"nothing\.toml.*readable"):
        external_meters(tmp_path / "nothing.toml")


def test_a_meter_replaces_the_source_of_its_component(tmp_path):
    settings = Settings(data_dir=tmp_path, powercap_root=tmp_path, external_meters=toml(tmp_path, GOOD))
    chosen = sources(settings, HOST)
    by_component = {record.component: record for record in chosen.records}
    assert (by_component["cpu"].name, by_component["cpu"].provenance) == ("m", "measured")
    assert by_component["static"].provenance == "modelled"
    assert by_component["dram"].name == "DRAM model"


def test_a_meter_of_the_whole_host_replaces_every_component(tmp_path):
    text = GOOD.replace('"cpu"', '"host"').replace("counter", "gauge")
    settings = Settings(data_dir=tmp_path, powercap_root=tmp_path, external_meters=toml(tmp_path, text))
    chosen = sources(settings, HOST)
    assert len(chosen.sources) == 1
    assert {record.component for record in chosen.records if record.absent} == {"dram", "gpu"}
    assert {record.name for record in chosen.records if record.component == "cpu"} == {"m"}


def test_a_segment_is_ready_once_the_samples_reach_it_or_have_been_waited_for():
    source = ExternalSource(meter(), HOST)
    now = time.monotonic_ns()
    chosen: list[Source] = [source]
    assert not ready(chosen, [now])
    assert ready(chosen, [now - 100 * S])
    source._curve.add(now - S, now, 1.0)
    assert ready(chosen, [now])
