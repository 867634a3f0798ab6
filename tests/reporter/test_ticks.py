"""Moments on an axis of time."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.reporter.html.ticks import LETTER, ticks

AT = datetime(2026, 11, 29, 21, 58, 28, 400_000, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("seconds", "width", "labels"),
    [
        (1.5, 500, ["21:58:28.5", "21:58:29.0", "21:58:29.5"]),
        (5, 280, ["21:58:30", "21:58:32"]),
        (100, 600, ["21:58:30", "21:58:45", "21:59:00", "21:59:15", "21:59:30", "21:59:45", "22:00:00"]),
        (3600, 280, ["22:00", "22:15", "22:30", "22:45"]),
        (86_000, 280, ["00:00", "06:00", "12:00", "18:00"]),
        (3 * 86_400, 280, ["30 Nov", "01 Dec", "02 Dec"]),
        (30 * 86_400, 280, ["03 Dec", "10 Dec", "17 Dec", "24 Dec"]),
    ],
)  # fmt: skip
def test_moments_are_round(seconds, width, labels):
    assert [label for _, label in ticks(AT, AT + seconds, width)] == labels


@given(st.floats(0, 2e9), st.floats(1e-3, 1e8), st.integers(200, 900))
def test_no_label_is_there_twice_nor_has_less_room_than_it_needs(start, seconds, width):
    end = start + seconds
    found = ticks(start, end, width)
    labels = [label for _, label in found]
    assert len(set(labels)) == len(labels) >= 1
    assert all(start - 1e-3 <= at <= end + 1e-3 for at, _ in found)
    assert sum(LETTER * len(label) for label in labels) <= width
