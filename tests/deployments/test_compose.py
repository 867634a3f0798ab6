"""The compose file for a team: what its services are told of each other."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from e2s_tasks.integrations.cli.exporter import PORT
from e2s_tasks.settings import Settings

FILE = Path(__file__).parents[2] / "deployments" / "compose.yaml"


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load(FILE.read_text())["services"]


def test_every_address_is_a_service_that_is_there(services):
    for one in services.values():
        given = one.get("environment", {})
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "E2S_LEDGER_URL"):
            if name in given:
                host = given[name].rpartition("@")[2].rpartition("//")[2].partition("/")[0].partition(":")[0]
                assert host in services


def test_mlflow_answers_to_the_name_by_which_it_is_called_and_to_that_of_a_browser(services):
    words = services["mlflow"]["command"].split()
    allowed = words[words.index("--allowed-hosts") + 1].split(",")
    called = urlsplit(services["worker"]["environment"]["MLFLOW_TRACKING_URI"]).netloc
    assert {called, "localhost:5000"} <= set(allowed)
    assert services["mlflow"]["ports"] == ["5000:5000"]


def test_its_variables_are_settings_that_there_are(services):
    known = {f"E2S_{name.upper()}" for name in Settings.__dataclass_fields__} | {"E2S_LEDGER_URL", "E2S_DB_PASSWORD"}
    for one in services.values():
        assert {name for name in one.get("environment", {}) if name.startswith("E2S_")} <= known


def test_what_is_kept_lies_on_volumes(services):
    volumes = yaml.safe_load(FILE.read_text())["volumes"]
    mounted = {volume.partition(":")[0] for one in services.values() for volume in one.get("volumes", [])}
    assert set(volumes) <= mounted


def test_prometheus_scrapes_the_exporter_where_it_listens_and_knows_the_rules(services):
    found = yaml.safe_load((FILE.parent / "prometheus" / "prometheus.yml").read_text())
    host, _, port = found["scrape_configs"][0]["static_configs"][0]["targets"][0].partition(":")
    assert services[host]["command"].startswith("e2s exporter --host 0.0.0.0")
    assert int(port) == PORT
    assert f"localhost:{port}/metrics" in services[host]["healthcheck"]["test"][-1]
    assert "./prometheus:/etc/prometheus:ro" in services["prometheus"]["volumes"]
    assert [(FILE.parent / "prometheus" / name).exists() for name in found["rule_files"]] == [True]


def test_grafana_finds_prometheus_and_the_dashboards(services):
    folder = FILE.parent / "grafana"
    source = yaml.safe_load((folder / "provisioning" / "datasources" / "prometheus.yaml").read_text())["datasources"][0]
    assert urlsplit(source["url"]).hostname in services
    provider = yaml.safe_load((folder / "provisioning" / "dashboards" / "e2s.yaml").read_text())["providers"][0]
    mounted = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert mounted["./grafana/dashboards"] == provider["options"]["path"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (folder / "dashboards" / Path(home).name).exists()


def test_every_service_that_others_wait_for_tells_when_it_is_healthy(services):
    for one in services.values():
        for name in one.get("depends_on", {}):
            assert "healthcheck" in services[name]


def test_no_secret_stands_in_clear(services):
    for one in services.values():
        for name, value in one.get("environment", {}).items():
            if any(word in name for word in ("PASSWORD", "SECRET", "TOKEN", "KEY")):
                assert str(value).startswith("${")
