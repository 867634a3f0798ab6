"""What waiting avoided where single steps of a run waited."""

from dataclasses import replace

import pytest

from e2s_tasks.core.records import LAST_BEGAN, MOVED, DecisionRecord, Kind
from e2s_tasks.core.waits import alone, length, step_waits
from e2s_tasks.reporter import waiting
from e2s_tasks.reporter.grid import WAITED
from e2s_tasks.reporter.summary import summarise
from e2s_tasks.reporter.tally import tally
from tests.reporter.runs import RUN, root, run, span

KWH = 3.6e6
HOUR = 3600.0
GRID = [[0.0, 2 * HOUR, 200.0], [2 * HOUR, 4 * HOUR, 100.0], [4 * HOUR, 9 * HOUR, 300.0]]


def decision(step, at=1.0, start=2 * HOUR, *, arrived=0.0, **plan):
    """A step is to wait from 0:00 to 2:00, from 200 to 90 expected gCO2eq/kWh."""
    return DecisionRecord(
        f"{step} {at}", RUN, at, "average, direct", "somebody", "why", "GB", 200.0, start, None, 90.0, 210.0,
        {"slots": GRID, "arrived": arrived, "step": step, "waits": True, **plan},
    )  # fmt: skip


def attempt(step, begin, end, kwh=1.0, **fields):
    """An attempt of a step, or a stretch of one, of so many kWh."""
    given = {"task_run_id": step, "task_key": f"dag.{step}", "started_at": begin * HOUR, "ended_at": end * HOUR}
    return span(f"{step} {begin}", cpu_j=kwh * KWH, **given | fields)


def process(begin, end, kwh=0.0, **fields):
    """The process of an attempt."""
    times = {"started_at": begin * HOUR, "ended_at": end * HOUR, "cpu_j": kwh * KWH}
    return span(f"process {begin}", Kind.ORCHESTRATION, **times | fields)


def dag_run(*spans, decisions, **of_root):
    return run(root(cpu_j=0.0, started_at=0.0, ended_at=9 * HOUR, **of_root), *spans, decisions=decisions)


def waited(*spans, decisions):
    return summarise(dag_run(*spans, decisions=decisions))["waited"]


def test_the_tasks_that_waited_are_compared_each_with_itself_at_its_arrival():
    found = waited(
        attempt("waits", 0.0, 0.001, 0.0, status="suspended"),
        attempt("waits", 2.0, 3.0),
        attempt("waits too", 0.0, 0.001, 0.0, status="suspended"),
        attempt("waits too", 2.5, 3.5, 3.0),
        attempt("does not", 1.0, 3.0, 5.0),
        decisions=[decision("waits"), decision("waits too")],
    )
    assert found.keys() == set(WAITED)
    assert found["avoided_g"] == pytest.approx((1 + 3) * (200 - 100))
    assert found["predicted_avoided_g"] == pytest.approx((1 + 3) * (210 - 90))
    assert (found["realised_gco2eq_per_kwh"], found["would_have_been_gco2eq_per_kwh"]) == (
        pytest.approx(100), pytest.approx(200)
    )  # fmt: skip
    assert found["waited_s"] == 2.5 * HOUR
    assert found["began_at"] == "1970-01-01T02:00:00+00:00"


def test_a_wait_is_compared_by_the_grid_for_which_it_waited_and_not_by_that_of_another_task():
    nowhere = replace(decision("of no zone", at=5.0), zone="XX-NOWHERE", intensity=None, source="none")
    nowhere.plan = {"rung": "nothing", "step": "of no zone", "waits": False}
    france = replace(
        decision("does not", at=6.0), zone="FR", plan={"slots": [[0.0, 9 * HOUR, 10.0]], "step": "does not"}
    )
    found = waited(
        attempt("waits", 0.0, 0.001, 0.0, status="suspended"), attempt("waits", 2.0, 3.0),
        decisions=[decision("waits"), nowhere, france],
    )  # fmt: skip
    assert found["avoided_g"] == pytest.approx(200 - 100)


