"""Keys of carbon-intensity services that are Airflow connections."""

import asyncio
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ConnectionResult, GetConnection
from daemons import Airflow
from serving import serving

from e2s_tasks.errors import GridError
from e2s_tasks.grid.services import service_for
from e2s_tasks.integrations.airflow import connections
from e2s_tasks.integrations.airflow.connections import keys_in_time, with_keys
from e2s_tasks.integrations.airflow.trigger import CleanerGridTrigger
from e2s_tasks.settings import Settings, settings

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


class Supervisor:
    """Answers a triggerer's questions, after so many seconds, and knows who asked."""

    def __init__(self, after_s=0.0):
        self.after_s, self.threads, self.answered = after_s, set(), 0

    async def asend(self, message):
        self.threads.add(threading.get_ident())
        await asyncio.sleep(self.after_s)
        return self._answer(message)

    def send(self, message):
        self.threads.add(threading.get_ident())
        return self._answer(message)

    def _answer(self, message):
        if not isinstance(message, GetConnection):
            return None
        self.answered += 1
        others = dict.fromkeys(("host", "schema", "port", "extra"))
        said = {"conn_id": message.conn_id, "conn_type": "generic", "login": "ada", "password": "secret"}
        return ConnectionResult(**said | others)


@pytest.fixture
def supervisor(monkeypatch):
    """Has this process be a triggerer's, with such a supervisor."""

    def start(**how):
        found = Supervisor(**how)
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", found, raising=False)
        return found

    return start


@pytest.fixture
def service():
    """Electricity Maps, which says that all hours are alike, and keeps the keys that it was asked with."""
    keys = []

    def answer(request):
        keys.append(request.headers["auth-token"])
        begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        times = (begin + timedelta(hours=i) for i in range(48))
        return {"forecast": [{"datetime": f"{one:%Y-%m-%dT%H:%MZ}", "carbonIntensity": 300} for one in times]}

    with serving(answer) as url:
        yield url, keys


def test_a_trigger_asks_airflow_for_a_key_once_and_from_no_other_thread_than_its_event_loop_s(
    supervisor, service, tmp_path, monkeypatch
):
    url, keys = service
    for name, value in {"ELECTRICITY_MAPS_URL": url, "GRID": "electricity-maps", "DATA_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(f"E2S_{name}", value)
    settings.cache_clear()
    asked, now = supervisor(), time.time()
    given = {"arrived": now - 1000, "policy": ["e2s:carbon", "e2s:zone=DE", "e2s:max-delay=1h",
             "e2s:expected-duration=10s"], "run": "run"}  # fmt: skip
    many = [CleanerGridTrigger(start=now + 20, latest=now + 9, step=str(i), **given) for i in range(5)]

    async def looks():
        await asyncio.gather(*(one._taken_up(0.5) for one in many))

    asyncio.run(looks())
    settings.cache_clear()
    assert keys == ["secret"]
    assert asked.answered == 1
    assert asked.threads == {threading.get_ident()}


@pytest.mark.parametrize("service", NAMES)
def test_on_an_event_loop_a_connection_has_the_same_key(supervisor, service):
    supervisor()
    options = Settings(grid=service)
    assert asyncio.run(keys_in_time(options, 5.0)) == with_keys(options) != options


def test_an_airflow_that_answers_too_late_gives_no_key_and_answers_all_the_same(supervisor):
    asked, options = supervisor(after_s=0.5), Settings(grid="electricity-maps")

    async def early_and_late():
        with pytest.warns(UserWarning, match="no answer in 0.1 s"):
            assert await keys_in_time(options, 0.1) is options
        assert not asked.answered
        await asyncio.sleep(1)

    asyncio.run(early_and_late())
    assert asked.answered == 1


def test_who_has_waited_long_for_no_connection_is_followed_by_none_that_asks(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(connections, "SLOW_S", 0.05)
    monkeypatch.setattr(connections, "_loaded", lambda name: (asked.append(name), time.sleep(0.1))[1])
    options = Settings(grid="electricity-maps", data_dir=tmp_path)
    with pytest.warns(UserWarning, match="tasks of this host do not ask for 600 s, and go on without"):
        assert with_keys(options) is options
    assert with_keys(options) is options
    assert asked == ["e2s_electricity_maps"]
    monkeypatch.setattr(connections, "REST_S", 0.0)
    with_keys(options)
    assert len(asked) == 2


def test_a_connection_that_was_there_is_asked_for_again_soon_after_nobody_could_find_it(monkeypatch, tmp_path):
    answers = [SimpleNamespace(password="secret"), None, SimpleNamespace(password="secret"), None]
    monkeypatch.setattr(connections, "SLOW_S", -1.0)
    monkeypatch.setattr(connections, "_loaded", lambda name: answers.pop(0))
    monkeypatch.setattr(connections, "warn_once", lambda *told: warned.append(told[2]))
    options, warned = Settings(grid="electricity-maps", data_dir=tmp_path), []
    assert with_keys(options).electricity_maps_key == "secret"
    assert with_keys(options).electricity_maps_key is None
    assert with_keys(options).electricity_maps_key is None
    assert {one.partition(",")[0] for one in warned} == {"tasks of this host do not ask for 60 s"}
    assert len(answers) == 2
    monkeypatch.setattr(connections, "HICCUP_S", 0.0)
    assert with_keys(options).electricity_maps_key == "secret"
    monkeypatch.setattr(connections, "HICCUP_S", 60.0)
    assert with_keys(options).electricity_maps_key is None
    assert not answers  # the key that was found had ended the rest


@pytest.mark.skipif(version("apache-airflow") >= "3.2", reason="later triggerers answer questions from any thread")
def test_a_triggerer_whose_waiting_tasks_need_the_key_of_a_connection_has_them_begin(tmp_path, service):
    url, keys = service
    more = {"E2S_GRID": "electricity-maps", "E2S_ELECTRICITY_MAPS_URL": url, "E2S_LEAST_WAIT_S": "1"}
    with Airflow(tmp_path, **more) as airflow:
        say = ("--conn-type", "generic", "--conn-password", "secret")
        airflow.run("connections", "add", NAMES["electricity-maps"], *say)
        runs = [airflow.trigger("keyed") for _ in range(2)]
        assert [airflow.wait("keyed", one) for one in runs] == ["success", "success"]
        assert airflow.processes["triggerer"].poll() is None
    assert set(keys) == {"secret"}
