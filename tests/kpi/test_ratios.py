"""Intervals of ratios over runs."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.core.ratios import Moments, delta, fieller, ratio_interval, student_t


def test_fieller_gives_the_limits_of_a_worked_example():
    # D. Colquhoun's FIELLER program, as DCSTATS keeps it: 14 (s.e. 3) / 7 (s.e. 2), uncorrelated, 90 %, 10 degrees.
    low, high = fieller(Moments(14.0, 7.0, 9.0, 4.0, 0.0), student_t(0.9, 10))
    assert (low, high) == pytest.approx((1.051413, 4.414296), rel=1e-6)


def test_the_delta_methods_limits_are_those_of_the_same_example():
    # There the approximate standard deviation of the ratio is 0.714286, with 1.8125 for t.
    assert delta(Moments(14.0, 7.0, 9.0, 4.0, 0.0), student_t(0.9, 10)) == pytest.approx((0.705385, 3.294615), rel=1e-6)


def test_students_t_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    for degrees in (1, 2, 3, 4, 5, 6, 7, 10, 29, 30, 101, 2000):
        for level in (0.5, 0.8, 0.9, 0.95, 0.99, 0.999):
            assert student_t(level, degrees) == pytest.approx(stats.t.ppf(0.5 + level / 2, degrees), rel=1e-9)


def test_students_t_is_that_of_the_printed_tables():
    known = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 30: 2.042, 120: 1.980}
    assert {degrees: round(student_t(0.95, degrees), 3) for degrees in known} == known


def test_at_the_limits_students_test_of_the_ratio_is_just_at_its_level():
    stats = pytest.importorskip("scipy.stats")
    pairs = [(207.0, 41_304.0), (231.0, 39_877.0), (198.0, 40_950.0), (251.0, 42_010.0)]
    found = ratio_interval(pairs, 0.9)
    for theta in (found.low, found.high):
        assert stats.ttest_1samp([y - theta * x for y, x in pairs], 0.0).pvalue == pytest.approx(0.1, rel=1e-6)


def test_over_three_runs_the_interval_holds_the_true_ratio_in_95_of_100_cases():
    chance = random.Random(20261125)
    hits, times = 0, 6000
    for _ in range(times):
        made = [chance.gauss(1000.0, 100.0) for _ in range(3)]
        found = ratio_interval([(5.0 * units + chance.gauss(0.0, 400.0), units) for units in made])
        hits += found.low is not None and found.low <= 5.0 <= found.high
    assert hits / times == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize(("pairs", "said"), [([], "there are 0"), ([(1.0, 2.0)], "there is 1")])
def test_too_few_runs_have_no_interval_and_it_says_so(pairs, said):
    found = ratio_interval(pairs)
    assert (found.low, found.high) == (None, None)
    assert said in found.reason
    assert "at least 2 runs" in found.reason


@pytest.mark.parametrize("pairs", [[(10.0, 0.0), (12.0, 5.0)], [(1.0, 0.0), (1.0, 0.0)]])
def test_a_denominator_that_may_be_zero_has_no_finite_interval_and_it_says_so(pairs):
    found = ratio_interval(pairs)
    assert (found.low, found.high) == (None, None)
    assert "denominator" in found.reason


def test_runs_that_are_all_alike_have_an_interval_without_width():
    found = ratio_interval([(6.0, 3.0)] * 3)
    assert (found.low, found.high) == pytest.approx((2.0, 2.0))


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, float("nan")])
def test_a_level_that_is_none_is_refused(level):
    with pytest.raises(ValueError, match="between 0 and 1"):
        ratio_interval([(1.0, 1.0), (2.0, 1.0)], level)


amounts = st.floats(0.1, 1e6)


@given(st.lists(st.tuples(amounts, amounts), min_size=2, max_size=8), st.floats(1e-3, 1e3))
def test_an_interval_holds_its_ratio_and_scales_with_the_unit(pairs, factor):
    found = ratio_interval(pairs)
    ratio = sum(y for y, _ in pairs) / sum(x for _, x in pairs)
    if found.low is None:
        assert found.reason
        return
    slack = 1e-6 * max(abs(found.low), abs(found.high), ratio)
    assert found.low - slack <= ratio <= found.high + slack
    scaled = ratio_interval([(y * factor, x) for y, x in pairs])
    assert (scaled.low, scaled.high) == pytest.approx(
        (found.low * factor, found.high * factor), rel=1e-4, abs=slack * factor
    )