def test_a_wait_of_less_than_a_minute_is_told_with_seconds():
    second = 1 / HOUR
    summary = summarise(
        dag_run(
            attempt("waits", 0.0, 0.5 * second, 0.0, status="suspended"), attempt("waits", 40 * second, 1.0),
            decisions=[decision("waits", at=0.1, start=40.0)],
        )
    )  # fmt: skip
    assert waiting.carbon(summary).startswith("began at 00:00:40 UTC instead of 00:00:00 UTC")


def test_all_stretches_after_the_wait_and_what_is_inside_them_count():
    found = waited(
        attempt("waits", 0.0, 0.001, 0.0, status="suspended"),
        attempt("waits", 2.0, 2.5, 1.0, status="suspended"),
        span("inside", Kind.SPAN, parent_id="waits 2.0", cpu_j=KWH, started_at=2 * HOUR, ended_at=2.5 * HOUR),
        attempt("waits", 3.0, 3.5, 2.0),
        decisions=[decision("waits")],
    )
    assert found["avoided_g"] == pytest.approx((1 + 1 + 2) * (200 - 100))


def test_a_task_is_compared_with_the_hours_that_it_would_have_met_by_its_own_length():
    found = waited(attempt("waits", 2.0, 5.0, 3.0), decisions=[decision("waits")])
    assert found["avoided_g"] == pytest.approx((200 + 200 + 100) - (100 + 100 + 300))


def test_what_waiting_used_itself_is_taken_off():
    spans = [
        process(0.0, 0.1, 0.5, attributes={MOVED: True}),
        attempt("waits", 0.0, 0.1, 0.5, parent_id="process 0.0", status="suspended"),
        attempt("waits", 2.0, 3.0, 2.0),
    ]
    summary = summarise(dag_run(*spans, decisions=[decision("waits")]))
    assert summary["waiting_j"] == pytest.approx(1.0 * KWH)
    assert summary["waited"]["waiting_g"] == pytest.approx(200)
    assert summary["waited"]["avoided_g"] == pytest.approx(2 * 100 - 200)
    assert tally(dag_run(*spans, decisions=[decision("waits")]), lambda _: None).avoided_g == pytest.approx(0)
    assert "waited 2 h" in waiting.waited(summary)


def test_what_waiting_used_itself_is_told_by_the_zone_for_which_each_task_waited():
    spans = [
        process(0.0, 0.1, 0.5, attributes={MOVED: True}),
        attempt("waits", 0.0, 0.1, 0.5, parent_id="process 0.0", status="suspended"), attempt("waits", 2.0, 3.0, 2.0),
        process(0.2, 0.3, 1.0, attributes={MOVED: True}),
        attempt("in France", 0.2, 0.3, 2.0, parent_id="process 0.2", status="suspended"),
        attempt("in France", 2.0, 3.0, 2.0),
    ]  # fmt: skip
    there = decision("in France", at=0.25 * HOUR, slots=[[0.0, 9 * HOUR, 10.0]])
    there = replace(there, zone="FR", intensity=10.0)
    found = waited(*spans, decisions=[decision("waits"), there])
    assert found["waiting_g"] == pytest.approx(1.0 * 200 + 3.0 * 10)
    assert found["avoided_g"] == pytest.approx(2 * (200 - 100) - 1.0 * 200 - 3.0 * 10)


def test_where_the_whole_run_waited_all_that_came_after_counts():
    found = waited(
        attempt("looks", 0.0, 0.5, 7.0),
        attempt("first", 2.0, 3.0),
        process(3.0, 3.5, 1.0),
        attempt("second", 3.0, 3.5, 2.0),
        decisions=[decision("first", whole_run=True)],
    )
    assert found["avoided_g"] == pytest.approx((1 + 1 + 2) * (200 - 100))


