"""What a coroutine spawns belongs to its span: gathered tasks, task groups, calls in threads."""

import asyncio
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2s_tasks import span
from e2s_tasks.core.records import Kind
from e2s_tasks.recorder import drive, drive_async_generator
from tests.mixes.burning import burn

TOLERANCE = 0.03e9


async def burn_in_steps(seconds):
    for _ in range(5):
        burn(seconds / 5)
        await asyncio.sleep(0.002)
    return seconds


def own_ns(record):
    return record.cpu_ns - record.shared_cpu_ns


def measured_together(recorded, **work):
    """Drive each coroutine as an attempt of its own, all at once."""

    async def main():
        attempt = recorded.recorder.span
        return await asyncio.gather(*(drive(attempt(name, Kind.ATTEMPT), one()) for name, one in work.items()))

    results = asyncio.run(main())
    return results, recorded.spans()


def test_gathered_coroutines_that_a_measured_one_spawns_are_its_own(recorded):
    async def spawning():
        return await asyncio.gather(burn_in_steps(0.1), burn_in_steps(0.15))

    results, spans = measured_together(recorded, spawning=spawning, alone=lambda: burn_in_steps(0.05))
    assert results == [[0.1, 0.15], 0.05]
    assert own_ns(spans["spawning"]) == pytest.approx(0.25e9, abs=TOLERANCE)
    assert own_ns(spans["alone"]) == pytest.approx(0.05e9, abs=TOLERANCE)


def test_a_task_group_and_the_tasks_of_its_tasks_are_the_spawners_own(recorded):
    async def deeper():
        await asyncio.create_task(burn_in_steps(0.1))

    async def spawning():
        async with asyncio.TaskGroup() as group:
            group.create_task(deeper())
            group.create_task(burn_in_steps(0.05))

    _, spans = measured_together(recorded, spawning=spawning, alone=lambda: burn_in_steps(0.05))
    assert own_ns(spans["spawning"]) == pytest.approx(0.15e9, abs=TOLERANCE)


def test_what_runs_in_a_thread_of_the_loop_is_the_spawners_own(recorded):
    async def spawning():
        await asyncio.gather(asyncio.to_thread(burn, 0.15), asyncio.to_thread(burn, 0.05))
        await asyncio.get_running_loop().run_in_executor(None, burn, 0.05)

    _, spans = measured_together(recorded, spawning=spawning, alone=lambda: asyncio.sleep(0.3))
    assert own_ns(spans["spawning"]) == pytest.approx(0.25e9, abs=TOLERANCE)
    assert own_ns(spans["alone"]) < TOLERANCE


def test_blocks_around_awaits_in_spawned_tasks_take_their_own_part(recorded):
    async def with_block(name, seconds):
        with span(name):
            await burn_in_steps(seconds)

    async def spawning():
        await asyncio.gather(with_block("one", 0.1), with_block("two", 0.2), burn_in_steps(0.05))

    _, spans = measured_together(recorded, spawning=spawning)
    assert own_ns(spans["one"]) == pytest.approx(0.1e9, abs=TOLERANCE)
    assert own_ns(spans["two"]) == pytest.approx(0.2e9, abs=TOLERANCE)
    assert own_ns(spans["spawning"]) == pytest.approx(0.05e9, abs=TOLERANCE)
    assert spans["one"].parent_id == spans["spawning"].id


def test_blocks_in_plain_tasks_of_a_loop_are_kept_apart(recorded):
    async def with_block(name, seconds):
        with span(name):
            await burn_in_steps(seconds)

    async def main():
        with span("whole"):
            await asyncio.gather(with_block("one", 0.1), with_block("two", 0.2))

    asyncio.run(main())
    spans = recorded.spans()
    assert own_ns(spans["one"]) == pytest.approx(0.1e9, abs=TOLERANCE)
    assert own_ns(spans["two"]) == pytest.approx(0.2e9, abs=TOLERANCE)


def test_after_a_block_that_ends_amid_a_step_the_block_around_it_pays(recorded):
    async def work(number):
        with span(f"outer {number}"):
            with span(f"inner {number}"):
                burn(0.02)
                await asyncio.sleep(0.002)
                burn(0.02)
            burn(0.1)

    async def main():
        await asyncio.gather(work(1), work(2))

    def whole():
        with span("whole"):
            asyncio.run(main())

    for run in (lambda: asyncio.run(main()), whole):
        run()
        spans = recorded.spans()
        for number in (1, 2):
            assert own_ns(spans[f"outer {number}"]) == pytest.approx(0.1e9, abs=TOLERANCE)
            assert own_ns(spans[f"inner {number}"]) == pytest.approx(0.04e9, abs=TOLERANCE)
    assert own_ns(spans["whole"]) < TOLERANCE


def test_a_task_that_outlives_its_span_belongs_to_what_is_open_around_it(recorded):
    left = []

    async def leaving():
        left.append(asyncio.create_task(burn_in_steps(0.1)))

    async def around():
        await drive(recorded.recorder.span("leaving", Kind.ATTEMPT), leaving())
        await left[0]

    _, spans = measured_together(recorded, around=around)
    assert own_ns(spans["leaving"]) < TOLERANCE
    assert own_ns(spans["around"]) == pytest.approx(0.1e9, abs=TOLERANCE)


