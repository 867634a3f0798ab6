"""Forecasts that all processes of a host share."""

import json
import multiprocessing
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from e2s_tasks.core.planning import Forecast, Slot
from e2s_tasks.errors import GridError
from e2s_tasks.grid import shelf as shelf_module
from e2s_tasks.grid.gb import CarbonIntensityApi
from e2s_tasks.grid.http import get_json
from e2s_tasks.grid.ladder import Rung, forecast_for
from e2s_tasks.grid.shelf import Shelf
from e2s_tasks.settings import Settings
from tests.fakes.grid_server import Answer, half_hours

HOUR = timedelta(hours=1)


def now():
    return datetime.now(UTC)


def this_hour():
    return now().replace(minute=0, second=0, microsecond=0)


def flat(value, begin=None, hours=48):
    begin = begin or this_hour()
    slots = tuple(Slot(begin + i * HOUR, begin + (i + 1) * HOUR, value) for i in range(hours))
    return Forecast("GB", slots, "average, direct", "somebody")


class Counted:
    def __init__(self, *answers):
        self.answers, self.asked = list(answers), 0

    def __call__(self):
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def fresh(shelf, ask, hours=1):
    begin = now()
    return shelf.fresh(begin, begin + hours * HOUR, begin + 48 * HOUR, ask)


@pytest.fixture
def clock(monkeypatch):
    """Lets time pass for the shelf."""
    later = [0.0]
    real = time.time
    monkeypatch.setattr(shelf_module.time, "time", lambda: real() + later[0])

    def passes(seconds):
        later[0] += seconds

    return passes


def ask_in_a_process(folder, results):
    def slow():
        time.sleep(0.3)
        results.put("asked")
        return flat(100.0)

    fresh(Shelf(folder, "service", "GB", 5.0), slow)


def test_processes_that_look_at_once_ask_once(tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=ask_in_a_process, args=(tmp_path, results)) for _ in range(4)]
    for one in processes:
        one.start()
    for one in processes:
        one.join()
    time.sleep(0.1)
    assert [results.get(timeout=2)] == ["asked"]
    assert results.empty()


def test_a_forecast_is_asked_for_again_after_five_minutes_or_for_more_hours(tmp_path, clock):
    shelf, ask = Shelf(tmp_path, "service", "GB", 1.0), Counted(flat(100.0))
    fresh(shelf, ask)
    assert fresh(Shelf(tmp_path, "service", "gb", 1.0), ask).slots[0].intensity == 100
    assert ask.asked == 1
    fresh(shelf, ask, hours=60)
    assert ask.asked == 2
    clock(301)
    fresh(shelf, ask)
    assert ask.asked == 3


def test_another_zone_or_service_is_another_forecast(tmp_path):
    ask = Counted(flat(100.0))
    for service, zone in [("service", "GB"), ("service", "DE"), ("other", "GB")]:
        fresh(Shelf(tmp_path, service, zone, 1.0), ask)
    assert ask.asked == 3


def test_a_failure_is_remembered_for_a_minute_and_leaves_the_last_forecast(tmp_path, clock):
    shelf, ask = Shelf(tmp_path, "service", "GB", 1.0, 3600.0), Counted(flat(100.0), GridError("away"), flat(50.0))
    fresh(shelf, ask)
    clock(301)
    for _ in range(3):
        with pytest.raises(GridError, match="away"):
            fresh(shelf, ask)
    assert ask.asked == 2
    assert shelf.last(now()).slots[0].intensity == 100
    with pytest.raises(GridError, match=r"more than 0\.05 h old"):
        Shelf(tmp_path, "service", "GB", 1.0, 180.0).last(now())
    clock(61)
    assert fresh(shelf, ask).slots[0].intensity == 50


@pytest.mark.parametrize("content", ["", "{", "[]", '{"slots": [[1, 2]]}', '{"unknown": 1}', '{"slots": [[5, 1, 1]]}'])
def test_a_file_that_cannot_be_read_costs_a_request(tmp_path, content):
    shelf, ask = Shelf(tmp_path, "service", "GB", 1.0), Counted(flat(100.0))
    fresh(shelf, ask)
    (path,) = tmp_path.glob("*.json")
    path.write_text(content)
    assert fresh(shelf, ask).slots[0].intensity == 100
    assert ask.asked == 2


def test_a_folder_that_cannot_be_made_costs_the_sharing_alone(tmp_path):
    (tmp_path / "file").write_text("")
    shelf, ask = Shelf(tmp_path / "file", "service", "GB", 1.0), Counted(flat(100.0))
    assert fresh(shelf, ask).slots[0].intensity == 100
    assert fresh(shelf, ask).slots[0].intensity == 100