def test_a_task_with_a_wait_of_its_own_was_held_back_by_both():
    found = waited(
        attempt("first", 2.0, 3.0),
        attempt("second", 5.0, 6.0),
        decisions=[
            decision("first", whole_run=True),
            decision("second", 3 * HOUR + 1, 5 * HOUR, arrived=3 * HOUR),
        ],
    )
    assert found["avoided_g"] == pytest.approx((200 - 100) + (200 - 300))  # the second would have run at 1:00


def test_of_a_task_that_only_waits_what_follows_it_was_held_back():
    found = waited(
        attempt("sensor", 2.0, 2.001, 0.0),
        attempt("train", 2.5, 3.5, 2.0),
        attempt("beside", 2.5, 3.5, 5.0),
        decisions=[decision("sensor", held_back=["dag.train"])],
    )
    assert found["avoided_g"] == pytest.approx(2 * (200 - 100))


def test_of_what_the_run_begins_with_what_comes_after_it_was_held_back_and_no_other_branch():
    found = waited(
        attempt("first", 2.0, 3.0),
        attempt("exempt", 0.0, 2.0, 9.0),
        attempt("after it", 2.5, 3.5, 9.0),
        process(2.5, 3.5, 1.0),
        attempt("second", 2.5, 3.5, 2.0, parent_id="process 2.5"),
        decisions=[decision("first", whole_run=True, held_back=["dag.second"])],
    )
    assert found["avoided_g"] == pytest.approx((1 + 1 + 2) * (200 - 100))


def test_where_a_run_begins_with_several_tasks_each_held_back_what_comes_after_it():
    found = waited(
        attempt("first", 2.0, 2.5),
        attempt("last", 3.5, 4.0),
        attempt("after the first", 2.5, 3.0),
        attempt("after both", 4.0, 5.0, 2.0),
        decisions=[
            decision("first", whole_run=True, held_back=["dag.after the first", "dag.after both"]),
            decision("last", whole_run=True, held_back=["dag.after both"]),
        ],
    )
    assert found["avoided_g"] == pytest.approx(100 + 100 + 100 + 2 * (200 - 300))  # the last two: at 0:00 and 0:30


def test_a_task_that_waits_after_a_sensor_was_held_back_by_both():
    found = waited(
        attempt("sensor", 2.0, 2.001, 0.0),
        attempt("train", 4.0, 5.0, 2.0),
        decisions=[
            decision("sensor", held_back=["dag.train"]),
            replace(decision("train", 2 * HOUR + 1, 4 * HOUR, arrived=2 * HOUR), run_now=100.0, expected=290.0),
        ],
    )
    assert found["avoided_g"] == pytest.approx(2 * (200 - 300))
    assert found["predicted_avoided_g"] == pytest.approx(2 * (210 - 290))


def test_the_process_in_which_a_task_after_a_sensor_comes_to_wait_itself_is_no_work():
    summary = summarise(dag_run(
        attempt("sensor", 2.0, 2.001, 0.0),
        process(2.0, 2.1, 0.5, attributes={MOVED: True}),
        attempt("train", 2.0, 2.1, 0.5, parent_id="process 2.0", status="suspended"), attempt("train", 4.0, 5.0),
        decisions=[
            decision("sensor", held_back=["dag.train"]),
            decision("train", 2 * HOUR + 10, 4 * HOUR, arrived=2 * HOUR + 5),
        ],
    ))  # fmt: skip
    found = summary["waited"]
    assert found["predicted_avoided_g"] == pytest.approx(210 - 90)
    assert found["avoided_g"] + found["waiting_g"] == pytest.approx(200 - 300, rel=1e-2)


def test_a_task_that_had_arrived_before_a_sensor_was_done_was_not_held_back_by_it():
    found = waited(
        attempt("sensor", 2.0, 2.001, 0.0),
        attempt("train", 4.0, 5.0),
        decisions=[
            decision("sensor", held_back=["dag.train"]),
            decision("train", 1.5 * HOUR + 1, 4 * HOUR, arrived=1.5 * HOUR),
        ],
    )
    assert found["avoided_g"] == pytest.approx((0.5 * 200 + 0.5 * 100) - 300)