def test_a_spawned_task_looks_and_ends_as_an_unmeasured_one(recorded):
    seen = {}

    async def failing():
        raise ValueError("its own")

    async def waiting():
        seen.setdefault("name", asyncio.current_task().get_coro().__qualname__)  # of the first task that runs it
        await asyncio.sleep(10)

    async def spawning():
        asyncio.get_running_loop().set_debug(True)
        never_begun = asyncio.create_task(waiting())
        never_begun.cancel()
        begun = asyncio.create_task(waiting(), name="mine")
        await asyncio.sleep(0.01)
        seen["repr"] = repr(begun)
        seen["stack"] = len(begun.get_stack())
        begun.cancel()
        found = await asyncio.gather(never_begun, begun, asyncio.create_task(failing()), return_exceptions=True)
        seen["ends"] = [type(one) for one in found]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiting(), 0.01)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured_together(recorded, spawning=spawning)
    assert "waiting" in seen["name"]
    assert "mine" in seen["repr"]
    assert "waiting" in seen["repr"]
    assert seen["stack"] == 1
    assert seen["ends"] == [asyncio.CancelledError, asyncio.CancelledError, ValueError]


def test_a_task_factory_of_the_users_is_still_asked(recorded):
    asked = []

    def factory(loop, work, **options):
        asked.append(True)
        return asyncio.Task(work, loop=loop, **options)

    async def spawning():
        return await asyncio.gather(burn_in_steps(0.02), burn_in_steps(0.02))

    async def main():
        asyncio.get_running_loop().set_task_factory(factory)
        with span("work"):
            await asyncio.create_task(spawning())

    asyncio.run(main())
    assert len(asked) >= 3  # asyncio.run asks for its own, too


def test_a_loop_without_measured_work_is_left_alone(recorded):
    factories = []

    async def main():
        factories.append(asyncio.get_running_loop().get_task_factory())

    with span("before"):
        pass
    asyncio.run(main())
    assert factories == [None]


def test_tasks_spawned_from_a_loop_in_another_thread_keep_their_spans(recorded):
    def in_thread(name, seconds):
        async def main():
            with span(name):
                await asyncio.gather(burn_in_steps(seconds / 2), burn_in_steps(seconds / 2))

        asyncio.run(main())

    threads = [threading.Thread(target=in_thread, args=(f"t{i}", 0.06 * i)) for i in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = recorded.spans()
    for i in (1, 2):
        assert own_ns(spans[f"t{i}"]) == pytest.approx(0.06e9 * i, abs=TOLERANCE)


def test_an_async_generator_left_in_the_middle_uses_nothing_afterwards(recorded):
    from e2s_tasks.recorder import drive_async_generator

    async def numbers():
        for number in range(3):
            burn(0.05)
            yield number

    async def main():
        driven = drive_async_generator(recorded.recorder.span("gen", Kind.ATTEMPT), numbers())
        assert await anext(driven) == 0
        burn(0.1)
        await driven.aclose()

    asyncio.run(main())
    time.sleep(0.01)
    assert recorded.spans()["gen"].cpu_ns == pytest.approx(0.05e9, abs=TOLERANCE)


def test_an_async_generator_that_a_loop_closes_at_its_end_is_closed_once_and_without_a_word(recorded):
    told, closed, left = [], [], []

    async def items():
        try:
            for number in range(5):
                yield number
        finally:
            await asyncio.sleep(0)
            closed.append(1)

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
        left.append(drive_async_generator(recorded.recorder.span("items", Kind.ATTEMPT), items()))
        async for _ in left[0]:
            break

    asyncio.run(main())
    assert (closed, told) == ([1], [])
    assert recorded.spans()["items"].status == "completed"


def test_threads_that_a_span_starts_are_its_own(recorded):
    def in_threads(seconds):
        threads = [threading.Thread(target=burn, args=(seconds / 2,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def in_a_pool(seconds):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(burn, [seconds / 4] * 4))

    def work(name, how, seconds):
        with span(name):
            how(seconds)

    outside = [
        threading.Thread(target=work, args=("threads", in_threads, 0.2)),
        threading.Thread(target=work, args=("pool", in_a_pool, 0.1)),
    ]
    for thread in outside:
        thread.start()
    for thread in outside:
        thread.join()
    spans = recorded.spans()
    assert own_ns(spans["threads"]) == pytest.approx(0.2e9, abs=TOLERANCE)
    assert own_ns(spans["pool"]) == pytest.approx(0.1e9, abs=TOLERANCE)


def test_a_span_in_a_thread_that_another_span_started_is_inside_it(recorded):
    def inner():
        with span("inner"):
            burn(0.05)

    with span("outer"):
        thread = threading.Thread(target=inner)
        thread.start()
        thread.join()
    spans = recorded.spans()
    assert spans["inner"].parent_id == spans["outer"].id
    assert spans["inner"].run_id == spans["outer"].run_id
    assert own_ns(spans["outer"]) < TOLERANCE


def test_a_pool_thread_that_is_used_again_after_its_span_belongs_to_the_new_work(recorded):
    pool = ThreadPoolExecutor(1)

    def inner():
        with span("later"):
            pass

    with span("first"):
        pool.submit(burn, 0.01).result()
    pool.submit(inner).result()
    pool.shutdown()
    later = recorded.spans()["later"]
    assert later.parent_id is None
