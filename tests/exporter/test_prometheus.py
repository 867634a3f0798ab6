"""A real Prometheus scrapes the exporter; all rules, and every query of the dashboards, are executed against it."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from e2s_tasks.core.records import Kind, Status
from e2s_tasks.integrations.prometheus import metrics
from e2s_tasks.integrations.prometheus.metrics import COUNTER, Metric
from e2s_tasks.ledger import Ledger
from tests.exporter.test_figures import renamed
from tests.exporter.test_service import COMMAND
from tests.reporter.runs import NOON, decision, full_run, outcome, root, run, span
from tests.servers.prometheus import Prometheus, missing, promtool, required

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deployments" / "prometheus" / "rules.yaml"
DASHBOARDS = sorted((ROOT / "deployments" / "grafana" / "dashboards").glob("*.json"))
# Grafana's own variables, and the flow that is chosen, in a test of some seconds.
VARIABLES = {"$__range": "5m", "$__rate_interval": "30s", "$flow": "flight-delays"}


@pytest.fixture(scope="session")
def prometheus_is_here():
    why = missing()
    if why is not None:
        (pytest.fail if required() else pytest.skip)(why)


def queries():
    """Title and expression of every panel of the dashboards."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield pytest.param(target["expr"], id=f"{path.stem}, {panel['title']}, {target.get('refId') or 'A'}")


def executable(expression):
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, f"a variable that the test does not know: {expression}"
    return expression


def waited_run():
    """A run that waited for a cleaner hour, with stages, and a decision about the present."""
    now = time.time()
    begun, expected = NOON + 5000, [[NOON, NOON + 4000, 300.0], [NOON + 4000, NOON + 9000, 100.0]]
    records = run(
        root(cpu_j=50.0, started_at=begun, ended_at=begun + 10, solution="delay-forecast"),
        span("w", Kind.WAIT, "wait", started_at=begun, ended_at=begun + 1, cpu_j=0.5),
        span("t", name="train", started_at=begun + 2, cpu_j=200.0, stage="training", result_key="k"),
        outcomes=[outcome("t")],
        decisions=[
            decision(start=begun, end=begun + 10, plan={"slots": expected, "arrived": NOON}),
            replace(decision(plan={"slots": [[now - 60, now + 3600, 180.0]]}), id="d2", at=NOON + 4999, start=begun),
        ],
    )
    return renamed(records, 50)


def reusing_run():
    records = run(
        root(cpu_j=1.0, started_at=NOON + 9000, ended_at=NOON + 9010),
        span("c", started_at=NOON + 9001, status=Status.CACHED, result_key="k", cpu_j=0.0),
        decisions=[decision()],
    )
    return renamed(records, 60)


