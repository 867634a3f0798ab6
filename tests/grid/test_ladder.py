from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from e2s_tasks.core.planning import Forecast, Slot
from e2s_tasks.errors import GridError, TraceError, ZoneError
from e2s_tasks.grid import ladder
from e2s_tasks.grid.ladder import Rung, forecast_for
from e2s_tasks.grid.shelf import Shelf
from e2s_tasks.settings import Settings
from tests.fakes.grid_server import Answer, GridServer, half_hours

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def trace(folder: Path, *rows: str, header: str = "ts_utc,ci_g_per_kwh") -> Path:
    path = folder / "grid.csv"
    path.write_text("\n".join([header, *rows]))
    return path


@pytest.mark.parametrize("zone", ["GB", "GBR", "uk"])
def test_great_britain_is_asked_by_any_of_its_names(server: GridServer, zone: str) -> None:
    server.say(half_hours(NOON, [180, 170]))
    outlook = forecast_for(zone, NOON, NOON + HOUR, Settings(gb_api_url=server.url))
    assert (outlook.rung, outlook.knows_timing, outlook.failures) == (Rung.SERVICE, True, ())


def test_another_country_gets_its_average_and_no_request(server: GridServer) -> None:
    outlook = forecast_for("US", NOON, NOON + HOUR, Settings(gb_api_url=server.url))
    assert (outlook.rung, outlook.knows_timing, server.paths) == (Rung.AVERAGE, False, [])


def test_a_dead_service_leads_to_the_average_and_says_why(server: GridServer) -> None:
    server.say(Answer("<html>", 403))
    outlook = forecast_for("GB", NOON, NOON + HOUR, Settings(gb_api_url=server.url))
    assert outlook.rung is Rung.AVERAGE
    assert outlook.forecast.source.startswith("country average (CodeCarbon")
    assert "answered 403" in outlook.failures[0]


def test_a_trace_replaces_the_service(server: GridServer, tmp_path: Path) -> None:
    settings = Settings(gb_api_url=server.url, trace=trace(tmp_path, "2026-03-02T12:00,100", "2026-03-02T13:00,90"))
    assert forecast_for("GB", NOON, NOON + HOUR, settings).rung is Rung.TRACE
    later = forecast_for("GB", NOON + 24 * HOUR, NOON + 25 * HOUR, settings)
    assert later.rung is Rung.AVERAGE
    assert "covers 2026-03-02 12:00 UTC" in later.failures[0]
    assert server.paths == []


def test_a_broken_trace_is_an_error_not_a_lower_rung(tmp_path: Path) -> None:
    settings = Settings(trace=trace(tmp_path, "2026-03-02T12:00,100", "2026-03-02T13:00,-90"))
    with pytest.raises(TraceError):
        forecast_for("GB", NOON, NOON + HOUR, settings)


def test_a_zone_that_only_the_trace_knows_is_welcome_there(tmp_path: Path) -> None:
    rows = ["2026-03-02T12:00,100,AUS_QLD", "2026-03-02T13:00,90,AUS_QLD"]
    settings = Settings(trace=trace(tmp_path, *rows, header="ts_utc,ci_g_per_kwh,zone"))
    assert forecast_for("aus_qld", NOON, NOON + HOUR, settings).rung is Rung.TRACE
    assert forecast_for(None, NOON, NOON + HOUR, settings).forecast.zone == "AUS_QLD"
    with pytest.raises(ZoneError, match=r"Unknown grid zone 'Qld'.*Name one of AUS_QLD"):
        forecast_for("Qld", NOON, NOON + HOUR, settings)


def test_an_unknown_zone_is_an_error() -> None:
    with pytest.raises(ZoneError, match="'Atlantis'"):
        forecast_for("Atlantis", NOON, NOON + HOUR, Settings())


def test_without_any_table_there_is_nothing_and_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise GridError("the tables are gone")

    monkeypatch.setattr(ladder, "average", gone)
    outlook = forecast_for("US", NOON, NOON + HOUR, Settings())
    assert (outlook.rung, outlook.forecast.slots, outlook.failures) == (Rung.NOTHING, (), ("the tables are gone",))


@pytest.mark.parametrize("hours", [1, 47.9, 48, 96])
def test_of_many_that_look_equally_far_ahead_one_asks(server: GridServer, tmp_path: Path, hours: float) -> None:
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    server.say(half_hours(begin, [180] * 96))
    for _ in range(3):
        now = datetime.now(UTC)
        found = forecast_for("GB", now, now + hours * HOUR, Settings(gb_api_url=server.url, data_dir=tmp_path))
        assert found.rung is Rung.SERVICE
    assert len(server.paths) == 1


def test_without_its_key_a_service_is_known_by_its_last_forecast(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    slots = (Slot(now - HOUR, now + HOUR, 300.0), Slot(now + HOUR, now + 9 * HOUR, 100.0))
    known = Forecast("DE", slots, "average, life cycle", "Electricity Maps")
    settings = Settings(grid="electricity-maps", electricity_maps_url="http://maps", data_dir=tmp_path)
    assert forecast_for("DE", now, now + HOUR, settings).rung is Rung.AVERAGE
    Shelf(tmp_path / "grid", "electricity-maps http://maps", "DE", 1.0).fresh(
        now, now + 8 * HOUR, now + 8 * HOUR, lambda: known
    )
    found = forecast_for("DE", now, now + 8 * HOUR, settings)
    assert (found.rung, found.forecast.slots) == (Rung.CACHED, slots)
    assert found.failures[0].startswith("Electricity Maps needs E2S_ELECTRICITY_MAPS_KEY")
