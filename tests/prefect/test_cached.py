"""Task runs that Prefect serves from its cache."""

import asyncio
import logging
import threading

import pytest
from prefect.cache_policies import INPUTS, NO_CACHE
from prefect.results import get_result_store
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect.transactions import transaction

from e2s_tasks import e2s_flow, e2s_task


@pytest.fixture
def attempts(ledger_run):
    """(name, status, attempt) of the attempts of a flow's run, in order."""

    def of(flow):
        run = ledger_run(flow(return_state=True).state_details.flow_run_id)
        spans = [one for one in run.spans if one.kind == "attempt"]
        return [(one.name, one.status, one.attempt) for one in sorted(spans, key=lambda one: one.started_at)]

    return of


@e2s_task(cache_policy=INPUTS, persist_result=True)
def double(x):
    return 2 * x


def test_a_measured_task_has_the_users_hooks_alone_and_its_runs_log_no_more_than_plain_ones(caplog):
    def mine(task, run, state):
        return None

    assert e2s_task(lambda: 1).on_completion_hooks == []
    task = e2s_task(lambda: 1, name="one", on_completion=[mine])
    assert task.on_completion_hooks == [mine]
    with caplog.at_level(logging.INFO, "prefect.task_runs"):
        logging.getLogger("prefect.task_runs").addHandler(caplog.handler)
        task()
        logging.getLogger("prefect.task_runs").removeHandler(caplog.handler)
    assert [line for line in caplog.messages if "hook" in line.lower() and "mine" not in line] == []


@pytest.mark.parametrize("runner", [ThreadPoolTaskRunner, pytest.param(ProcessPoolTaskRunner, marks=pytest.mark.slow)])
def test_cached_runs_are_recorded_under_every_task_runner(attempts, runner, tmp_path):
    @e2s_flow(task_runner=runner(max_workers=1))
    def flow():
        return [double.submit(str(tmp_path)).result() for _ in range(3)]

    assert attempts(flow) == [("double", "completed", 1), ("double", "cached", 1), ("double", "cached", 1)]


def test_cached_runs_of_coroutines_are_recorded(attempts, tmp_path):
    @e2s_task(cache_policy=INPUTS, persist_result=True)
    async def later(x):
        return x

    @e2s_flow
    async def flow():
        return [await later(str(tmp_path)), await later(str(tmp_path))]

    assert attempts(lambda **options: asyncio.run(flow(**options))) == [
        ("later", "completed", 1),
        ("later", "cached", 1),
    ]


def test_a_function_that_reads_a_transaction_of_its_own_is_no_cached_run(attempts, tmp_path):
    @e2s_task(cache_policy=NO_CACHE)
    def reads():
        for _ in range(2):
            with transaction(key=tmp_path.name, store=get_result_store()) as mine:
                if mine.is_committed():
                    assert mine.read().result == 5
                    return
                mine.stage(5)

    @e2s_flow(persist_result=True)
    def flow():
        reads()

    assert attempts(flow) == [("reads", "completed", 1)]


def test_a_second_attempt_that_finds_the_result_of_another_run_is_cached(attempts, tmp_path):
    beside = []

    @e2s_task(cache_policy=INPUTS, persist_result=True, retries=1, name="meanwhile")
    def meanwhile(x):
        if not beside:
            beside.append(x)
            other = threading.Thread(target=meanwhile, args=(x,))  # the same work, done while this goes on
            other.start()
            other.join()
            raise ValueError(x)
        return x

    @e2s_flow
    def flow():
        meanwhile(str(tmp_path))

    assert attempts(flow) == [("meanwhile", "failed", 1), ("meanwhile", "completed", 1), ("meanwhile", "cached", 2)]
