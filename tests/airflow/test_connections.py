"""Keys of carbon-intensity services that are Airflow connections."""

import json

import pytest

from e2s_tasks.errors import GridError
from e2s_tasks.grid.services import service_for
from e2s_tasks.integrations.airflow.connections import with_keys
from e2s_tasks.settings import Settings

NAMES = {"electricity-maps": "e2s_electricity_maps", "watttime": "e2s_watttime"}


@pytest.fixture
def connection(monkeypatch):
    """Has Airflow know a connection that says this, and no more."""

    def say(service, **said):
        monkeypatch.setenv(f"AIRFLOW_CONN_{NAMES[service].upper()}", json.dumps({"conn_type": "generic", **said}))

    return say


def test_a_connection_has_the_key_that_the_environment_lacks(connection):
    connection("electricity-maps", password="secret")
    assert with_keys(Settings(grid="electricity-maps")).electricity_maps_key == "secret"
    assert with_keys(Settings(grid="electricity-maps", electricity_maps_key="mine")).electricity_maps_key == "mine"
    connection("watttime", login="ada", password="secret")
    found = with_keys(Settings(grid="watttime"))
    assert (found.watttime_user, found.watttime_password) == ("ada", "secret")


def test_a_connection_with_the_password_alone_leaves_the_user_of_the_environment(connection):
    connection("watttime", password="secret")
    assert with_keys(Settings(grid="watttime", watttime_user="ada")).watttime_user == "ada"


@pytest.mark.parametrize("service", NAMES)
@pytest.mark.parametrize("said", [None, {}, {"password": ""}, {"password": " \n", "login": ""}])
def test_where_the_key_is_missing_or_empty_it_is_said_where_it_may_be(connection, service, said):
    if said is not None:
        connection(service, **said)
    with pytest.raises(GridError, match=rf"needs E2S_\w+, or in Airflow the connection {NAMES[service]}: set it"):
        service_for("FR", with_keys(Settings(grid=service)))


def test_a_key_that_cannot_be_sent_is_told_with_both_places_and_not_shown(connection):
    connection("electricity-maps", password="secr\net")
    with pytest.raises(GridError, match=r"E2S_ELECTRICITY_MAPS_KEY, or .* e2s_electricity_maps, holds a line") as told:
        service_for("FR", with_keys(Settings(grid="electricity-maps")))
    assert "secr" not in str(told.value)
