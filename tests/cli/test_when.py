"""`e2s forecast` and `e2s backtest` on a trace whose nights are clean."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest


@pytest.fixture
def trace(tmp_path):
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=10)
    path = tmp_path / "trace.csv"
    hours = ((begin + timedelta(hours=hour)) for hour in range(24 * 20))
    rows = [f"{at.isoformat()},{100 if at.hour < 6 else 300}" for at in hours]
    path.write_text("ts_utc,ci_g_per_kwh\n" + "\n".join(rows) + "\n")
    return str(path)


def test_a_backtest_waits_for_the_clean_nights(e2s, trace):
    asked = ("backtest", "--trace", trace, "--duration", "2h", "--slack", "24h", "--json")
    code, out, err = e2s(*asked)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["g_per_run"] == pytest.approx(200)  # 2 kWh at 100 g
    assert found["of_oracle_percent"] == pytest.approx(100)
    assert (found["misses"], found["peak_now"]) == (0, 2)
    assert found["peak"] > 2
    at_once = json.loads(e2s(*asked, "--strategy", "now", "--power", "500")[1])
    assert (at_once["saving_percent"], at_once["mean_delay_h"]) == (0, 0)
    assert at_once["g_per_run"] == pytest.approx(found["now_g_per_run"] / 2)


def test_a_cap_is_kept(e2s, trace):
    asked = ("backtest", "--trace", trace, "--duration", "2h", "--cap", "4", "--json")
    found = json.loads(e2s(*asked)[1])
    assert found["peak"] <= 4
    assert 0 < found["saving_percent"] < 100
    assert found["above_cap"] == 0


def test_runs_that_can_be_suspended_are_resumed_only_where_it_pays(e2s, trace):
    asked = ("backtest", "--trace", trace, "--duration", "8h", "--strategy", "interruptible", "--perfect", "--json")
    free = json.loads(e2s(*asked, "--checkpoint", "0")[1])
    dear = json.loads(e2s(*asked, "--checkpoint", "4h")[1])
    assert free["resumptions_per_run"] > dear["resumptions_per_run"] == 0
    assert free["saving_percent"] > dear["saving_percent"]


def test_the_forecast_has_a_bar_for_each_hour(e2s, trace):
    found = json.loads(e2s("forecast", "--trace", trace, "--hours", "24", "--json")[1])
    assert {slot["gco2eq_per_kwh"] for slot in found["slots"]} == {100, 300}
    printed = e2s("forecast", "--trace", trace, "--hours", "24")[1]
    assert printed.count("█" * 13) >= len(found["slots"])


@pytest.mark.parametrize("columns", [30, 40, 65, 80, 200])
def test_a_bar_stands_beside_its_hour_in_a_terminal_of_any_width(e2s, trace, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    found = json.loads(e2s("forecast", "--trace", trace, "--json")[1])["slots"]
    lines = e2s("forecast", "--trace", trace)[1].splitlines()[-len(found) :]
    assert max(map(len, lines)) <= columns
    lengths = {line.split()[4]: line.count("█") for line in lines if re.match(r"\w{3} \d\d \w{3} \d\d:\d\d ", line)}
    assert sum("█" in line for line in lines) == len(found)
    assert lengths["300.0"] > lengths["100.0"] >= 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--strategy", "best"), "--strategy=best: give one of window, replan"),
        (("--strategy", "percentile", "--percentile", "101"), "--percentile=101"),
        (("--percentile", "10"), "--percentile=10.0 is for --strategy percentile"),
        (("--checkpoint", "10m"), "--checkpoint=10m is for --strategy interruptible"),
        (("--strategy", "threshold"), "--threshold=None: give gCO2eq/kWh above 0"),
        (("--strategy", "now", "--perfect"), "--perfect says nothing with --strategy now"),
        (("--strategy", "replan", "--minimum-gain", "5%"), "--minimum-gain=5% is for one of window"),
        (("--minimum-gain", "much"), "minimum_gain='much'"),
        (("--power", "0"), "--power=0"),
        (("--cap", "0"), "cap=0"),
        (("--cap", "3", "--strategy", "now"), "--cap=3 plans windows together"),
        (("--slack", "19d"), "it takes a week"),
        (("--slack", "12"), "--slack=12: 12 of what? Write for example 12h."),
        (("--slack", "86400"), "--slack=86400: 86400 of what?"),
        (("--slack", "inf"), "--slack='inf' is no duration"),
        (("--every", "30"), "--every=30: 30 of what? Write for example 30m."),
        (("--strategy", "interruptible", "--checkpoint", "15"), "--checkpoint=15: 15 of what?"),
        (("--slack", "-2h"), "--slack='-2h' is negative"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(e2s, trace, more, said):
    code, out, err = e2s("backtest", "--trace", trace, "--duration", "2h", *more)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert said in err
