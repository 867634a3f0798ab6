"""Measured tasks and flows under a real Prefect server."""

import asyncio
import functools
import inspect
import subprocess
import sys
import time

import pytest
from prefect import flow, task
from prefect.futures import wait
from prefect.tasks import task_input_hash

from e2s_tasks import CarbonPolicy, e2s_flow, e2s_task, record_outcome, span
from e2s_tasks.errors import SettingError
from e2s_tasks.io import write_parquet
from e2s_tasks.ledger import Ledger
from e2s_tasks.recorder import process_recorder
from e2s_tasks.reporter import summarise
from e2s_tasks.settings import settings


def attempts(run, name=None):
    return [s for s in run.spans if s.kind == "attempt" and (name is None or s.name == name)]


def root(run):
    (found,) = [s for s in run.spans if s.kind == "flow" and s.parent_id is None]
    return found


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@e2s_task
def plain(x):
    burn(0.02)
    return x + 1


@e2s_task(name="with options", retries=1, retry_delay_seconds=0)
def flaky(state):
    state.append(1)
    burn(0.02)
    if len(state) == 1:
        raise ValueError("the first attempt fails")
    return len(state)


def run_id_of(state):
    return state.state_details.flow_run_id


def test_a_flow_run_and_its_task_runs_are_spans_of_one_run(ledger_run):
    @e2s_flow(solution="adding")
    def adding():
        return plain(plain(1))

    state = adding(return_state=True)
    assert state.result() == 3
    run = ledger_run(run_id_of(state))
    flow_span = root(run)
    assert (flow_span.name, flow_span.status, flow_span.solution) == ("adding", "completed", "adding")
    assert [s.status for s in attempts(run)] == ["completed", "completed"]
    assert {s.parent_id for s in attempts(run)} == {flow_span.id}
    assert all(s.cpu_ns >= 0.02e9 for s in attempts(run))
    assert all(s.cpu_j > 0 for s in attempts(run))


def test_each_attempt_of_a_retried_task_is_a_span_and_the_failed_one_keeps_its_energy(ledger_run):
    @e2s_flow
    def retrying():
        return flaky([])

    state = retrying(return_state=True)
    assert state.result() == 2
    first, second = sorted(attempts(ledger_run(run_id_of(state))), key=lambda s: s.attempt)
    assert (first.status, second.status) == ("failed", "completed")
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.task_run_id == second.task_run_id
    assert first.cpu_j > 0


def test_the_result_of_one_task_handed_to_another_is_an_edge(ledger_run):
    @e2s_flow
    def chained():
        first = plain.submit(1)
        return plain.submit(first).result()

    state = chained(return_state=True)
    run = ledger_run(run_id_of(state))
    first, second = sorted(attempts(run), key=lambda s: s.started_at)
    assert [(e.upstream, e.downstream) for e in run.edges] == [(first.task_run_id, second.task_run_id)]


def test_four_concurrent_tasks_get_the_cpu_seconds_that_they_used(ledger_run):
    used = {}

    @e2s_task
    def burning(seconds):
        before = time.thread_time()
        burn(seconds)
        used[seconds] = time.thread_time() - before

    @e2s_flow
    def concurrent():
        wait([burning.submit(seconds) for seconds in (0.1, 0.2, 0.3, 0.4)])

    run = ledger_run(run_id_of(concurrent(return_state=True)))
    measured = sorted(s.cpu_ns / 1e9 - s.shared_cpu_ns / 1e9 for s in attempts(run))
    truth = [used[s] for s in (0.1, 0.2, 0.3, 0.4)]
    assert all(m >= t for m, t in zip(measured, truth, strict=True))
    # the orchestrator's own threads count to the last task while it is the only one
    assert sum(measured) == pytest.approx(sum(truth), abs=0.08)


