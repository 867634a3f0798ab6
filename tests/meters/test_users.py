"""Who uses a pool of processes: the pieces that run are the oldest that are not done."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.meters.account import Account, Role
from e2s_tasks.meters.users import MANY, Part, Users

FLOW, STEP = Account(Role.FLOW), Account(Role.ATTEMPT)


def users(slots, latest=None):
    made = Users(latest)
    made.slots = slots
    return made


def test_a_step_whose_piece_waits_behind_those_of_its_flow_uses_nothing_yet():
    pool = users(2)
    for piece in range(1, 4):
        pool.tell(0, piece, FLOW, 1)
    pool.tell(0, 4, STEP, 1)
    assert pool.take(10) == {FLOW: Part(20)}
    pool.tell(10, 1, FLOW, 0)
    assert pool.take(20) == {FLOW: Part(20)}
    pool.tell(20, 2, FLOW, 0)
    assert pool.take(30) == {FLOW: Part(10, 10), STEP: Part(10, 10)}
    pool.tell(30, 3, FLOW, 0)
    assert pool.take(40) == {STEP: Part(10)}


def test_of_pieces_that_were_given_as_one_as_many_run_as_there_are_processes():
    pool = users(3)
    pool.tell(0, 1, FLOW, 5)
    pool.tell(0, 2, STEP, 1)
    pool.tell(10, 1, FLOW, 2)
    assert pool.take(20) == {FLOW: Part(50, 20), STEP: Part(10, 10)}


def test_those_who_came_one_after_the_other_have_nothing_in_common():
    pool = users(2)
    pool.tell(0, 1, FLOW, 1)
    pool.tell(10, 1, FLOW, 0)
    pool.tell(20, 2, STEP, 1)
    assert pool.take(25) == {FLOW: Part(10), STEP: Part(5)}


def test_while_nothing_is_to_be_done_it_is_of_who_had_something_done_last():
    pool = users(1, latest=FLOW)
    assert pool.take(10) == {FLOW: Part(1)}
    pool.tell(10, 1, STEP, 1)
    pool.tell(20, 1, STEP, 0)
    assert pool.take(20) == {STEP: Part(10)}
    assert pool.take(30) == {STEP: Part(1)}
    pool.tell(30, 2, None, 1)
    pool.tell(31, 2, None, 0)
    assert pool.take(40) == {None: Part(1)}


def test_it_says_when_many_events_wait_to_be_followed():
    pool = users(1)
    assert [pool.tell(0, piece, None, 1) for piece in range(1, MANY + 2)] == [False] * MANY + [True]
    pool.replay()
    assert not pool.tell(0, 1, None, 0)


def test_a_piece_that_a_process_died_of_takes_no_place_for_ever():
    pool = users(2)
    pool.tell(0, 1, FLOW, 1)
    pool.tell(0, 2, STEP, 3)
    pool.lose(10, 1)  # of the flow's, as is seen once others are done
    pool.take(10)
    pool.tell(20, 2, STEP, 2)
    pool.take(20)
    assert pool.take(30) == {STEP: Part(20)}
    pool.tell(30, 2, STEP, 0)
    assert pool.take(40) == {STEP: Part(1)}


def test_who_comes_to_a_pool_where_others_have_work_is_told_apart_from_them():
    pool = users(2)
    assert pool.is_shared_with(FLOW)
    pool.tell(0, 1, FLOW, 1)
    pool.replay()
    assert not pool.is_shared_with(FLOW)
    assert pool.is_shared_with(STEP)
    pool.tell(0, 2, STEP, 1)
    assert pool.is_shared_with(STEP)  # since the flow has work there
    pool.replay()
    assert pool.is_shared_with(FLOW)


def test_who_asks_in_the_middle_of_a_question_changes_nothing_of_its_answer(monkeypatch):
    pool, found = users(1), []
    pool.tell(0, 1, FLOW, 1)
    pool.tell(10, 1, FLOW, 0)
    follow = pool._follow

    def interrupted(*event):
        found.append((pool.take(20), pool.users()))
        follow(*event)

    monkeypatch.setattr(pool, "_follow", interrupted)
    assert pool.take(20) == {FLOW: Part(10)}
    assert len(found) == 2


def test_an_event_in_the_middle_of_which_somebody_raises_is_followed_the_next_time(monkeypatch):
    pool = users(1)
    pool.tell(0, 1, FLOW, 1)
    pool.tell(10, 1, FLOW, 0)
    with monkeypatch.context() as patched:
        patched.setattr(pool, "_run", lambda now: 1 / (now - 10))
        with pytest.raises(ZeroDivisionError):
            pool.take(20)
    assert pool.users() == []


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6), st.sampled_from([None, FLOW, STEP]), st.integers(0, 3)),
                max_size=30), st.integers(1, 4), st.integers(0, 5))  # fmt: skip
def test_each_moment_as_many_pieces_run_as_there_can_and_the_oldest_first(events, slots, rest):
    pool, now, truth, told = users(slots), 0, Counter(), {}
    whose_of = {}

    def passes(ns):
        free = slots
        for piece, left in told.items():
            truth[whose_of[piece]] += min(left, free) * ns
            free -= min(left, free)

    for after, piece, whose, left in events:
        passes(after)
        now += after
        whose_of.setdefault(piece, whose)
        pool.tell(now, piece, whose_of[piece], left)
        if left:
            told[piece] = left
        elif told.pop(piece, None) is not None:
            whose_of.pop(piece)
        else:
            whose_of.pop(piece)
    passes(rest)
    found = pool.take(now + rest)
    ran = {whose: part.ns for whose, part in found.items()}
    assert ran == {whose: ns for whose, ns in truth.items() if ns} or (not +truth and sum(ran.values()) == 1)
    assert all(0 <= part.beside_ns <= part.ns for part in found.values())


def test_who_has_ended_is_not_kept_by_what_is_told_of_its_work_later():
    pool, account = Users(None), Account(Role.SPAN)
    pool.tell(0, 1, account, 1)
    assert pool.lately == {account}
    account.closed_ns = 1
    pool.lately.discard(account)
    pool.tell(2, 1, account, 0)
    pool.tell(3, 2, None, 1)
    assert pool.lately == set()
