"""`e2s exporter` as a process: it answers scrapes, outlives its ledger, and says what is wrong with its input."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from prometheus_client import generate_latest

from e2s_tasks.integrations.cli import main
from e2s_tasks.integrations.prometheus.exporter import LEAST_S, Exporter
from e2s_tasks.settings import settings
from tests.exporter.conftest import scraped
from tests.exporter.test_figures import renamed
from tests.reporter.runs import full_run

COMMAND = [sys.executable, "-c", "from e2s_tasks.integrations.cli import main; main()", "exporter"]


@pytest.fixture
def filled(ledger):
    ledger.ingest(renamed(full_run(), 1))
    return ledger


@pytest.fixture
def serving(filled):
    """Starts it on a free port; the URL of its metrics, and the process."""
    begun = []

    def start(*arguments, **environment):
        process = subprocess.Popen(
            [*COMMAND, "--port", "0", *arguments], stderr=subprocess.PIPE, text=True, env=os.environ | environment
        )
        begun.append(process)
        line = process.stderr.readline()
        return re.search(r"http://\S+/metrics", line)[0], process

    yield start
    for process in begun:
        process.kill()
        process.wait()
        process.stderr.close()


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def ready(url):
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        found = scraped(get(url)[1])
        if found.one("e2s_exporter_ready") == 1:
            return found
        time.sleep(0.1)
    raise AssertionError("the ledger has not been read")


def test_it_serves_what_once_prints_and_ends_on_sigterm(serving, capsys):
    url, process = serving()
    served = ready(url)
    with pytest.raises(SystemExit) as ended:
        main(["exporter", "--once"])
    assert not ended.value.code
    printed = scraped(capsys.readouterr().out)
    assert printed["e2s_energy_joules_total"] == served["e2s_energy_joules_total"]
    assert printed["e2s_last_run_kpi"] == served["e2s_last_run_kpi"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_who_asks_for_openmetrics_gets_it(serving):
    url, _ = serving()
    ready(url)
    kind, text = get(url, Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    assert "e2s_energy_joules_total{" in text


def test_a_new_run_shows_at_the_next_scrape(serving, filled):
    url, _ = serving()
    before = ready(url).one("e2s_energy_joules_total")
    filled.ingest(renamed(full_run(), 2))
    time.sleep(1.1)
    assert scraped(get(url)[1]).one("e2s_energy_joules_total") == pytest.approx(2 * before)


def test_while_the_ledger_cannot_be_read_the_last_figures_stay_and_the_errors_are_counted(serving, filled, data_dir):
    url, _ = serving()
    before = ready(url)
    filled.close()
    for path in data_dir.glob("ledger.db*"):
        path.unlink()
    (data_dir / "ledger.db").write_text("this is no database" * 100)
    time.sleep(1.1)
    found = scraped(get(url)[1])
    assert found["e2s_energy_joules_total"] == before["e2s_energy_joules_total"]
    assert found.one("e2s_ledger_up") == 0
    assert found.one("e2s_exporter_scrape_errors_total") == 1


WORK = """
import time
from e2s_tasks import span
with span("work"):
    end = time.thread_time() + 60
    while time.thread_time() < end:
        pass
"""


@pytest.mark.slow
def test_work_on_this_host_shows_while_it_goes_on_and_as_crashed_when_it_is_killed(serving):
    url, _ = serving(E2S_CPU_TDP_W="100")
    ready(url)
    work = subprocess.Popen([sys.executable, "-c", WORK], env=os.environ | {"E2S_CPU_TDP_W": "100"})
    try:
        early = until(url, lambda found: found.one("e2s_energy_joules_total", flow="work"))
        assert early.one("e2s_runs", flow="work", status="running") == 1
        used = early.one("e2s_energy_joules_total", flow="work")
        later = until(url, lambda found: found.one("e2s_energy_joules_total", flow="work") > used)
    finally:
        work.kill()
        work.wait()
    ended = until(url, lambda found: found.one("e2s_runs", flow="work", status="crashed"))
    assert ended.one("e2s_runs", flow="work", status="running") == 0
    energy = "e2s_energy_joules_total"
    assert ended.one(energy, flow="work") >= later.one(energy, flow="work")


def until(url, condition):
    """The first scrape for which it holds."""
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        time.sleep(1.1)  # the ledger is read once a second at most
        found = scraped(get(url)[1])
        if condition(found):
            return found
    raise AssertionError("it never came to that")


def test_until_the_ledger_has_been_read_once_a_scrape_gets_what_the_exporter_tells_of_itself(filled):
    exporter = Exporter(settings())
    with exporter._turn:  # as while it reads for the first time
        found = scraped(generate_latest(exporter.registry).decode())
    assert (found.one("e2s_exporter_ready"), found.one("e2s_build_info")) == (0, 1)
    assert not any(name.startswith("e2s_energy") for name in found)


def test_the_first_reading_however_long_does_not_put_off_the_next(filled):
    exporter = Exporter(settings())
    exporter.read()
    assert exporter._rest_s == LEAST_S
    exporter._read_at -= LEAST_S
    filled.ingest(renamed(full_run(), 3))
    exporter.read()
    assert exporter.runs == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "70000"], "--port=70000: give a number from 1 to 65535, or 0 for any that is free."),
        (["--port", "-1"], "--port=-1: give a number"),
        (["--host", "no.such.host.invalid"], "--host='no.such.host.invalid' is no address of this machine: give"),
        (["--host", "192.0.2.1"], "--host='192.0.2.1' is no address of this machine: give"),
        (["--port", "many"], "many"),
    ],
)
def test_a_host_or_port_that_cannot_be_used_is_one_line_with_the_remedy(ledger, capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        main(["exporter", *arguments])
    err = capsys.readouterr().err
    assert ended.value.code == 1
    assert said in err
    assert err.count("\n") == 1


def test_a_port_in_use_is_one_line_that_names_it(ledger, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SystemExit) as ended:
            main(["exporter", "--port", str(port)])
    assert ended.value.code == 1
    expected = f"e2s: --port={port} is in use on 127.0.0.1: give another one, or stop what listens there.\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("arguments", [["--once"], []])
def test_a_ledger_that_cannot_be_opened_is_one_line_with_the_remedy(capsys, monkeypatch, arguments):
    monkeypatch.setenv("E2S_LEDGER_URL", "sqlite:////proc/no/ledger.db")
    settings.cache_clear()
    with pytest.raises(SystemExit) as ended:
        main(["exporter", *arguments])
    err = capsys.readouterr().err
    assert ended.value.code == 1
    assert "The ledger sqlite:////proc/no/ledger.db cannot be" in err
    assert "E2S_LEDGER_URL" in err


def test_a_limit_that_is_no_number_is_one_line(capsys, monkeypatch):
    monkeypatch.setenv("E2S_EXPORTER_STEPS", "0")
    settings.cache_clear()
    with pytest.raises(SystemExit) as ended:
        main(["exporter", "--once"])
    assert ended.value.code == 1
    assert "E2S_EXPORTER_STEPS='0' cannot be used: give a whole number from 1 on." in capsys.readouterr().err