def test_what_the_intensity_was_is_kept_for_six_weeks(tmp_path, clock):
    shelf = Shelf(tmp_path, "service", "GB", 1.0)
    old = this_hour() - timedelta(days=43)
    shelf.remember(flat(1.0, begin=old, hours=24 * 43))
    known = shelf.history()
    assert len(known.slots) in range(24 * 42 - 1, 24 * 42 + 2)
    fresh(shelf, Counted(flat(7.0)))
    assert shelf.history().slots[-1].intensity == 7
    clock(86400.0)
    fresh(shelf, Counted(flat(9.0, begin=this_hour() + 24 * HOUR)))
    assert shelf.history().slots[-1].intensity == 9


def options(server, folder, **more):
    return Settings(gb_api_url=server.url, data_dir=folder, grid_timeout_s=10.0, **more)


def test_each_rung_of_the_ladder_is_told_with_why_the_higher_ones_failed(server, tmp_path, clock):
    begin = this_hour()
    server.say(half_hours(begin, [120] * 96))
    first = forecast_for("GB", now(), now() + HOUR, options(server, tmp_path))
    assert (first.rung, first.failures) == (Rung.SERVICE, ())
    server.say(Answer("<html>", 403))
    clock(400)
    second = forecast_for("GB", now(), now() + HOUR, options(server, tmp_path))
    assert second.rung is Rung.CACHED
    assert "asked at" in second.forecast.source
    assert "403" in second.failures[0]
    (path,) = (tmp_path / "grid").glob("*.json")
    page = json.loads(path.read_text())
    hours = [begin - i * HOUR for i in range(1, 60)]
    page["history"] = [[at.timestamp(), (at + HOUR).timestamp(), 80.0 + at.hour] for at in reversed(hours)]
    page["asked_at"] = 1.0
    path.write_text(json.dumps(page))
    third = forecast_for("GB", now(), now() + 6 * HOUR, options(server, tmp_path))
    assert third.rung is Rung.PROFILE
    assert third.knows_timing
    assert len(third.failures) == 2
    page["history"] = []
    path.write_text(json.dumps(page))
    last = forecast_for("GB", now(), now() + HOUR, options(server, tmp_path))
    assert (last.rung, len(last.failures)) == (Rung.AVERAGE, 3)


def test_a_service_without_forecasts_leads_to_a_profile_of_its_history(server, tmp_path):
    begin = this_hour() - 30 * HOUR
    history = [
        {"datetime": (begin + i * HOUR).isoformat(), "carbonIntensity": 100 + (begin + i * HOUR).hour}
        for i in range(30)
    ]
    server.say(Answer("{}", 401), Answer("{}", 401), {"history": history})
    found = forecast_for(
        "DE",
        now(),
        now() + 6 * HOUR,
        Settings(electricity_maps_url=server.url, electricity_maps_key="k", data_dir=tmp_path, grid_timeout_s=10.0),
    )
    assert found.rung is Rung.PROFILE
    assert "no forecast" in found.failures[0]
    assert [path.partition("?")[0].rpartition("/")[2] for path in server.paths] == ["forecast", "past-range", "history"]


def test_a_forecast_is_kept_for_five_minutes_and_a_failure_for_one(server, tmp_path, clock):
    begin = this_hour()
    server.say(half_hours(begin, [180] * 96), Answer("", 404), half_hours(begin, [99] * 96))
    shelf, api = Shelf(tmp_path, "gb", "GB", 1.0), CarbonIntensityApi(server.url, 10.0)
    at = 0
    for later, requests, figure in [(0, 1, 180), (299, 1, 180), (301, 2, None), (360, 2, None), (362, 3, 99)]:
        clock(later - at)
        at = later
        if figure is None:
            with pytest.raises(GridError, match="answered 404"):
                fresh(shelf, lambda: api.forecast("GB", now(), now() + HOUR))
        else:
            assert fresh(shelf, lambda: api.forecast("GB", now(), now() + HOUR)).slots[0].intensity == figure
        assert len(server.paths) == requests


@pytest.mark.parametrize("rest", ["seconds", "date"])
def test_a_service_that_asks_to_be_left_alone_is(server, tmp_path, clock, rest):
    begin = this_hour()
    after = "900" if rest == "seconds" else format_datetime(now() + timedelta(seconds=900), usegmt=True)
    server.say(Answer("", 429, headers=(("Retry-After", after),)), half_hours(begin, [99] * 96))
    shelf, api = Shelf(tmp_path, "gb", "GB", 1.0), CarbonIntensityApi(server.url, 10.0)
    for later in (0, 800):
        clock(later)
        with pytest.raises(GridError, match="answered 429"):
            fresh(shelf, lambda: api.forecast("GB", now(), now() + HOUR))
        assert len(server.paths) == 1
    clock(110)
    assert fresh(shelf, lambda: api.forecast("GB", now(), now() + HOUR)).slots[0].intensity == 99


PARTIAL = {
    "its first slots are missing": lambda whole: [None, None, *whole[2:]],
    "it has an hour alone": lambda whole: whole[:2],
    "every other is null": lambda whole: [one if i % 2 else None for i, one in enumerate(whole)],
}


