"""The split of one segment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.core.attribution import Reading, Segment, split

seconds = st.just(0.0) | st.floats(1e-9, 1e3)
readings = st.builds(
    Reading,
    component=st.sampled_from(["cpu", "dram", "gpu"]),
    joules=st.just(0.0) | st.floats(1e-6, 1e6) | st.none(),
    background=st.just(0.0) | st.floats(1e-6, 1e6),
    background_to=st.sampled_from(["static", "dram", "gpu"]),
    attributed=st.just(0.0) | st.floats(1e-6, 1),
)
segments = st.builds(
    Segment,
    duration_s=seconds,
    busy_s=seconds,
    cpu_s=st.dictionaries(st.integers(0, 5), seconds),
    holders=st.dictionaries(st.integers(0, 5), seconds),
    readings=st.lists(readings, max_size=4),
)


@given(segments)
def test_spans_other_and_idle_sum_to_what_the_sources_counted(segment):
    counted = sum(reading.joules or 0.0 for reading in segment.readings)
    assert split(segment).total_j == pytest.approx(counted, rel=1e-9, abs=1e-9)


@given(segments)
def test_no_part_of_a_split_is_negative(segment):
    result = split(segment)
    assert result.other_j >= -1e-9
    assert result.idle_j >= -1e-9
    assert all(joules >= 0 for components in result.spans.values() for joules in components.values())


@given(segments, st.floats(0.1, 10))
def test_a_split_is_linear_in_the_energy(segment, factor):
    scaled = Segment(
        segment.duration_s,
        segment.busy_s,
        segment.cpu_s,
        segment.holders,
        [
            Reading(
                r.component,
                None if r.joules is None else r.joules * factor,
                r.background * factor,
                r.background_to,
                r.attributed,
            )
            for r in segment.readings
        ],
    )
    once, more = split(segment), split(scaled)
    assert more.other_j == pytest.approx(once.other_j * factor, rel=1e-9, abs=1e-9)
    for key, components in once.spans.items():
        for component, joules in components.items():
            assert more.spans[key][component] == pytest.approx(joules * factor, rel=1e-9, abs=1e-9)


def test_dynamic_energy_goes_by_cpu_time_and_the_rest_to_other_programs():
    result = split(Segment(1.0, 4.0, {"a": 1.0, "b": 2.0}, {}, [Reading("cpu", 80.0)]))
    assert result.spans == {"a": {"cpu": 20.0}, "b": {"cpu": 40.0}}
    assert result.other_j == 20.0


def test_own_cpu_time_above_the_hosts_busy_time_is_believed():
    result = split(Segment(1.0, 0.5, {"a": 1.0}, {}, [Reading("cpu", 10.0)]))
    assert result.spans == {"a": {"cpu": 10.0}}
    assert result.other_j == 0.0


def test_a_missing_reading_is_a_gap_and_no_zero():
    result = split(Segment(1.0, 1.0, {"a": 1.0}, {"a": 1.0}, [Reading("dram", None)]))
    assert result.gaps == {"dram"}
    assert result.spans == {}


def test_where_the_cpus_figure_is_missing_so_is_idle_power_which_is_a_part_of_it():
    result = split(Segment(1.0, 1.0, {"a": 1.0}, {"a": 1.0}, [Reading("cpu", None), Reading("dram", 3.0)]))
    assert result.gaps == {"cpu", "static"}
    assert result.spans == {"a": {"dram": 3.0}}


def test_under_a_share_policy_the_rest_of_idle_power_is_nobodys():
    result = split(Segment(1.0, 0.0, {}, {"a": 1.0}, [Reading("cpu", 10.0, 10.0, "static", 0.25)]))
    assert result.spans == {"a": {"static": 2.5}}
    assert result.idle_j == 7.5
