"""Plans with pauses against all choices of slots."""

from itertools import combinations, pairwise
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2s_tasks.core.interruptible import best_window_slots, cheapest_slots, plan_slots, resumptions, slots_cost

rows = st.lists(st.integers(1, 50), min_size=4, max_size=9)
lengths = st.integers(1, 4)
resumes = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5])


def cost(values, slots, resume, times=1.0):
    """What the slots cost by the definition; None where a pause is too short for a resumption."""
    total = sum(values[slot] for slot in slots)
    for before, after in pairwise(slots):
        if after - before > 1:
            if after - before - 1 < ceil(resume):
                return None
            left, at = resume, after - 1
            while left > 0:
                total += times * min(1.0, left) * values[at]
                left, at = left - 1, at - 1
    return total


def slots_of(chosen):
    return [int(slot) for slot in np.flatnonzero(chosen)]


@settings(max_examples=150)
@given(rows, lengths, resumes, st.sampled_from([1.0, 4.0]))
def test_the_cheapest_slots_are_the_best_of_all_choices(values, length, resume, times):
    found = slots_of(cheapest_slots(np.array([values], dtype=float), length, resume, times)[0])
    costs = [cost(values, slots, resume, times) for slots in combinations(range(len(values)), length)]
    assert len(found) == length
    assert cost(values, found, resume, times) == pytest.approx(min(one for one in costs if one is not None))


@settings(max_examples=100)
@given(rows, lengths, resumes, st.sampled_from([0.0, 2.0]))
def test_a_plan_with_pauses_is_never_predicted_to_be_worse_than_the_best_window(values, length, resume, error_sd):
    forecast = np.array([values], dtype=float)
    chosen, window = plan_slots(forecast, length, resume, error_sd), best_window_slots(forecast, length)
    found = cost(values, slots_of(chosen[0]), resume)
    assert slots_cost(forecast, chosen, resume)[0] == pytest.approx(found)
    at_best = min(sum(values[start : start + length]) for start in range(len(values) - length + 1))
    assert slots_cost(forecast, window, resume)[0] == pytest.approx(at_best)
    assert found <= at_best
    if resumptions(chosen)[0]:
        assert found < at_best - 2 * error_sd


def test_many_runs_are_planned_as_each_alone():
    forecast = np.random.default_rng(1).uniform(50, 500, (20, 30))
    together = plan_slots(forecast, 5, 0.5)
    assert all(np.array_equal(together[row], plan_slots(forecast[[row]], 5, 0.5)[0]) for row in range(20))
    assert resumptions(together).max() > 0


def test_a_dear_resumption_is_not_worth_a_pause():
    forecast = np.array([[10.0, 12.0, 10.0, 90.0]])
    assert slots_of(plan_slots(forecast, 2, 0.25)[0]) == [0, 1]
    assert slots_of(cheapest_slots(forecast, 2, 0.0)[0]) == [0, 2]
