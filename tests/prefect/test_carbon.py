"""What a flow run's summary knows of the grid where its source is broken, or slow."""

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.integrations.prefect.carbon import look_at_the_grid, wait_for_the_grid
from e2s_tasks.recorder.guard import MeteringWarning
from e2s_tasks.reporter import waiting
from e2s_tasks.reporter.summary import summarise
from e2s_tasks.settings import Settings
from tests.fakes.grid_server import Answer, GridServer, half_hours
from tests.reporter.runs import RUN, root, run

POLICY = CarbonPolicy("gb", "2h", "5m")


@dataclass
class FakeRecorder:
    settings: Settings
    written: list = field(default_factory=list)

    def write(self, record):
        self.written.append(record)


def look(recorder, policy=POLICY, patience_s=5.0):
    """Look at the grid as a flow run does, which goes on for `patience_s` if need be; its summary."""
    look_at_the_grid(recorder, RUN, policy)
    end = time.monotonic() + patience_s
    while not recorder.written and time.monotonic() < end:
        time.sleep(0.01)
    wait_for_the_grid(recorder, RUN)
    return summary_of(recorder)


def summary_of(recorder):
    return summarise(run(root(cpu_j=3.6e6), decisions=recorder.written))


@pytest.mark.parametrize("policy", [POLICY, None])
def test_a_broken_trace_is_told_in_the_summary_which_falls_back_to_the_average(policy, tmp_path):
    broken = tmp_path / "grid.csv"
    broken.write_text("ts_utc,ci_g_per_kwh\n2026-03-02T00:00Z,100\n2026-03-02T01:00Z,nonsense\n")
    with pytest.warns(MeteringWarning, match="nonsense"):
        summary = look(FakeRecorder(Settings(trace=broken, zone="GB")), policy)
    assert "'nonsense' is no carbon intensity" in waiting.carbon(summary)
    assert summary["emissions_g"]["total"] > 100
    assert (summary["emissions_g"]["zone"], summary["emissions_g"]["signal"]) == ("GB", "average, life-cycle")


def test_where_no_country_is_known_emissions_are_null_and_the_reason_is_told(tmp_path):
    with pytest.warns(MeteringWarning, match="looking at the grid failed"):
        summary = look(FakeRecorder(Settings(trace=tmp_path / "none.csv", zone="Atlantis")), None)
    assert summary["emissions_g"]["total"] is None
    assert "none.csv cannot be read" in waiting.carbon(summary)


def test_a_zone_is_written_in_upper_case():
    assert look(FakeRecorder(Settings(gb_api_url="http://127.0.0.1:9")))["emissions_g"]["zone"] == "GB"


@pytest.mark.slow
def test_a_slow_service_delays_the_end_of_a_flow_run_by_a_fifth_of_a_second_and_its_answer_still_counts(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with GridServer() as server:
        start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
        server.say(Answer(json.dumps(half_hours(start, [123] * 100)), stall_s=2.5))
        recorder = FakeRecorder(Settings(gb_api_url=server.url, grid_timeout_s=10.0))
        look_at_the_grid(recorder, RUN, POLICY)
        time.sleep(0.5)  # it has imported what it takes
        began = time.monotonic()
        wait_for_the_grid(recorder, RUN)
        assert time.monotonic() - began < 1.5
        early = summary_of(recorder)
        assert "has not answered in time" in waiting.carbon(early)
        assert "country average" in early["emissions_g"]["source"]
        end = time.monotonic() + 10
        while len(recorder.written) < 2 and time.monotonic() < end:
            time.sleep(0.02)
    assert summary_of(recorder)["emissions_g"]["intensity_gco2eq_per_kwh"] == 123
