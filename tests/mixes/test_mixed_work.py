"""Threads, coroutines, generators and native pools of one process, all at once: each span has its own CPU time."""

import pytest

from tests.mixes.scene import check_laws

ABSOLUTE = 0.02  # CPU seconds that starting threads and asking clocks may add


def close_to(seconds, relative=0.02):
    return pytest.approx(seconds, rel=relative, abs=ABSOLUTE)


def test_all_sorts_of_concurrency_at_once_are_told_apart(scene):
    seen = scene.run("""
        import asyncio, threading, time
        from concurrent.futures import ThreadPoolExecutor
        from tests.mixes.books import keep_books
        keep_books()
        from e2s_tasks import span
        from e2s_tasks.core.records import Kind
        from e2s_tasks.recorder import drive, process_recorder
        from tests.mixes.burning import burn

        async def steps(seconds):
            for _ in range(10):
                burn(seconds / 10)
                await asyncio.sleep(0.001)

        async def spawning():
            await asyncio.gather(steps(0.1), asyncio.create_task(steps(0.2)), asyncio.to_thread(burn, 0.1))

        async def in_a_block(name, seconds):
            with span(name):
                await steps(seconds)
                async with asyncio.timeout(5):
                    await steps(seconds)

        async def loop():
            begin = process_recorder().span
            await asyncio.gather(
                drive(begin("coroutine", Kind.ATTEMPT), steps(0.3)),
                drive(begin("spawning", Kind.ATTEMPT), spawning()),
                in_a_block("block", 0.1),
                steps(0.15),
            )

        def in_thread(name, seconds, depth=0):
            with span(name):
                burn(seconds)
                if depth:
                    in_thread(name + "+", seconds, depth - 1)
                burn(seconds)

        async def in_loop():
            with span("loop"):
                await loop()

        def with_loop():
            asyncio.run(in_loop())

        def with_pool():
            with span("pool"), ThreadPoolExecutor(3) as pool:
                list(pool.map(burn, [0.02] * 10))

        threads = [
            threading.Thread(target=with_loop),
            threading.Thread(target=with_pool),
            threading.Thread(target=in_thread, args=("nested", 0.05, 2)),
            threading.Thread(target=in_thread, args=("plain", 0.2)),
        ]
        [one.start() for one in threads]
        [one.join() for one in threads]
    """)
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    truth = {
        "coroutine": 0.3, "spawning": 0.4, "block": 0.2, "loop": 0.15, "pool": 0.2,
        "nested": 0.1, "nested+": 0.1, "nested++": 0.1, "plain": 0.4,
    }  # fmt: skip
    assert {name: seen.cpu(name) for name in truth} == {name: close_to(value) for name, value in truth.items()}


TASKS = """
    import asyncio
    from contextlib import nullcontext
    from tests.mixes.books import keep_books
    keep_books()
    from e2s_tasks import span
    from tests.mixes.burning import burn

    async def steps(seconds):
        for _ in range(10):
            burn(seconds / 10)
            await asyncio.sleep(0.001)

    async def block(name, seconds):
        with span(name):
            await steps(seconds)

    async def main():
        await asyncio.gather(block("one", 0.1), block("two", 0.2), steps(0.15))

    with {around}:
        asyncio.run(main())
"""


@pytest.mark.parametrize("around", ["span('outer')", "nullcontext()"])
def test_blocks_in_tasks_that_are_older_than_the_first_span_of_their_loop_are_kept_apart(scene, around):
    seen = scene.run(TASKS.format(around=around))
    check_laws(seen)
    assert seen.cpu("one") == close_to(0.1)
    assert seen.cpu("two") == close_to(0.2)


@pytest.mark.slow
def test_eight_burning_threads_on_two_cores_have_what_they_burnt(scene):
    seen = scene.run("""
        import os, threading
        os.sched_setaffinity(0, set(list(os.sched_getaffinity(0))[:2]))
        from tests.mixes.books import keep_books
        keep_books()
        from e2s_tasks import span
        from tests.mixes.burning import burn

        def work(number):
            together.wait()
            with span(f"t{number}"):
                burn(0.01 * number)

        for _ in range(5):
            together = threading.Barrier(8)
            threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 9)]
            [one.start() for one in threads]
            [one.join() for one in threads]
    """)
    check_laws(seen)
    assert [seen.cpu(f"t{number}") for number in range(1, 9)] == [close_to(0.05 * number) for number in range(1, 9)]


@pytest.mark.slow
def test_spans_from_five_milliseconds_to_a_second_in_any_order(scene):
    seen = scene.run("""
        import random, threading
        from tests.mixes.books import keep_books
        keep_books()
        from e2s_tasks import span
        from tests.mixes.burning import burn

        def work(lengths):
            for seconds in lengths:
                with span(f"{seconds:g}"):
                    burn(seconds)

        lengths = [0.005] * 40 + [0.02] * 10 + [0.1] * 3 + [1.0]
        draw = random.Random(3)
        draw.shuffle(lengths)
        with span("whole"):
            threads = [threading.Thread(target=work, args=(lengths[part::3],)) for part in range(3)]
            [one.start() for one in threads]
            [one.join() for one in threads]
    """)
    check_laws(seen)
    assert len(seen.all_spans) == 55
    for seconds, count in ((0.005, 40), (0.02, 10), (0.1, 3), (1.0, 1)):
        assert seen.cpu(f"{seconds:g}") == pytest.approx(seconds * count, rel=0.05)
    longest = max(one.cpu_ns for one in seen.all_spans if one.name == "0.005")
    assert longest < 0.012e9
    assert seen.cpu("whole") < 0.03 * seen.cpu_s  # 55 spans on three threads, of a host that does other work too