@pytest.mark.parametrize("how", PARTIAL)
def test_a_part_of_a_forecast_takes_nothing_from_the_last_whole_one(server, tmp_path, clock, how):
    begin = now() - timedelta(minutes=5)  # its first slots are still of use when the clock has passed
    server.say(half_hours(begin, [120] * 96), half_hours(begin, PARTIAL[how]([50] * 96)), Answer("{}", 400))
    for later, rung in ((0, Rung.SERVICE), (360, Rung.CACHED), (61, Rung.CACHED)):
        clock(later)
        found = forecast_for("GB", now(), now() + 24 * HOUR, options(server, tmp_path), 3 * HOUR)
        assert (found.rung, found.forecast.at(now() + HOUR)) == (rung, 120)
    assert "h the time before" in found.failures[0] or "400" in found.failures[0]


def test_what_does_not_tell_all_that_is_needed_leads_to_the_profile(server, tmp_path):
    begin = this_hour()
    shelf = Shelf(tmp_path / "grid", f"gb {server.url}", "GB", 1.0)
    shelf.remember(flat(77.0, begin=begin - 240 * HOUR, hours=240))
    server.say(half_hours(begin, [50] * 5))
    short = forecast_for("GB", now(), now() + 24 * HOUR, options(server, tmp_path), timedelta(minutes=30))
    assert short.rung is Rung.SERVICE
    long = forecast_for("GB", now(), now() + 24 * HOUR, options(server, tmp_path), 4 * HOUR)
    assert long.rung is Rung.PROFILE
    assert "has no figures for all of" in long.failures[0]


def test_a_zone_that_is_no_country_runs_now_where_its_service_fails(server, tmp_path):
    server.say(Answer("<html>", 403))
    found = forecast_for(
        "CAISO_NORTH",
        now(),
        now() + HOUR,
        Settings(
            grid="watttime", watttime_url=server.url, watttime_user="u", watttime_password="p", data_dir=tmp_path,
            grid_timeout_s=10.0,
        ),
    )  # fmt: skip
    assert (found.rung, found.forecast.slots) == (Rung.NOTHING, ())
    assert "403" in found.failures[0]


def test_the_last_24_hours_with_the_one_that_goes_on_are_a_profile(server, tmp_path):
    begin = this_hour() - 23 * HOUR
    history = [
        {"datetime": (begin + i * HOUR).isoformat(), "carbonIntensity": 100 + (begin + i * HOUR).hour}
        for i in range(24)
    ]
    server.say(Answer("{}", 401), Answer("{}", 401), {"history": history})
    found = forecast_for(
        "DE",
        now(),
        now() + 30 * HOUR,
        Settings(electricity_maps_url=server.url, electricity_maps_key="k", data_dir=tmp_path, grid_timeout_s=10.0),
        26 * HOUR,
    )
    assert found.rung is Rung.PROFILE
    assert found.forecast.at(now()) == history[-1]["carbonIntensity"]


@pytest.mark.parametrize("key", ["ab\ncd", "ключ", "a\x00b"])
def test_a_key_that_cannot_be_sent_is_named_and_not_told(server, tmp_path, key):
    options = Settings(grid="electricity-maps", electricity_maps_url=server.url, electricity_maps_key=key)
    found = forecast_for("DE", now(), now() + HOUR, options)
    assert found.rung is Rung.AVERAGE
    assert "E2S_ELECTRICITY_MAPS_KEY, or in Airflow the connection e2s_electricity_maps, holds" in found.failures[0]
    assert not any(part in found.failures[0] for part in ("cd", key))
    assert server.paths == []


def look_in_a_process(folder, url, results):
    begin = time.monotonic()
    found = forecast_for("GB", now(), now() + HOUR, Settings(gb_api_url=url, data_dir=folder, grid_timeout_s=0.4))
    results.put((str(found.rung), time.monotonic() - begin))


@pytest.mark.slow
def test_a_service_that_hangs_is_asked_by_one_process_and_holds_none_up_for_longer(server, tmp_path):
    server.say(Answer("", stall_s=30.0))
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    arguments = (tmp_path, server.url, results)
    processes = [context.Process(target=look_in_a_process, args=arguments) for _ in range(4)]
    for one in processes:
        one.start()
    looked = [results.get(timeout=20) for _ in processes]
    for one in processes:
        one.join()
    assert {rung for rung, _ in looked} == {"average"}
    assert len(server.paths) <= 2


def test_requests_that_follow_each_other_share_a_connection():
    ports = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            ports.append(self.client_address[1])
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as kept:
        threading.Thread(target=kept.serve_forever, daemon=True).start()
        for _ in range(3):
            assert get_json(f"http://127.0.0.1:{kept.server_port}", "/", 1.0) == {}
        kept.shutdown()
    assert len(ports) == 3
    assert len(set(ports)) == 1
