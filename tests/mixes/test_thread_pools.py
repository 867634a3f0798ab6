"""Threads that several spans use, one after the other or at once: what they do is whose work it is."""

import gc
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from threading import Thread

import anyio
import pytest

from e2s_tasks import span
from tests.mixes.burning import burn


def test_each_piece_of_a_thread_pools_work_belongs_to_the_span_that_submits_it(recorded):
    def use(name, seconds):
        with span(name):
            list(pool.map(burn, [seconds / 4] * 4))

    with ThreadPoolExecutor(2) as pool, span("flow"):
        use("first", 0.02)
        threads = [Thread(target=use, args=work) for work in (("one", 0.2), ("two", 0.1))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    spans = recorded.spans()
    for name, seconds in (("first", 0.02), ("one", 0.2), ("two", 0.1)):
        assert spans[name].cpu_ns == pytest.approx(seconds * 1e9, rel=0.15, abs=0.01e9)
        assert spans[name].shared_cpu_ns < 1e6


def test_each_piece_of_a_multiprocessing_thread_pools_work_belongs_to_the_span_that_gives_it(recorded):
    def use(name, seconds, way):
        with span(name):
            list(getattr(pool, way)(burn, [seconds / 4] * 4, 1))

    with ThreadPool(2) as pool, span("flow"):
        for name, way in (("first", "map"), ("second", "imap"), ("third", "imap_unordered")):
            use(name, 0.1, way)
        threads = [Thread(target=use, args=(*work, "map")) for work in (("one", 0.2), ("two", 0.1))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    spans = recorded.spans()
    for name, seconds in (("first", 0.1), ("second", 0.1), ("third", 0.1), ("one", 0.2), ("two", 0.1)):
        assert spans[name].cpu_ns == pytest.approx(seconds * 1e9, abs=0.02e9)  # less than a piece
    assert spans["flow"].cpu_ns < 0.05e9


def test_a_multiprocessing_thread_pool_that_nobody_has_any_more_is_gone(recorded):
    with span("first"):
        pool = ThreadPool(1)
        assert pool.apply(len, [()]) == 0
        seen = weakref.ref(pool)
        pool.close()
        pool.join()
        del pool
        gc.collect()
    assert seen() is None


def test_what_the_threads_of_anyio_do_belongs_to_the_span_that_waits_for_it(recorded):
    async def use(name, seconds):
        with span(name):
            await anyio.to_thread.run_sync(burn, seconds)

    async def both():
        with span("flow"):
            await use("first", 0.05)
            await use("second", 0.2)

    anyio.run(both)
    spans = recorded.spans()
    for name, seconds in (("first", 0.05), ("second", 0.2)):
        assert spans[name].cpu_ns == pytest.approx(seconds * 1e9, rel=0.15, abs=0.01e9)


def test_a_span_in_a_piece_of_a_thread_pools_work_is_inside_the_one_that_submits_it(recorded):
    def inner(name):
        with span(name):
            pass

    with ThreadPoolExecutor(1) as pool, span("flow"):
        for outer in ("first", "second"):
            with span(outer):
                pool.submit(inner, f"in {outer}").result()
    spans = recorded.spans()
    assert {spans[f"in {name}"].parent_id == spans[name].id for name in ("first", "second")} == {True}


def test_what_a_piece_that_fails_worked_on_is_gone_with_its_error(recorded):
    class Thing:
        pass

    def failing(_):
        raise ValueError

    gc.disable()  # so that what is found is what Python leaves, too
    try:
        with span("flow"), ThreadPoolExecutor(1) as pool, span("step"):
            thing = Thing()
            seen, future = weakref.ref(thing), pool.submit(failing, thing)
            assert isinstance(future.exception(), ValueError)
            del thing, future
        assert seen() is None
    finally:
        gc.enable()


def test_the_error_of_a_piece_of_work_has_no_line_of_ours_in_its_traceback(recorded):
    def failing():
        raise ValueError("its own")

    with ThreadPoolExecutor(1) as pool:
        with span("first"):
            pool.submit(burn, 0.0).result()
        with span("second"):
            error = pool.submit(failing).exception()
    told = "".join(traceback.format_exception(error))
    assert "e2s_tasks" not in told
