"""All services that tell the carbon intensity: one contract, on a local server with recorded answers and faults."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.errors import GridError
from e2s_tasks.grid import NoForecastError, watttime
from e2s_tasks.grid.electricity_maps import ElectricityMaps
from e2s_tasks.grid.energy_charts import EnergyCharts
from e2s_tasks.grid.gb import CarbonIntensityApi
from e2s_tasks.grid.points import slots
from e2s_tasks.grid.services import service_for
from e2s_tasks.grid.watttime import G_PER_KWH, WattTime
from e2s_tasks.settings import Settings
from tests.fakes.grid_server import Answer, GridServer, half_hours

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = "a-key-that-nobody-may-see"
LIMIT_S = 10.0  # of a request that is answered, on a host however busy


class Gb:
    zone, step, signal = "GB", timedelta(minutes=30), "average, direct"

    def client(self, url, limit_s=LIMIT_S):
        return CarbonIntensityApi(url, limit_s)

    def answer(self, start, values):
        return half_hours(start, values)


class GbRegion(Gb):
    zone = "GB-BS7"

    def answer(self, start, values):
        return {"data": {"regionid": 11, "postcode": "BS7", "data": half_hours(start, values)["data"]}}


class Maps:
    zone, step, signal = "DE", HOUR, "average, life-cycle"

    def client(self, url, limit_s=LIMIT_S):
        return ElectricityMaps(url, KEY, limit_s)

    def answer(self, start, values):
        points = [
            {"datetime": (start + i * HOUR).isoformat(), "carbonIntensity": value} for i, value in enumerate(values)
        ]
        return {"zone": "DE", "forecast": points}


class Watt:
    zone, step, signal = "CAISO_NORTH", timedelta(minutes=5), "marginal, direct"

    def client(self, url, limit_s=LIMIT_S):
        return WattTime(url, "me", KEY, limit_s)

    def answer(self, start, values):
        points = [
            {
                "point_time": (start + i * self.step).isoformat(),
                "value": value / G_PER_KWH if isinstance(value, int | float) and not isinstance(value, bool) else value,
            }
            for i, value in enumerate(values)
        ]
        return {"data": points, "meta": {"units": "lbs_co2_per_mwh"}}


class Charts:
    zone, step, signal = "DE", timedelta(minutes=15), "average, life-cycle"

    def client(self, url, limit_s=LIMIT_S):
        return EnergyCharts(url, limit_s)

    def answer(self, start, values):
        seconds = [int((start + i * self.step).timestamp()) for i in range(len(values))]
        return {"unix_seconds": seconds, "co2eq": [None] * len(values), "co2eq_forecast": values}


@dataclass
class Asked:
    """A service behind a server that answers as it is told."""

    service: object
    server: GridServer

    def say(self, *answers):
        token = [{"token": "a-token-of-half-an-hour"}] if isinstance(self.service, Watt) else []
        self.server.say(*token, *answers)

    def forecast(self, start=NOON, hours=1.0):
        return self.service.client(self.server.url).forecast(self.service.zone, start, start + hours * HOUR)

    def values(self, **asked):
        return [round(slot.intensity, 6) for slot in self.forecast(**asked).slots]


@pytest.fixture(autouse=True)
def no_tokens():
    watttime._tokens.clear()


@pytest.fixture(params=[Gb, GbRegion, Maps, Watt, Charts], ids=lambda one: one.__name__)
def asked(request, server):
    return Asked(request.param(), server)


def test_a_forecast_has_the_services_slots_zone_and_signal(asked):
    asked.say(asked.service.answer(NOON, [100, 150, 200]))
    found = asked.forecast(hours=3 * asked.service.step / HOUR)
    assert [round(slot.intensity, 6) for slot in found.slots] == [100, 150, 200]
    assert (found.slots[0].start, found.slots[0].end) == (NOON, NOON + asked.service.step)
    assert (found.zone, found.signal) == (asked.service.zone, asked.service.signal)


@pytest.mark.parametrize("nothing", [None, 0, -20, "80", True, 1e9, float("nan")])
def test_a_point_without_a_usable_figure_is_missing_not_zero(asked, nothing):
    asked.say(json.dumps(asked.service.answer(NOON, [100, nothing, 200])))
    assert asked.values(hours=3 * asked.service.step / HOUR) == [100, 200]


def test_slots_before_the_asked_time_are_left_out(asked):
    asked.say(asked.service.answer(NOON - 2 * asked.service.step, [1, 2, 100, 150]))
    assert asked.values(hours=2 * asked.service.step / HOUR) == [100, 150]


def test_a_stale_series_is_no_forecast(asked):
    asked.say(asked.service.answer(NOON - timedelta(days=2), [100] * 4))
    with pytest.raises(GridError, match="no usable figure"):
        asked.forecast()


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (Answer("{}", 400), "answered 400"),
        (Answer("<html><h1>403 Forbidden</h1></html>", 403, "text/html"), "403"),
        (Answer("slow down", 429), "429"),
        (Answer("oops", 500), "answered 500"),
        (Answer('{"data": [', cut=True), "broken answer|not JSON"),
        (Answer("<html>", 200, "text/html"), "not JSON"),
        (Answer("[]"), "without"),
        (Answer('{"data": 5, "forecast": {}, "unix_seconds": {}}'), "without"),
        (Answer('{"data": [5], "forecast": [null], "unix_seconds": ["x"], "co2eq": ["x"]}'), "no usable figure"),
    ],
)
def test_an_answer_that_cannot_be_used_says_why(asked, fault, complaint):
    asked.say(fault)
    with pytest.raises(GridError, match=complaint):
        asked.forecast()


def test_an_answer_that_does_not_come_in_time_is_no_answer(asked):
    asked.say(Answer("{}", stall_s=5))
    with pytest.raises(GridError, match="timed out"):
        asked.service.client(asked.server.url, 0.3).forecast(asked.service.zone, NOON, NOON + HOUR)


@pytest.mark.parametrize("filler", ["", "x" * 60])
@pytest.mark.parametrize("service", [Maps, Watt])
def test_no_message_and_no_repr_holds_a_secret(server, service, filler):
    asked = Asked(service(), server)
    echoed = f"{filler} {KEY} {watt_pair() if service is Watt else ''}"
    for status in (200, 400, 401, 403, 500):
        asked.server.say(Answer(echoed, status))
        with pytest.raises(GridError) as caught:
            asked.forecast()
        for secret in (KEY, watt_pair()):
            assert secret[:8] not in str(caught.value)
    assert KEY not in repr(vars(service().client(server.url)))


def watt_pair():
    return base64.b64encode(f"me:{KEY}".encode()).decode()


def test_a_429_that_says_when_is_tried_again_then(asked):
    asked.say(Answer("", 429, headers=(("Retry-After", "0.1"),)), asked.service.answer(NOON, [100] * 4))
    assert set(asked.values()) == {100}


def test_a_redirect_is_not_followed_so_that_no_key_goes_elsewhere(asked):
    with GridServer() as other:
        other.say(asked.service.answer(NOON, [1] * 4))
        asked.say(Answer("", 302, headers=(("Location", other.url),)))
        with pytest.raises(GridError, match="answered 302"):
            asked.forecast()
        assert other.paths == []


def test_a_login_is_renewed_when_its_token_is_refused(server):
    asked = Asked(Watt(), server)
    asked.say(asked.service.answer(NOON, [100] * 12))
    asked.forecast()
    server.say(Answer("<html>", 403), {"token": "new"}, asked.service.answer(NOON, [50] * 12))
    assert set(asked.values()) == {50}
    assert [path.partition("?")[0] for path in server.paths] == [
        "/login", "/v3/forecast", "/v3/forecast", "/login", "/v3/forecast"
    ]  # fmt: skip


def test_watttimes_pounds_are_grams(server):
    asked = Asked(Watt(), server)
    asked.say({"data": [{"point_time": NOON.isoformat(), "value": 1000.0}], "meta": {"units": "lbs_co2_per_mwh"}})
    assert asked.forecast().slots[0].intensity == pytest.approx(453.59237)
    server.say({"data": [{"point_time": NOON.isoformat(), "value": 1000.0}], "meta": {"units": "kg_co2_per_mwh"}})
    with pytest.raises(GridError, match="kg_co2_per_mwh"):
        asked.forecast()


def test_what_energy_charts_observed_counts_before_its_forecast(server):
    seconds = [int((NOON + i * timedelta(minutes=15)).timestamp()) for i in range(4)]
    answer = {"unix_seconds": seconds, "co2eq": [300, 310, None, None], "co2eq_forecast": [1, 2, 320, None]}
    server.say(answer, answer)
    client = EnergyCharts(server.url, LIMIT_S)
    assert [slot.intensity for slot in client.forecast("DE", NOON, NOON + HOUR).slots] == [300, 310, 320]
    assert [slot.intensity for slot in client.actual("DE", NOON, NOON + HOUR).slots] == [300, 310]


def test_recorded_answers_are_read(server, shared_data):
    samples = shared_data / "api_samples"
    server.say(
        (samples / "electricity_maps" / "aioelectricitymaps_carbon_intensity_history.json").read_text(),
        (samples / "energy_charts" / "co2eq_de_2026-07-13.json").read_text(),
        (samples / "electricity_maps" / "aioelectricitymaps_no-data-response.json").read_text(),
        (samples / "gb_neso" / "regional_postcode_BS7_2023-01-01.json").read_text(),
    )
    then = datetime(2024, 3, 5, 20, tzinfo=UTC)
    found = ElectricityMaps(server.url, KEY, LIMIT_S)._series("history", "DE", then, then + 2 * HOUR)
    assert [slot.intensity for slot in found.slots] == [599, 607]
    then = datetime.fromtimestamp(1783893600, UTC)
    found = EnergyCharts(server.url, LIMIT_S).forecast("DE", then, then + 2 * HOUR)
    assert [slot.intensity for slot in found.slots] == [491.5, 497.4, 502.6, 505.0, 508.0]
    with pytest.raises(GridError, match="without a list under 'forecast'"):
        ElectricityMaps(server.url, KEY, LIMIT_S).forecast("DE", NOON, NOON + HOUR)
    then = datetime(2023, 1, 1, tzinfo=UTC)
    found = CarbonIntensityApi(server.url, LIMIT_S).forecast("GB-BS7", then, then + HOUR)
    assert found.slots[0].intensity == 181


@pytest.mark.parametrize("zone", ["GB-18", "GB-0", "GB-BS7 9AB", "GB-", "GB-nowhere"])
def test_a_part_of_great_britain_that_is_none_is_told(server, zone):
    with pytest.raises(GridError, match="write an outward postcode such as GB-BS7"):
        CarbonIntensityApi(server.url, LIMIT_S).forecast(zone, NOON, NOON + HOUR)
    assert server.paths == []


def test_a_key_without_forecasts_says_so(server):
    server.say(Answer('{"error": "not in your plan"}', 401))
    with pytest.raises(NoForecastError, match="gives this key no forecast"):
        ElectricityMaps(server.url, KEY, LIMIT_S).forecast("DE", NOON, NOON + HOUR)


@pytest.mark.parametrize(
    ("zone", "options", "service"),
    [
        ("GB", {"electricity_maps_key": KEY}, "gb"),
        ("GB-13", {}, "gb"),
        ("Germany", {}, "energy-charts"),
        ("FR", {"electricity_maps_key": KEY}, "electricity-maps"),
        ("CAISO_NORTH", {"watttime_user": "me", "watttime_password": KEY}, "watttime"),
        ("US", {}, None),
        ("DE", {"grid": "none"}, None),
        ("DE", {"grid": "gb"}, "gb"),
    ],
)
def test_the_service_is_one_that_knows_the_zone(zone, options, service):
    found = service_for(zone, Settings(**options))
    assert (found.name.partition(" ")[0] if found else None) == service


@pytest.mark.parametrize(("grid", "variable"), [("electricity-maps", "MAPS_KEY"), ("watttime", "WATTTIME_USER")])
def test_a_service_that_needs_a_key_says_which(grid, variable):
    with pytest.raises(GridError, match=variable):
        service_for("DE", Settings(grid=grid))


def test_settings_show_no_secret():
    assert KEY not in repr(Settings(electricity_maps_key=KEY, watttime_user="me", watttime_password=KEY))
    shown = repr(Settings(gb_api_url=f"http://me:{KEY}@host/api", ledger_url=f"postgresql://me:{KEY}@db/e2s"))
    assert KEY not in shown
    assert "gb_api_url='http://host/api'" in shown


@pytest.mark.parametrize("answer", [Answer("<html>", 403), Answer("", 500), {"data": 3}, Answer("x", 200)])
def test_a_login_in_an_address_is_sent_and_not_told(server, answer):
    server.say(answer)
    for url, login in (
        (server.url, f"me:{KEY}@"),
        ("http://127.0.0.1:9", f"me:p@{KEY}@"),
        ("http://127.0.0.1:9", f"a/{KEY}@"),
    ):
        address = url.replace("://", f"://{login}")
        with pytest.raises(GridError) as caught:
            CarbonIntensityApi(address, LIMIT_S).forecast("GB", NOON, NOON + timedelta(hours=1))
        assert KEY not in str(caught.value)
    assert base64.b64encode(f"me:{KEY}".encode()).decode() in str(server.logins[0])


@given(st.lists(st.tuples(st.integers(0, 200), st.floats(-10, 6000) | st.none()), max_size=40))
def test_slots_from_points_are_in_order_and_never_overlap(points):
    found = slots([(second * 900, value) for second, value in points], timedelta(minutes=15))
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert {one.start.timestamp() for one in found} <= {second * 900 for second, _ in points}


anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.just([]), st.just({}),
    st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    st.sampled_from(["9999-12-31T23:59Z", 253402300799]),
)  # fmt: skip


@given(st.lists(st.tuples(anything, anything | st.floats(1, 900)), max_size=20))
def test_whatever_a_series_holds_its_slots_are_in_order_and_of_this_age(points):
    found = slots(points, timedelta(minutes=15))
    assert all(one.start < one.end for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert all(1969 < one.start.year < 2201 and 0 < one.intensity <= 5000 for one in found)