@pytest.fixture(scope="module")
def prometheus(prometheus_is_here, tmp_path_factory):
    """A Prometheus that has scraped an exporter while its ledger grew."""
    home = tmp_path_factory.mktemp("e2s")
    ledger = Ledger.open(f"sqlite:///{home / 'ledger.db'}")
    failed = [replace(one, status=Status.FAILED) if one.id == "root" else one for one in full_run().spans]
    without_cpu = run(root(dram_j=1.0))
    for records in (without_cpu, replace(full_run(), spans=failed), full_run()):
        ledger.ingest(renamed(records, 1 + len(ledger.runs())))
    ledger.ingest([*waited_run(), *reusing_run()])
    environment = os.environ | {"E2S_DATA_DIR": str(home)}
    exporter = subprocess.Popen([*COMMAND, "--port", "0"], stderr=subprocess.PIPE, text=True, env=environment)
    port = re.search(r":(\d+)/metrics", exporter.stderr.readline())[1]
    configuration = yaml.safe_load((RULES.parent / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    configuration["rule_files"] = [str(RULES)]
    configuration["scrape_configs"][0] |= {
        "scrape_timeout": "500ms",
        "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
    }
    server = Prometheus(yaml.safe_dump(configuration)).start()
    try:
        server.wait_for("e2s_energy_joules_total")
        ledger.ingest(renamed(full_run(), 9))
        server.wait_for("sum(e2s_runs) == 6")
        server.wait_for("flow:e2s_failed_energy:ratio1d > 0")
        server.home = home
        yield server
    finally:
        server.remove()
        exporter.kill()
        exporter.wait()
        exporter.stderr.close()


@pytest.mark.slow
@pytest.mark.parametrize("expression", [*queries()])
def test_every_query_of_the_dashboards_has_data(prometheus, expression):
    assert prometheus.query(executable(expression)), f"no data: {executable(expression)}"


def documented():
    """The queries that docs/prometheus.md shows, without their comments."""
    block = (ROOT / "docs" / "prometheus.md").read_text().partition("## PromQL")[2].split("```")[1]
    return [re.sub(r"\s+# .*", "", line) for line in block.strip().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("expression", documented())
def test_every_query_of_the_documents_has_data(prometheus, expression):
    asked = expression.replace('"daily"', '"flight-delays"')
    assert prometheus.query(asked), f"no data: {asked}"


def test_the_documents_have_every_metric_and_no_other():
    text = (ROOT / "docs" / "prometheus.md").read_text()
    known = {
        one.name + ("_total" if one.kind == COUNTER else "")
        for one in vars(metrics).values()
        if isinstance(one, Metric)
    }
    for name in known:
        group = next((one for one in ("e2s_last_run", "e2s_exporter") if name.startswith(one)), "")
        assert f"`{name}`" in text or (group and f"`{name.removeprefix(group)}`" in text), name
    assert {one for one in re.findall(r"e2s_\w+", text) if not one.startswith("e2s_tasks")} <= known


@pytest.mark.slow
def test_the_dashboards_variables_have_values(prometheus):
    asked = [one for path in DASHBOARDS for one in json.loads(path.read_text())["templating"]["list"]]
    for variable in asked:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()
            assert "flight-delays" in prometheus.ask(f"label/{label}/values", **{"match[]": metric})
    assert {one["type"] for one in asked} == {"datasource", "query"}


@pytest.mark.slow
def test_every_recording_rule_has_data_and_every_alert_could_be_evaluated(prometheus):
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == sum(len(group["rules"]) for group in yaml.safe_load(RULES.read_text())["groups"])
    for rule in rules:
        assert rule["health"] == "ok", rule
        if rule["type"] == "recording":
            assert prometheus.query(rule["name"]), f"no data: {rule['query']}"
        else:  # which has data when it fires alone; tests/exporter/rules_test.yaml has when that is
            compared = re.split(r"\s[><=]+\s(?!.*\s[><=]+\s)", rule["query"], maxsplit=1)[0]
            assert prometheus.query(compared), f"no data: {compared}"


@pytest.mark.slow
def test_what_prometheus_has_is_what_the_ledger_has(prometheus):
    environment = os.environ | {"E2S_DATA_DIR": str(prometheus.home)}
    command = [sys.executable, "-c", "from e2s_tasks.integrations.cli import main; main()", "runs", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    runs = json.loads(done.stdout)["runs"]
    assert prometheus.value("sum(e2s_energy_joules_total)") == pytest.approx(sum(one["energy_j"] for one in runs))
    for status in {one["status"] for one in runs}:
        expected = sum(one["status"] == status for one in runs)
        assert prometheus.value(f'sum(e2s_runs{{status="{status}"}})') == expected
    assert prometheus.value("sum(e2s_avoided_energy_joules_total)") == pytest.approx(200.0)
    assert prometheus.value("count(up == 1)") == 1


@pytest.mark.slow
def test_prometheus_finds_nothing_wrong_with_names_and_help(prometheus):
    environment = os.environ | {"E2S_DATA_DIR": str(prometheus.home)}
    text = subprocess.run([*COMMAND, "--once"], capture_output=True, env=environment, check=True).stdout
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_the_rules_and_the_configuration_are_sound(prometheus_is_here):
    for command in (["check", "rules", RULES], ["check", "config", RULES.parent / "prometheus.yml"]):
        done = promtool(*command)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_record_and_fire_when_they_should(prometheus_is_here):
    done = promtool("test", "rules", Path(__file__).parent / "rules_test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    tested = (Path(__file__).parent / "rules_test.yaml").read_text()
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule.get("alert", rule.get("record")) in tested
