"""Keys kept in Prefect."""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from e2s_tasks import e2s_flow
from e2s_tasks.integrations.cli import main
from e2s_tasks.integrations.prefect.blocks import ElectricityMapsKey, WattTimeLogin, with_keys
from e2s_tasks.recorder import process_recorder
from e2s_tasks.settings import Settings, settings
from tests.fakes.grid_server import GridServer

SECRET = "nobody-may-see-this"


def test_a_key_that_the_environment_lacks_is_taken_from_its_block():
    options = Settings(grid="electricity-maps")
    assert with_keys(options) == options
    ElectricityMapsKey(key=SECRET).save("e2s", overwrite=True)
    WattTimeLogin(user="me", password=SECRET).save("e2s", overwrite=True)
    assert with_keys(options).electricity_maps_key == SECRET
    assert with_keys(Settings(grid="watttime")).watttime_password == SECRET
    given = Settings(grid="electricity-maps", electricity_maps_key="mine")
    assert with_keys(given) is given


def test_a_flow_without_a_policy_and_the_command_line_take_the_key_from_its_block_too(monkeypatch, ledger_run, capsys):
    ElectricityMapsKey(key=SECRET).save("e2s", overwrite=True)
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [(begin + timedelta(hours=i)).isoformat() for i in range(72)]
    with GridServer() as server:
        server.say({"zone": "DE", "forecast": [{"datetime": at, "carbonIntensity": 300} for at in hours]})
        monkeypatch.setenv("E2S_GRID", "electricity-maps")
        monkeypatch.setenv("E2S_ELECTRICITY_MAPS_URL", server.url)
        settings.cache_clear()
        asks = replace(process_recorder().settings, grid="electricity-maps", electricity_maps_url=server.url, zone="DE")
        monkeypatch.setattr(process_recorder(), "settings", asks)

        @e2s_flow
        def unplanned():
            for one in threading.enumerate():
                if one.name == "e2s-grid":  # the look at the grid, which a short run does not wait for
                    one.join()

        run = ledger_run(unplanned(return_state=True).state_details.flow_run_id)
        assert [one.intensity for one in run.decisions] == [300]
        with pytest.raises(SystemExit, match="0"):
            main(["plan", "--zone", "DE", "--duration", "1h", "--json"])
    settings.cache_clear()
    assert json.loads(capsys.readouterr().out)["run_now_gco2eq_per_kwh"] == pytest.approx(300)


@pytest.mark.parametrize("block", [ElectricityMapsKey(key=SECRET), WattTimeLogin(user="me", password=SECRET)])
def test_a_block_shows_no_secret(block):
    assert SECRET not in repr(block) + str(block) + block.model_dump_json()
