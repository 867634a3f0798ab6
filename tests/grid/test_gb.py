import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from e2s_tasks.core.planning import best_window
from e2s_tasks.errors import GridError
from e2s_tasks.grid.gb import CarbonIntensityApi
from tests.fakes.grid_server import Answer, GridServer, half_hours

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
NOW = NOON + timedelta(minutes=17)
HOUR = timedelta(hours=1)


def ask(server: GridServer, timeout_s: float = 10.0):
    return CarbonIntensityApi(server.url, timeout_s).forecast("GB", NOW, NOW + 2 * HOUR)


def test_the_forecast_is_asked_for_from_the_half_hour_that_has_begun(server: GridServer) -> None:
    server.say(half_hours(NOON, [180, 170, 160, 150, 140, 130]))
    forecast = ask(server)
    assert server.paths == ["/intensity/2026-03-02T12:00Z/fw48h"]
    assert [slot.intensity for slot in forecast.slots] == [180, 170, 160, 150, 140]
    assert (forecast.signal, forecast.source) == ("average, direct", "GB Carbon Intensity API")


def test_a_first_slot_before_the_asked_time_is_left_out(server: GridServer) -> None:
    server.say(half_hours(NOON - HOUR / 2, [999, 180, 170]))
    assert ask(server).slots[0].start == NOON


@pytest.mark.parametrize("nothing", [None, 0, -3, "180", True, [], float("nan"), float("inf")])
def test_a_half_hour_without_a_figure_is_missing_not_zero(server: GridServer, nothing: object) -> None:
    server.say(half_hours(NOON, [180, nothing, 160]))
    forecast = ask(server)
    assert [slot.intensity for slot in forecast.slots] == [180, 160]
    assert forecast.at(NOON + timedelta(minutes=31)) is None


def test_half_hours_in_disorder_or_twice_are_put_in_order(server: GridServer) -> None:
    answer = half_hours(NOON, [180, 170, 160])
    answer["data"] = [*reversed(answer["data"]), answer["data"][0], {"from": "noon"}, None]
    server.say(answer)
    assert [slot.intensity for slot in ask(server).slots] == [180, 170, 160]


def test_of_half_hours_that_overlap_the_later_one_counts(server: GridServer) -> None:
    answer = half_hours(NOON, [180, 170, 160])
    answer["data"][0]["to"] = answer["data"][2]["to"]
    server.say(answer)
    assert [(slot.start, slot.end) for slot in ask(server).slots] == [
        (NOON + index * HOUR / 2, NOON + (index + 1) * HOUR / 2) for index in range(3)
    ]


def test_a_base_url_may_end_in_a_slash_and_hold_a_path(server: GridServer) -> None:
    server.say(half_hours(NOON, [180]))
    CarbonIntensityApi(f"{server.url}/v1/", 1.0).forecast("GB", NOW, NOW + HOUR)
    assert server.paths == ["/v1/intensity/2026-03-02T12:00Z/fw48h"]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (Answer('{"error":{"code":"400 Bad Request","message":"wrong dates"}}', 400), "answered 400: .*wrong dates"),
        (Answer("<html><h1>Forbidden</h1>", 403, "text/html"), "answered 403: '<html>"),
        (Answer("", 302), "answered 302"),
        (Answer("slow down", 429), r"answered 429 \(too many requests\)"),
        (
            Answer("<html>Welcome to this network", 200, "text/html"),
            "text/html that is not JSON: '<html>Welcome",
        ),
        (Answer('{"data": [{"from":'), "not JSON"),
        (Answer("[]"), "without a list under 'data'"),
        (Answer('{"data": {"regionid": 11}}'), "without a list under 'data'"),
        (Answer('{"data": []}'), "no usable figure"),
        (Answer(json.dumps(half_hours(NOON, [0, None]))), "no usable figure"),
        (Answer(json.dumps(half_hours(NOON - 24 * HOUR, [100, 100]))), "no usable figure"),
        (Answer("x" * (5 << 20)), "more than 4 MiB"),
    ],
)
def test_an_unusable_answer_names_the_path_and_what_was_wrong(
    server: GridServer, answer: Answer, complaint: str
) -> None:
    server.say(answer)
    with pytest.raises(GridError, match=rf"GET /intensity/2026-03-02T12:00Z/fw48h .*{complaint}"):
        ask(server)
    assert len(server.paths) == 1


