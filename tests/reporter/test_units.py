"""Figures for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.reporter import units


@pytest.mark.parametrize(
    ("joules", "text"),
    [(0, "0 J"), (0.00042, "420 uJ"), (3.456, "3.46 J"), (999.4, "999 J"), (999.6, "1.00 kJ"), (9999.6, "10.0 kJ"),
     (212_000, "212 kJ"), (7.2e9, "7.20 GJ"), (5e12, "5,000 GJ"), (-1500, "-1.50 kJ"), (None, "-")],
)  # fmt: skip
def test_joules_take_the_unit_that_fits(joules, text):
    assert units.joules(joules) == text


def test_kilowatt_hours_and_grams_come_from_one_place():
    assert units.watt_hours(3.6e6) == "1.00 kWh"
    assert units.watt_hours(212_000) == "58.9 Wh"
    assert [units.grams(value) for value in (21, 1234.5, 0.0056)] == ["21.0 g", "1.23 kg", "5.60 mg"]


def test_sizes_durations_shares_and_counts():
    assert [units.size(value) for value in (None, 0, 999, 9_600_000)] == ["-", "0 B", "999 B", "9.60 MB"]
    lengths = [units.seconds(value) for value in (0.0853, 3.21, 59.99, 125, 11_400, 200_000)]
    assert lengths == ["85 ms", "3.21 s", "1 min 0 s", "2 min 5 s", "3 h 10 min", "2 d 7 h"]
    assert [units.percent(value) for value in (0, 0.001, 0.444, None)] == ["0 %", "<1 %", "44 %", "-"]
    assert [units.change(value) for value in (-100, -99.98, -99.4, 18)] == ["-100 %", "<-99 %", "-99 %", "+18 %"]
    assert [units.count(value) for value in (49217.0, 0.5)] == ["49,217", "0.50"]


def test_a_time_of_the_same_day_is_told_without_its_date():
    assert units.clock("2026-03-01T03:30:00+01:00") == "2026-03-01 02:30 UTC"
    assert units.clock("2026-03-01T02:30:00+00:00", today="2026-03-01T00:10:00+00:00") == "02:30 UTC"


def test_what_would_steer_a_terminal_is_taken_out():
    assert units.printable("a\x1b[31mb\nc\u202ed") == "a[31mb cd"


def test_a_name_loses_what_no_svg_may_hold_and_keeps_every_other_character():
    for char in map(chr, (0xFFFE, 0xFFFF, 0x1FFFE, 0xD800, 0)):
        assert units.printable(f"a{char}b") == "ab"
    for char in ("\u00e9", "\U0001f525", "\ufffd", "\ue000"):
        assert units.printable(f"a{char}b") == f"a{char}b"


@given(st.floats(1e-6, 1e15))
def test_the_text_is_within_half_a_per_cent_of_the_figure(joules):
    number, unit = units.joules(joules).split()
    scale = {"pJ": 1e-12, "nJ": 1e-9, "uJ": 1e-6, "mJ": 1e-3, "J": 1, "kJ": 1e3, "MJ": 1e6, "GJ": 1e9}
    assert float(number.replace(",", "")) * scale[unit] == pytest.approx(joules, rel=0.0051)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "J", "-"), (0.00502, "J", "5.02 mJ"), (2.0, "Wh", "2.00 Wh"), (0.0025, "kWh", "2.50 Wh"),
        (1.5, "gCO2eq", "1.50 g CO2eq"), (0.25, "EUR", "0.250 EUR"), (4.64e-11, "EUR", "4.64e-11 EUR"),
        (5.47e9, "1/kWh", "5.47e+09 per kWh"), (0.0, "EUR", "0 EUR"), (3.38, "", "3.38"),
        (8.14e-11, "gCO2eq", "81.4 pg CO2eq"), (3.43e-13, "kWh", "343 pWh"), (0.0, "gCO2eq", "0 g CO2eq"),
        (1.23e-15, "J", "0.00123 pJ"),
    ],
)  # fmt: skip
def test_a_kpis_value_stands_in_the_unit_that_fits(value, unit, text):
    assert units.quantity(value, unit) == text


def test_two_times_within_a_minute_are_told_apart_by_their_seconds():
    arrived = "2026-03-01T18:16:05+00:00"
    assert units.clocks("2026-03-01T18:16:48+00:00", arrived) == ("18:16:48 UTC", "18:16:05 UTC")
    assert units.clocks("2026-03-01T18:17:01+00:00", arrived) == ("18:17 UTC", "18:16 UTC")
    assert units.clocks("2026-03-02T18:16:05+00:00", arrived) == ("2026-03-02 18:16 UTC", "18:16 UTC")
    assert units.clocks(None, arrived) == (units.UNKNOWN, "18:16 UTC")