def test_coroutines_on_one_loop_are_measured_apart(ledger_run):
    @e2s_task
    async def burning(seconds):
        for _ in range(4):
            burn(seconds / 4)
            await asyncio.sleep(0.01)
        return seconds

    @e2s_flow
    async def concurrent():
        return await asyncio.gather(burning(0.1), burning(0.3))

    state = asyncio.run(concurrent(return_state=True))
    spans = sorted(attempts(ledger_run(run_id_of(state))), key=lambda s: s.cpu_ns)
    own = [(s.cpu_ns - s.shared_cpu_ns) / 1e9 for s in spans]
    assert own == pytest.approx([0.1, 0.3], abs=0.03)


def test_a_generator_task_is_measured_while_it_makes_its_items(ledger_run):
    @e2s_task
    def counting(n):
        for number in range(n):
            burn(0.02)
            yield number

    @e2s_flow
    def consuming():
        total = 0
        for number in counting(3):
            burn(0.05)
            total += number
        return total

    state = consuming(return_state=True)
    assert state.result() == 3
    run = ledger_run(run_id_of(state))
    (generator,) = attempts(run)
    assert generator.status == "completed"
    assert generator.cpu_ns / 1e9 == pytest.approx(0.06, abs=0.04)
    assert root(run).cpu_ns / 1e9 >= 0.15


def test_an_async_generator_task_works_as_it_did(ledger_run):
    @e2s_task
    async def counting(n):
        for number in range(n):
            await asyncio.sleep(0)
            yield number

    @e2s_flow
    async def consuming():
        return [number async for number in counting(3)]

    state = asyncio.run(consuming(return_state=True))
    run = ledger_run(run_id_of(state))
    assert asyncio.run(state.aresult()) == [0, 1, 2]
    assert [s.status for s in attempts(run)] == ["completed"]


def test_an_existing_task_and_an_existing_flow_can_be_measured(ledger_run):
    @task(tags=["old"], retries=2)
    def old_task(x):
        return x * 2

    measured = e2s_task(old_task)
    assert measured.tags == {"old"}
    assert measured.retries == 2
    assert measured.task_key == old_task.task_key

    @flow(name="old flow", retries=1)
    def old_flow():
        return measured(2)

    state = e2s_task(old_flow)(return_state=True)
    run = ledger_run(run_id_of(state))
    assert root(run).name == "old flow"
    assert [s.name for s in attempts(run)] == ["old_task"]


def test_other_options_make_another_measured_task():
    other = plain.with_options(name="renamed", retries=3)
    assert (other.name, other.retries, type(other)) == ("renamed", 3, type(plain))
    assert other.task_key == plain.task_key


def test_other_options_make_another_measured_flow():
    @e2s_flow(carbon=CarbonPolicy(zone="GB", max_delay="1h", expected_duration="5m"), solution="s")
    def original():
        return 1

    other = original.with_options(name="renamed", retries=2)
    assert (other.name, other.retries, other.solution) == ("renamed", 2, "s")
    assert other.carbon == original.carbon
    assert other() == 1


@pytest.mark.parametrize("solution", ["", " ", 3])
def test_a_solution_has_a_name(solution):
    with pytest.raises(SettingError, match="names nothing"):
        e2s_flow(solution=solution)(lambda: 1)
    with pytest.raises(SettingError, match="names nothing"):
        e2s_flow(lambda: 1).with_options(solution=solution)


def test_a_cached_task_run_costs_no_new_joules_and_names_the_result_it_reused(ledger_run, tmp_path):
    @e2s_task(cache_key_fn=task_input_hash, persist_result=True, result_storage_key=None)
    def expensive(x):
        burn(0.05)
        return x

    @e2s_flow
    def caching(x):
        return expensive(x)

    value = str(tmp_path)
    first = ledger_run(run_id_of(caching(value, return_state=True)))
    second = ledger_run(run_id_of(caching(value, return_state=True)))
    (made,), (reused,) = attempts(first), attempts(second)
    assert (made.status, reused.status) == ("completed", "cached")
    assert made.result_key == reused.result_key is not None
    assert reused.energy.total == 0
    assert reused.cpu_ns == 0