@pytest.mark.slow
def test_suspended_and_abandoned_generators_use_nothing(scene):
    seen = scene.run("""
        import asyncio
        from tests.mixes.books import keep_books
        keep_books()
        from e2s_tasks import span
        from e2s_tasks.core.records import Kind
        from e2s_tasks.recorder import drive_async_generator, drive_generator, process_recorder
        from tests.mixes.burning import burn

        def numbers():
            with span("inside"):
                for number in range(10):
                    burn(0.02)
                    yield number

        async def anumbers():
            for number in range(10):
                burn(0.02)
                await asyncio.sleep(0)
                yield number

        def begin(name):
            return process_recorder().span(name, Kind.ATTEMPT)

        async def main():
            whole = [one async for one in drive_async_generator(begin("async whole"), anumbers())]
            left = drive_async_generator(begin("async left"), anumbers())
            async for one in left:
                if one == 2:
                    break
            burn(0.1)
            kept = drive_async_generator(begin("async kept"), anumbers())
            await anext(kept)
            await anext(kept)
            burn(0.1)
            del left
            await asyncio.sleep(0)
            burn(0.1)

        with span("consumer"):
            for number in drive_generator(begin("whole"), numbers()):
                burn(0.03)
            abandoned = drive_generator(begin("abandoned"), numbers())
            next(abandoned), next(abandoned)
            burn(0.1)
            del abandoned
            suspended = drive_generator(begin("suspended"), numbers())
            next(suspended)
            burn(0.1)
            one, other = drive_generator(begin("one"), numbers()), drive_generator(begin("other"), numbers())
            for _ in range(5):
                next(one), next(other), next(other)
            one.close(), other.close()
            asyncio.run(main())
            suspended.close()
    """)
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    assert seen.cpu("inside") == close_to(0.2 + 0.04 + 0.02 + 0.1 + 0.2)
    assert seen.cpu("async whole") == close_to(0.2)
    assert seen.cpu("async left") == close_to(0.06)
    assert seen.cpu("async kept") == close_to(0.04)
    assert seen.cpu("consumer") == close_to(0.3 + 0.2 + 0.3)


POOLS = """
    import json, os, threading, time
    os.environ["OPENBLAS_NUM_THREADS"] = "2"
    import numpy, pyarrow as pa, pyarrow.compute as pc
    from tests.mixes.books import keep_books
    keep_books()
    from e2s_tasks import span
    from tests.mixes.burning import burn
    pa.set_cpu_count(2)
    matrix = numpy.random.default_rng(1).random((700, 700))
    table = pa.table({"k": list(range(1000)) * 2000, "v": list(range(2_000_000))})
    matrix @ matrix

    def blas(name, seconds):
        with span(name):
            begin = time.process_time()
            while time.process_time() < begin + seconds:
                matrix @ matrix
            print(json.dumps({name: time.process_time() - begin}))

    def arrow(name, seconds):
        with span(name):
            begin = time.process_time()
            while time.process_time() < begin + seconds:
                table.group_by("k").aggregate([("v", "sum")])
            print(json.dumps({name: time.process_time() - begin}))
"""


@pytest.mark.slow
def test_native_pools_of_the_only_span_are_all_its(scene):
    seen = scene.run(
        POOLS
        + """
    blas("blas", 0.8)
    arrow("arrow", 0.8)
    """
    )
    check_laws(seen)
    for name in ("blas", "arrow"):
        assert seen.cpu(name) == close_to(seen.truth[name], relative=0.01)
        assert seen.spans[name].shared_cpu_ns == 0


@pytest.mark.slow
def test_native_pools_of_two_spans_are_split_and_labelled(scene):
    seen = scene.run(
        POOLS
        + """
    with span("both"):
        before = time.process_time()
        threads = [threading.Thread(target=blas, args=(name, 0.8)) for name in ("one", "two")]
        [one.start() for one in threads]
        [one.join() for one in threads]
        print(json.dumps({"both": time.process_time() - before}))
    """
    )
    check_laws(seen)
    assert seen.cpu("one") + seen.cpu("two") == close_to(seen.truth["both"], relative=0.02)
    assert seen.spans["one"].shared_cpu_ns > 0
    assert seen.spans["two"].shared_cpu_ns > 0


@pytest.mark.slow
def test_another_program_on_the_host_goes_to_other(scene):
    seen = scene.run("""
        import json, multiprocessing, subprocess, time
        from tests.mixes.books import keep_books
        keep_books()
        from tests.mixes.burning import burn, burning
        noise = subprocess.Popen(burning(1.0))  # before any span, so no child of measured work
        from e2s_tasks import span
        with span("work"):
            burn(0.3)
            noise.wait()
    """)
    check_laws(seen)
    work = seen.spans["work"]
    assert seen.cpu("work") == close_to(0.3)
    assert work.other_j >= 45.0 * 0.5  # most of what the noise burnt