@pytest.mark.parametrize(
    "fault", [Answer("oops", 500), Answer("", 503), Answer('{"data": [', cut=True), Answer("{}", stall_s=5)]
)
def test_a_passing_fault_is_tried_again(server: GridServer, fault: Answer) -> None:
    server.say(fault, half_hours(NOON, [180, 170]))
    assert ask(server, timeout_s=0.6).slots[0].intensity == 180
    assert len(server.paths) == 2


def test_a_lasting_fault_is_given_up(server: GridServer) -> None:
    server.say(Answer("oops", 500))
    with pytest.raises(GridError, match=r"answered 500 \(tried 3 times\)\. Try again later"):
        ask(server)


@pytest.mark.parametrize("fault", [Answer("{}", stall_s=30), Answer("[" * 500, drip_s=0.05)])
def test_a_service_that_does_not_finish_costs_at_most_twice_the_time_limit(server: GridServer, fault: Answer) -> None:
    server.say(fault)
    begin = time.monotonic()
    with pytest.raises(GridError, match="timed out after"):
        ask(server, timeout_s=0.3)
    assert time.monotonic() - begin < 5.0  # 0.6 s and the machine's own delays, not the service's 25 s and more


def test_a_name_that_never_resolves_costs_at_most_twice_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: time.sleep(10))
    begin = time.monotonic()
    with pytest.raises(GridError, match=r"timed out after 0\.2 s"):
        CarbonIntensityApi("http://grid.invalid", 0.2).forecast("GB", NOW, NOW + HOUR)
    assert time.monotonic() - begin < 5.0


def test_a_service_that_is_not_there_is_named_at_once() -> None:
    with pytest.raises(GridError, match=r"found no service at http://127\.0\.0\.1:9"):
        CarbonIntensityApi("http://127.0.0.1:9", 1.0).forecast("GB", NOW, NOW + HOUR)


@pytest.mark.parametrize("url", ["", "carbonintensity", "ftp://carbon", "http://", "http://[", "http://a b"])
def test_a_base_url_that_is_none_is_a_grid_error(url: str) -> None:
    with pytest.raises(GridError, match=r"Check the base URL|found no service"):
        CarbonIntensityApi(url, 1.0).forecast("GB", NOW, NOW + HOUR)


def test_observations_are_asked_for_in_parts_of_at_most_a_fortnight(server: GridServer) -> None:
    server.say(
        half_hours(NOON, [1, 1, 1], [180, None, 0]),
        half_hours(NOON + timedelta(days=13), [1, 1], [90, 80]),
    )
    observed = CarbonIntensityApi(server.url, 1.0).actual("GB", NOON, NOON + timedelta(days=14))
    assert server.paths == [
        "/intensity/2026-03-02T12:00Z/2026-03-15T12:30Z",
        "/intensity/2026-03-15T12:00Z/2026-03-16T12:30Z",
    ]
    assert [slot.intensity for slot in observed.slots] == [180, 90, 80]


def test_a_recorded_answer_can_be_planned_on(server: GridServer, shared_data: Path) -> None:
    server.say((shared_data / "api_samples/gb_neso/fw24h_2020-05-24T2030Z.json").read_text())
    now = datetime(2020, 5, 24, 20, 41, tzinfo=UTC)
    forecast = CarbonIntensityApi(server.url, 1.0).forecast("GB", now, now + 24 * HOUR)
    plan = best_window(forecast, now, 2 * HOUR, now + 14 * HOUR)
    assert forecast.slots[0].intensity == 146
    assert plan.expected < plan.run_now
    assert now < plan.start <= now + 12 * HOUR


def test_a_recorded_regional_answer_is_refused_not_misread(server: GridServer, shared_data: Path) -> None:
    server.say((shared_data / "api_samples/gb_neso/regional_postcode_BS7_2023-01-01.json").read_text())
    with pytest.raises(GridError, match="without a list under 'data'"):
        ask(server)
