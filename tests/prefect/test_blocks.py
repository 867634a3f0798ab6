"""Keys kept in Prefect."""

import pytest

from e2s_tasks.integrations.prefect.blocks import ElectricityMapsKey, WattTimeLogin, with_keys
from e2s_tasks.settings import Settings

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


@pytest.mark.parametrize("block", [ElectricityMapsKey(key=SECRET), WattTimeLogin(user="me", password=SECRET)])
def test_a_block_shows_no_secret(block):
    assert SECRET not in repr(block) + str(block) + block.model_dump_json()