def test_a_result_reused_within_its_run_repeats_its_outcome_and_is_credited_with_nothing(ledger_run, tmp_path):
    @e2s_task(cache_key_fn=task_input_hash, persist_result=True)
    def score(x):
        record_outcome(units=10, name="prediction")
        return x

    @e2s_flow
    def twice(x):
        return score(x), score(x)

    summary = summarise(ledger_run(run_id_of(twice(str(tmp_path), return_state=True))))
    assert [one["result_from"] for one in summary["spans"] if one["status"] == "cached"] == ["this_run"]
    assert summary["avoided_j"] == 0.0
    assert summary["kpis"]["joules_per_prediction"]["denominator"] == 20.0


def test_rows_added_to_a_data_set_stand_on_the_version_that_they_were_added_to(ledger_run, tmp_path):
    import pandas as pd

    @e2s_task
    def add(month):
        burn(0.05)
        frame = pd.DataFrame({"month": [month] * 10, "x": range(10)})
        write_parquet(frame, tmp_path / "months.parquet", partition_cols=["month"])

    @e2s_flow
    def adding():
        add(1)
        add(2)

    summary = summarise(ledger_run(run_id_of(adding(return_state=True))))
    first, second = summary["artifacts"]
    assert [(one["version"], one["rows"], one["final"]) for one in (first, second)] == [(1, 10, False), (2, 20, True)]
    assert second["in_run_j"] == pytest.approx(summary["energy_j"]["total"])
    assert 0 < first["in_run_j"] < second["in_run_j"]
    assert not second["lower_bound"]


def test_two_functions_with_the_same_inputs_do_not_share_a_cache():
    @e2s_task(cache_key_fn=task_input_hash, persist_result=True)
    def double(x):
        return 2 * x

    @e2s_task(cache_key_fn=task_input_hash, persist_result=True)
    def triple(x):
        return 3 * x

    @e2s_flow
    def both(x):
        return double(x), triple(x)

    assert both(7) == (14, 21)


def test_exceptions_of_a_task_reach_the_user_unchanged(ledger_run):
    class OddError(Exception):
        pass

    @e2s_task
    def failing():
        raise OddError("as it was")

    @e2s_flow
    def failing_flow():
        failing()

    state = failing_flow(return_state=True)
    with pytest.raises(OddError, match="as it was"):
        state.result()
    run = ledger_run(run_id_of(state))
    assert (root(run).status, attempts(run)[0].status) == ("failed", "failed")


def test_a_task_that_raises_what_ends_iterators_has_failed_as_for_prefect(ledger_run):
    @e2s_task
    def empty():
        next(iter([]))

    @e2s_flow
    def of_nothing():
        empty()

    state = of_nothing(return_state=True)
    run = ledger_run(run_id_of(state))
    assert state.is_failed()
    assert (root(run).status, attempts(run)[0].status) == ("failed", "failed")


def test_a_task_that_exceeds_its_time_is_shown_as_timed_out(ledger_run):
    @e2s_task(timeout_seconds=0.2)
    def slow():
        for _ in range(100):
            time.sleep(0.02)

    @e2s_flow
    def hurried():
        slow()

    run = ledger_run(run_id_of(hurried(return_state=True)))
    assert [s.status for s in attempts(run)] == ["timed_out"]


def test_a_subflow_and_a_nested_task_belong_to_the_root_run(ledger_run):
    @e2s_task
    def outer():
        return plain(1)

    @e2s_flow
    def inner_flow():
        return outer()

    @e2s_flow
    def outer_flow():
        with span("a block"):
            burn(0.01)
        return inner_flow()

    state = outer_flow(return_state=True)
    run = ledger_run(run_id_of(state))
    by_name = {s.name: s for s in run.spans}
    assert by_name["plain"].parent_id == by_name["outer"].id
    assert by_name["outer"].parent_id == by_name["inner-flow"].id
    assert by_name["inner-flow"].parent_id == by_name["outer-flow"].id
    assert by_name["a block"].parent_id == by_name["outer-flow"].id
    assert {s.run_id for s in run.spans} == {str(run_id_of(state))}