def test_of_two_sensors_side_by_side_the_time_in_which_any_of_them_waited_counts_once():
    found = waited(
        attempt("short", 1.0, 1.001, 0.0),
        attempt("long", 2.0, 2.001, 0.0),
        attempt("train", 2.5, 3.5),
        decisions=[decision("short", held_back=["dag.train"]), decision("long", held_back=["dag.train"])],
    )
    assert found["avoided_g"] == pytest.approx(200 - 100)


def lives(*begun):
    """A run that began at these hours: its root, which knows of the first and the last, and what its attempts know."""
    return {"process_id": RUN, "attributes": {LAST_BEGAN: begun[-1] * HOUR}}, [
        {"attributes": {LAST_BEGAN: one * HOUR}} for one in begun
    ]


def test_a_run_that_was_cleared_and_did_not_wait_again_has_avoided_no_more():
    of_root, (first, second, third) = lives(0.0, 5.0, 7.0)
    records = dag_run(
        attempt("waits", 2.0, 3.0, **first), attempt("waits", 5.0, 6.0, 4.0, **second),
        attempt("next", 5.0, 6.0, **second), attempt("waits", 7.0, 8.0, 4.0, **third),
        decisions=[decision("waits", whole_run=True, held_back=["dag.next"])], **of_root,
    )  # fmt: skip
    found = summarise(records)["waited"]
    assert (found["avoided_g"], found["waited_s"]) == (pytest.approx(200 - 100), 2 * HOUR)
    for one in records.spans[1:]:
        one.attributes = {}  # as they once were: the run itself tells of its last life
    assert summarise(records)["waited"]["avoided_g"] == pytest.approx(200 - 100 + (4 + 1) * (100 - 300))


def test_a_run_that_waits_in_its_second_life_too_is_compared_with_each_arrival():
    of_root, (first, second) = lives(0.0, 2.5)
    found = summarise(dag_run(
        attempt("waits", 2.0, 2.5, **first), attempt("waits", 4.0, 5.0, **second), **of_root,
        decisions=[decision("waits"), decision("waits", 2.5 * HOUR + 1, 4 * HOUR, arrived=2.5 * HOUR)],
    ))["waited"]  # fmt: skip
    assert found["avoided_g"] == pytest.approx((200 - 100) + (100 - 300))


def test_a_wait_that_ended_with_its_run_is_not_told_of_one_that_was_cleared_and_began_at_once():
    of_root, (first, second) = lives(0.0, 2.0)
    spans = [attempt("waits", 0.0, 0.001, 0.0, **first), attempt("waits", 2.0, 3.0, **second)]
    assert summarise(dag_run(*spans, decisions=[decision("waits")], **of_root))["waited"] is None


def test_a_run_whose_tasks_wait_still_has_avoided_nothing_yet():
    spans = [attempt("waits", 0.0, 0.001, 0.0, name="waits", status="suspended")]
    summary = summarise(dag_run(*spans, decisions=[decision("waits")]))
    assert (summary["waited"]["began_at"], summary["waited"]["avoided_g"]) == (None, None)
    assert waiting.waited(summary) == "`waits` has not begun: it was to wait for a cleaner grid"


def test_a_task_that_waits_while_others_ran_is_named_and_the_run_is_not_said_not_to_have_begun():
    spans = [attempt("id", 0.0, 0.001, 0.0, name="train", status="suspended"), attempt("extract", 0.0, 0.5)]
    records = dag_run(*spans, decisions=[decision("id")])
    records.spans[0].status, records.spans[0].ended_at = "running", None
    summary = summarise(records)
    assert summary["waited"]["not_begun"] == [{"step": "train", "until": "1970-01-01T02:00:00+00:00"}]
    assert waiting.waited(summary) == "`train` waits for a cleaner grid until 02:00 UTC"
    assert waiting.carbon(summary).startswith("`train` waits for a cleaner grid until 02:00 UTC, instead of beginning")
    records.spans[0].status, records.spans[0].ended_at = "failed", HOUR
    summary = summarise(records)
    assert waiting.waited(summary) == "`train` has not begun: it was to wait for a cleaner grid"
    assert "`train` was to begin at 02:00 UTC instead of 00:00 UTC, and has not begun" in waiting.carbon(summary)


