"""Tables that leave out columns where a terminal has no room for them."""

import io

from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.reporter import units
from e2s_tasks.reporter.fitting import FittingTable
from e2s_tasks.reporter.terminal import console

HEADS = ("step", "status", "time", "energy", "share")
AMOUNTS = st.floats(1e-6, 1e9)
ROWS = st.lists(
    st.tuples(
        st.text("abc_é手 ", max_size=60),
        st.sampled_from(["ok", "crashed"]),
        AMOUNTS.map(units.seconds),
        st.tuples(AMOUNTS.map(units.joules), st.booleans()).map(lambda one: units.at_least(*one)),
        st.floats(0, 1).map(units.percent),
    ),
    min_size=1,
    max_size=5,
)


def printed(width, rows, heads=HEADS, texts=("step",), spared=("status", "time")):
    stream = io.StringIO()
    out = console(stream)
    out.width = width
    table = FittingTable(*heads, texts=texts, spared=spared)
    for row in rows:
        table.add_row(*row)
    out.print(table)
    return stream.getvalue().splitlines()


@given(width=st.integers(30, 120), rows=ROWS)
def test_every_figure_that_is_shown_is_whole_and_on_one_line_at_any_width(width, rows):
    head, *lines = printed(width, rows)
    kept = [index for index, name in enumerate(HEADS) if name in head.split()]
    assert {0, 3, 4} <= set(kept)
    assert max(map(len, lines)) <= width
    found = " ".join(" ".join(line.split()) for line in lines)
    for row in rows:
        figures = " ".join(row[index] for index in kept[1:])
        assert figures in found
        found = found.partition(figures)[2]


def test_columns_go_in_the_order_in_which_they_can_be_spared():
    row = [("build_features", "ok", "12.3 s", ">= 12.3 kJ", "100 %")]
    heads = [printed(width, row)[0].split() for width in range(60, 29, -1)]
    assert [len(one) for one in heads] == sorted((len(one) for one in heads), reverse=True)
    assert heads[0] == list(HEADS)
    assert heads[-1] == ["step", "energy", "share"]


def test_a_name_that_is_indented_stays_so_on_each_of_its_lines():
    _, *lines = printed(30, [("    a name of several words that folds", "ok", "1.00 s", "1.00 J", "1 %")])
    assert len(lines) > 1
    assert all(line.startswith("    ") and line[4] != " " for line in lines)


def test_a_name_that_is_indented_by_more_than_there_is_room_for_is_still_there():
    lines = printed(30, [(" " * 40 + "deep", "ok", "1.00 s", "1.00 J", "1 %")])
    assert any("deep" in line for line in lines)
