"""What Prefect's result store writes and loads belongs to the task run whose result it is."""

import asyncio
import threading
from pathlib import Path

import pytest
from prefect.cache_policies import INPUTS
from prefect.filesystems import LocalFileSystem
from prefect.task_runners import ProcessPoolTaskRunner
from prefect.transactions import transaction

from e2s_tasks import e2s_flow, e2s_task
from e2s_tasks.core.lineage import lineage_of
from e2s_tasks.core.results import RESULT
from e2s_tasks.core.steps import steps_of
from e2s_tasks.reporter.summary import summarise
from e2s_tasks.settings import settings


@pytest.fixture
def stored(tmp_path, request):
    """A task whose results are kept, and the folder of them."""
    folder = tmp_path / "results"

    storage = LocalFileSystem(basepath=str(folder))
    storage.save(f"results-of-{request.node.name[:30].replace('_', '-')}", overwrite=True)

    def task(fn, **options):
        return e2s_task(persist_result=True, result_storage=storage, **options)(fn)

    task.folder = folder
    return task


@pytest.fixture
def run_of(ledger_run):
    def of(flow):
        run = ledger_run(flow(return_state=True).state_details.flow_run_id)
        moves = sorted((one for one in run.spans if one.kind == "move"), key=lambda one: one.started_at)
        return run, moves

    return of


def size_of(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


def test_writing_a_result_belongs_to_its_task_run(stored, run_of):
    make = stored(lambda: list(range(50_000)), name="make")

    @e2s_flow
    def flow():
        make()

    run, (move,) = run_of(flow)
    assert (move.name, move.status, move.bytes_read) == ("write result", "completed", 0)
    assert move.bytes_written == size_of(stored.folder)
    assert move.storage_j > 0
    assert move.network_j is None
    (step,) = steps_of(run).steps
    attempt = next(one for one in run.spans if one.kind == "attempt")
    assert (step.name, step.attempts, step.status) == ("make", 1, "completed")
    assert step.energy.total == pytest.approx(attempt.energy.total + move.energy.total)
    summary = summarise(run)
    (row,) = [one for one in summary["steps"] if one["kind"] == "attempt"]
    assert (row["inclusive_j"], row["bytes_written"]) == (pytest.approx(step.energy.total), move.bytes_written)
    assert run.versions == []


def test_a_task_whose_result_is_not_kept_moves_nothing(run_of):
    make = e2s_task(lambda: 1, name="make")

    @e2s_flow
    def flow():
        make()

    assert run_of(flow)[1] == []


def test_loading_a_cached_result_belongs_to_the_task_run_that_loads_it(stored, run_of):
    make = stored(lambda number: [number] * 50_000, name="make", cache_policy=INPUTS, cache_result_in_memory=False)

    @e2s_flow
    def flow():
        make(1)

    run_of(flow)
    run, (move,) = run_of(flow)
    assert (move.name, move.bytes_written) == ("load result", 0)
    assert move.bytes_read == 2 * size_of(stored.folder)  # once to see whether it is there
    (step,) = steps_of(run).steps
    assert (step.status, step.gaps) == ("cached", ())
    assert step.energy.total == pytest.approx(move.energy.total)
    cached = next(one for one in run.spans if one.status == "cached")
    assert cached.energy.total == 0
    rows = {one["kind"]: one for one in summarise(run)["steps"]}
    assert rows["attempt"]["inclusive_j"] == pytest.approx(move.energy.total)


def test_tasks_of_every_kind_and_runner_have_their_own_results(stored, run_of):
    async def later(number):
        await asyncio.sleep(0)
        return [number] * 1000

    plain = stored(lambda number: [number] * 1000, name="plain", cache_policy=INPUTS)
    coroutine = stored(later, name="coroutine", cache_policy=INPUTS)

    @e2s_flow
    async def flow():
        futures = [plain.submit(1), plain.submit(2)]
        await coroutine(3)
        [future.wait() for future in futures]

    def called(**options):
        return asyncio.run(flow(**options))

    run, moves = run_of(called)
    assert len(moves) == 3
    steps = steps_of(run)
    assert sorted(step.name for step in steps.steps) == ["coroutine", "plain", "plain"]
    by_run = {one.task_run_id: one for one in run.spans if one.kind == "attempt"}
    for move in moves:
        assert steps.steps[steps.of_span[move.id]].id == move.task_run_id
        assert by_run[move.task_run_id].result_key == move.attributes[RESULT]


def test_a_result_that_is_kept_when_a_transaction_ends_belongs_to_its_maker(stored, run_of):
    make = stored(lambda number: [number] * 1000, name="make", cache_policy=INPUTS)
    other = stored(lambda number: [number] * 1000, name="other", cache_policy=INPUTS + make.cache_policy)

    @e2s_flow
    def flow():
        with transaction():
            make(1)
            make(2)
        other(3)

    run, moves = run_of(flow)
    steps = steps_of(run)
    assert len(moves) == 3
    assert sorted(steps.of_span[move.id] for move in moves) == [0, 1, 2]
    assert [step.name for step in steps.steps] == ["make", "make", "other"]


def test_a_result_that_cannot_be_kept_is_a_failed_move_and_no_other_failure(stored, run_of):
    def lock():
        return threading.Lock()  # which cannot be pickled

    make = stored(lock, name="make")

    @e2s_flow
    def flow():
        make()
        return 1

    run, moves = run_of(flow)
    assert [one.status for one in moves] == ["failed"]
    assert lineage_of(run).energy_j > 0


@e2s_task(persist_result=True)
def in_a_worker(number):
    return [number] * 1000


@e2s_flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
def in_workers():
    return [future.result()[0] for future in [in_a_worker.submit(number) for number in range(2)]]


@pytest.mark.slow
def test_results_of_worker_processes_are_those_of_their_task_runs(run_of):
    run, moves = run_of(in_workers)
    written = [one for one in moves if one.name == "write result"]
    assert len(written) == 2
    steps = steps_of(run)
    assert {steps.steps[steps.of_span[move.id]].id for move in written} == {move.task_run_id for move in written}
    assert {step.name for step in steps.steps} == {"in_a_worker"}
    assert Path(settings().data_dir).exists()