def test_a_task_that_somebody_has_marked_waits_no_more():
    marked = replace(decision("marked", HOUR, waits=False), start=None, intensity=None)
    marked.plan = {"step": "marked", "waits": False}
    records = dag_run(decisions=[decision("marked"), decision("waits"), marked])
    records.spans[0].status = "running"
    summary = summarise(records)
    assert [one["step"] for one in summary["waited"]["not_begun"]] == ["waits"]
    assert waiting.waited(summary) == "`waits` waits for a cleaner grid until 02:00 UTC"
    assert summarise(dag_run(decisions=[decision("marked"), marked]))["waited"] is None


def test_a_task_that_was_marked_after_it_had_begun_has_waited():
    marked = replace(decision("waits", 2.5 * HOUR), plan={"step": "waits", "waits": False}, start=None)
    assert waited(attempt("waits", 2.0, 3.0), decisions=[decision("waits"), marked])["waited_s"] == 2 * HOUR


def test_what_waits_still_is_told_beside_what_has_begun():
    records = dag_run(attempt("begun", 1.0, 3.0), decisions=[decision("begun"), decision("waits", start=4 * HOUR)])
    records.spans[0].status = "running"
    said = waiting.waited(summarise(records))
    assert said.startswith("waited 1 h 0 min for a cleaner grid: ")
    assert said.endswith("; `waits` waits for a cleaner grid until 04:00 UTC")


def test_of_many_tasks_that_wait_the_first_are_named():
    steps = ["a", "b", "c", "d"]
    records = dag_run(decisions=[decision(one, start=(2 + n) * HOUR) for n, one in enumerate(steps)])
    records.spans[0].status = "running"
    said = waiting.waited(summarise(records))
    assert said == "`a`, `b` and 2 more wait for a cleaner grid, the first until 02:00 UTC"


def test_a_run_that_waits_as_a_whole_is_not_told_by_its_task():
    records = dag_run(decisions=[decision("first", whole_run=True)])
    records.spans[0].status = "running"
    assert waiting.waited(summarise(records)) == "waits for a cleaner grid until 02:00 UTC"


def test_tasks_that_were_not_to_wait_did_not():
    assert waited(attempt("retried", 0.0, 0.5), attempt("retried", 2.0, 3.0), decisions=[
        decision("retried", waits=False)
    ]) is None  # fmt: skip


def test_what_a_part_emitted_unknown_makes_the_sum_unknown():
    found = waited(
        attempt("waits", 2.0, 3.0),
        span("no meter", task_run_id="unknown", started_at=2 * HOUR, ended_at=3 * HOUR),
        decisions=[decision("waits"), decision("unknown")],
    )
    assert found["avoided_g"] is None
    assert found["waited_s"] == 2 * HOUR


def test_a_decision_that_moved_the_start_meanwhile_tells_what_was_expected_last():
    moved = decision("waits", HOUR, 3 * HOUR)
    moved.expected = 80.0
    found = waited(attempt("waits", 3.0, 4.0), decisions=[decision("waits"), moved])
    assert found["predicted_gco2eq_per_kwh"] == 80
    assert found["waited_s"] == 3 * HOUR


def test_a_step_begins_with_its_first_attempt_after_the_decision():
    (wait,) = step_waits([decision("waits", 5.0)], {"waits": [4.0, 100.0, 200.0]})
    assert (wait.arrived, wait.began, wait.delay_s) == (0.0, 100.0, 100.0)
    (wait,) = step_waits([decision("waits", 5.0)], {})
    assert (wait.began, wait.delay_s) == (None, 0.0)


def test_intervals_are_counted_once_and_only_where_nothing_else_goes_on():
    assert length([(0, 2), (1, 3), (5, 6)]) == 4
    assert alone([(0, 10), (5, 12)], [(2, 3), (11, 20)]) == 10