def test_tasks_in_a_map_are_all_there(ledger_run):
    @e2s_flow
    def mapping():
        return plain.map(range(20)).result()

    state = mapping(return_state=True)
    assert state.result() == list(range(1, 21))
    assert len(attempts(ledger_run(run_id_of(state)))) == 20


def test_methods_and_static_methods_can_be_tasks():
    class Work:
        factor = 3

        @e2s_task
        def times(self, x):
            return self.factor * x

        @e2s_task
        @staticmethod
        def double(x):
            return 2 * x

    @e2s_flow
    def using():
        work = Work()
        return work.times(2), Work.double(2)

    assert using() == (6, 4)


class Doubled:
    """An object that is called."""

    def __call__(self, x):
        return 2 * x


async def add(x, y):
    return x + y


@pytest.mark.parametrize(
    ("work", "result"), [(Doubled(), 6), (functools.partial(add, y=2), 5), (functools.partial(divmod, 7), (2, 1))]
)
def test_objects_that_are_called_and_partials_can_be_tasks(ledger_run, work, result):
    measured = [e2s_task(work, name="one"), e2s_task(task(work, name="two"))]

    @e2s_flow
    async def calling():
        return [await one if inspect.isawaitable(one) else one for one in (each(3) for each in measured)]

    state = asyncio.run(calling(return_state=True))
    assert state.result() == [result, result]
    assert {one.name for one in attempts(ledger_run(run_id_of(state)))} == {"one", "two"}


def test_flow_parameters_are_validated_as_before():
    @e2s_flow
    def typed(n: int, name: str = "x"):
        return n + 1, name

    assert typed("4") == (5, "x")
    assert set(typed.parameters.properties) == {"n", "name"}


def test_annotations_that_are_texts_are_resolved_as_before(tmp_path, monkeypatch):
    module = tmp_path / "annotated.py"
    module.write_text(
        "from __future__ import annotations\n"
        "from e2s_tasks import e2s_flow\n"
        "Number = int\n"
        "@e2s_flow\n"
        "def typed(n: Number) -> Number:\n"
        "    return n + 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import annotated

    assert annotated.typed("4") == 5


def test_a_plain_call_outside_prefect_is_a_span_under_the_functions_name():
    assert plain.fn(1) == 2
    process_recorder().flush()
    (row, *_) = Ledger.open(settings().ledger).runs(limit=1)
    assert (row.name, row.status) == ("plain", "completed")


def test_decorating_something_else_says_what_to_decorate():
    with pytest.raises(SettingError, match="42"):
        e2s_task(42)
    with pytest.raises(SettingError, match="CarbonPolicy"):
        e2s_flow(carbon="GB")(lambda: None)


def test_a_program_that_a_task_runs_is_counted_to_the_task(ledger_run):
    program = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"

    @e2s_task
    def shell():
        subprocess.run([sys.executable, "-S", "-c", program], check=True)

    @e2s_flow
    def outer():
        shell()

    (attempt,) = attempts(ledger_run(run_id_of(outer(return_state=True))))
    assert attempt.cpu_ns / 1e9 == pytest.approx(0.52, abs=0.12)


@pytest.mark.slow
def test_task_runs_in_other_processes_belong_to_their_flow_run(ledger_run):
    from prefect.task_runners import ProcessPoolTaskRunner

    @e2s_flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
    def spread():
        return [future.result() for future in [plain.submit(1), plain.submit(2)]]

    state = spread(return_state=True)
    assert state.result() == [2, 3]
    run = ledger_run(run_id_of(state))
    assert [s.status for s in attempts(run)] == ["completed"] * 2
    assert {s.parent_id for s in attempts(run)} == {root(run).id}
    assert len({s.process_id for s in run.spans}) >= 2
    assert all(s.cpu_ns >= 0.02e9 for s in attempts(run))
