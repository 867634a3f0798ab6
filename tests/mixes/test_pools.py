"""Pools of processes that several spans use, one after the other or at once: what they do is whose work it is."""

import pytest

from tests.mixes.scene import check_laws

PROGRAM = """
import atexit, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from threading import Event, Thread
from tests.mixes.books import keep_books
from tests.mixes.burning import burn

class Executor:
    def __init__(self, method):
        self.pool = ProcessPoolExecutor(2, get_context(method))

    def work(self, seconds):
        list(self.pool.map(burn, [seconds / 2] * 2))

    def end(self):
        self.pool.shutdown()

class Loky(Executor):
    def __init__(self, method):
        from joblib.externals.loky import get_reusable_executor
        self.pool = get_reusable_executor(2)

class Pool:
    def __init__(self, method):
        self.pool = get_context(method).Pool(2)

    def work(self, seconds):
        self.pool.map(burn, [seconds / 2] * 2, 1)

    def end(self):
        self.pool.close()
        self.pool.join()

def used_by(name, pool, seconds):
    with span(name):
        pool.work(seconds)

if __name__ == "__main__":
    keep_books()
    from e2s_tasks import span
    kind, method = sys.argv[1].split("-")
    made = {"executor": Executor, "loky": Loky, "pool": Pool}[kind]
"""
SEQUENCE = """
    with span("flow"):
        with span("first"):
            pool = made(method)
            pool.work(0.1)
        used_by("second", pool, 0.6)
        used_by("third", pool, 0.2)
        with span("last"):
            pool.end()
"""
KINDS = ["executor-spawn", *(pytest.param(one, marks=pytest.mark.slow) for one in (
    "executor-fork", "loky-loky", "pool-fork", "pool-spawn",
))]  # fmt: skip
NEAR = 0.06  # a clock tick of the system in each worker, and what its queues use


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_pools_processes_do_belongs_to_the_span_that_uses_them(scene, kind):
    seen = scene.run(PROGRAM + SEQUENCE, kind)
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    for name, seconds in (("second", 0.6), ("third", 0.2)):  # and maybe the start of a worker that loky puts in
        assert seconds - NEAR < seen.cpu(name) < seconds + 2 * NEAR
    assert seen.cpu("flow") < 3 * NEAR
    assert max(seen.spans[name].shared_cpu_ns for name in ("second", "third")) < 1e6


@pytest.mark.parametrize("tick", ["10", pytest.param("0.1", marks=pytest.mark.slow)])
def test_programs_that_a_pools_processes_start_and_wait_for_are_of_the_span_that_uses_them(scene, tick):
    seen = scene.run(
        """
        import subprocess
        from concurrent.futures import ProcessPoolExecutor
        from tests.mixes.books import keep_books
        from tests.mixes.burning import burning

        def run(seconds):
            subprocess.run(burning(seconds), check=True)

        if __name__ == "__main__":
            keep_books()
            from e2s_tasks import span
            pool = ProcessPoolExecutor(2)
            list(pool.map(run, [0.01] * 2))
            for name, seconds in (("first", 0.2), ("second", 0.1), ("third", 0.15)):
                with span(name):
                    list(pool.map(run, [seconds] * 2))
            pool.shutdown()
        """,
        E2S_TICK_S=tick,
    )
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    for name, seconds in (("first", 0.4), ("second", 0.2), ("third", 0.3)):
        assert seconds - NEAR < seen.cpu(name) < seconds + 2 * NEAR


@pytest.mark.slow
def test_programs_that_a_pools_processes_start_for_two_spans_at_once_are_split_and_labelled(scene):
    seen = scene.run(
        """
        import subprocess, threading
        from concurrent.futures import ProcessPoolExecutor
        from tests.mixes.books import keep_books
        from tests.mixes.burning import burning

        def run(seconds):
            subprocess.run(burning(seconds), check=True)

        def used_by(name):
            with span(name):
                list(pool.map(run, [0.2] * 2))

        if __name__ == "__main__":
            keep_books()
            from e2s_tasks import span
            pool = ProcessPoolExecutor(2)
            list(pool.map(run, [0.01] * 2))
            threads = [threading.Thread(target=used_by, args=(name,)) for name in ("first", "second")]
            [one.start() for one in threads]
            [one.join() for one in threads]
            pool.shutdown()
        """,
        E2S_TICK_S="10",
    )
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    assert seen.cpu("first") + seen.cpu("second") == pytest.approx(0.8, abs=2 * NEAR)
    for name in ("first", "second"):
        assert seen.cpu(name) > 0.2
        assert seen.spans[name].shared_cpu_ns > 0


@pytest.mark.slow
def test_a_flow_that_made_a_pool_and_used_it_itself_leaves_it_to_its_steps(scene):
    seen = scene.run(
        PROGRAM
        + """
    with span("flow"):
        pool = made(method)
        pool.work(0.1)
        used_by("first", pool, 0.4)
        pool.work(0.1)
        used_by("second", pool, 0.2)
        pool.end()
    """,
        "executor-fork",
    )
    check_laws(seen)
    assert seen.cpu("first") == pytest.approx(0.4, abs=NEAR)
    assert seen.cpu("second") == pytest.approx(0.2, abs=NEAR)
    assert seen.cpu("flow") == pytest.approx(0.2, abs=3 * NEAR)


@pytest.mark.slow
def test_a_span_whose_work_is_done_leaves_the_pool_to_others_though_it_goes_on(scene):
    seen = scene.run(
        PROGRAM
        + """
    pool = made(method)
    with span("flow"):
        begins = Event()
        beside = Thread(target=lambda: begins.wait() and used_by("second", pool, 0.5))
        beside.start()
        with span("first"):
            pool.work(0.1)
            begins.set()
            beside.join()
        pool.end()
    """,
        "executor-fork",
    )
    check_laws(seen)
    assert seen.cpu("first") == pytest.approx(0.1, abs=2 * NEAR)
    assert seen.cpu("second") == pytest.approx(0.5, abs=NEAR)


@pytest.mark.parametrize("kind", ["pool-fork", pytest.param("executor-spawn", marks=pytest.mark.slow)])
def test_processes_that_a_pool_puts_in_place_of_others_work_for_who_uses_it(scene, kind):
    seen = scene.run(
        PROGRAM.replace("get_context(method).Pool(2)", "get_context(method).Pool(2, maxtasksperchild=1)").replace(
            "ProcessPoolExecutor(2, get_context(method))",
            "ProcessPoolExecutor(2, get_context(method), max_tasks_per_child=1)",
        )
        + """
    pool = made(method)
    pool.work(0.1)
    used_by("first", pool, 0.4)
    used_by("second", pool, 0.4)
    with span("last"):
        pool.end()
    """,
        kind,
    )
    check_laws(seen)
    starts = 0.0 if kind == "pool-fork" else 0.6  # of four interpreters
    for name in ("first", "second"):
        assert 0.4 - NEAR < seen.cpu(name) < 0.4 + 2 * NEAR + starts


@pytest.mark.parametrize("kind", ["executor-forkserver", pytest.param("pool-forkserver", marks=pytest.mark.slow)])
def test_a_new_pool_of_a_forkserver_in_each_step_is_that_steps(scene, kind):
    seen = scene.run(
        PROGRAM
        + """
    for number in range(3):  # flows, as it were: at the end of each nothing is open
        with span(f"step {number}"):
            pool = made(method)
            pool.work(0.4)
            pool.end()
        unmeasured = made(method)
        unmeasured.work(0.2)
        unmeasured.end()
    """,
        kind,
    )
    check_laws(seen)
    for number in range(3):
        assert 0.4 - NEAR < seen.cpu(f"step {number}") < 0.4 + 0.8  # with the start of two workers


def test_nothing_is_lost_of_workers_that_a_forkserver_starts_and_that_end_in_between(scene):
    seen = scene.run(
        PROGRAM.replace("get_context(method).Pool(2)", "get_context(method).Pool(2, maxtasksperchild=1)")
        + """
    with span("flow"):
        for name in ("first", "second"):
            with span(name):
                pool = made(method)
                pool.pool.map(burn, [0.1] * 6, 1)
                pool.end()
    """,
        "pool-forkserver",
    )
    check_laws(seen)
    assert sum(one.cpu_ns for one in seen.all_spans) / 1e9 > seen.cpu_s - 0.2
    assert min(seen.cpu("first"), seen.cpu("second")) > 0.6 - NEAR


def test_whatever_a_pool_can_be_given_it_still_can(scene):
    seen = scene.run(
        PROGRAM
        + """
    with span("flow"), ProcessPoolExecutor(1, get_context("fork")) as pool:
        assert pool.submit(dict, self=1, span=2).result() == {"self": 1, "span": 2}
    """,
        "executor-fork",
    )
    assert (seen.code, seen.stderr) == (0, "")


@pytest.mark.slow
def test_what_a_pool_does_for_two_spans_at_once_is_split_and_labelled(scene):
    seen = scene.run(
        PROGRAM
        + """
    pool = made(method)
    with span("flow"):
        used_by("first", pool, 0.1)
        pool.work = lambda seconds: pool.pool.submit(burn, seconds).result()
        threads = [Thread(target=used_by, args=(name, pool, 0.5)) for name in ("one", "two")]
        [one.start() for one in threads]
        [one.join() for one in threads]
        pool.end()
    """,
        "executor-fork",
    )
    check_laws(seen)
    one, two = seen.spans["one"], seen.spans["two"]
    assert (one.cpu_ns + two.cpu_ns) / 1e9 == pytest.approx(1.0, abs=2 * NEAR)
    assert min(one.shared_cpu_ns, two.shared_cpu_ns) > 0.2e9
    assert seen.cpu("first") < 0.5


def test_a_pool_that_was_there_before_any_span_counts_from_its_first_use_in_one(scene):
    seen = scene.run(
        PROGRAM
        + """
    pool = made(method)
    pool.work(0.4)
    used_by("first", pool, 0.3)
    pool.work(0.4)
    used_by("second", pool, 0.2)
    with span("last"):
        pool.end()
    """,
        "pool-fork",
    )
    check_laws(seen)
    assert seen.cpu("first") == pytest.approx(0.3, abs=NEAR)
    assert seen.cpu("second") == pytest.approx(0.2, abs=NEAR)
    assert seen.cpu("last") < NEAR


def test_who_waits_behind_others_in_a_pool_is_given_nothing_of_what_these_use(scene):
    seen = scene.run(
        PROGRAM
        + """
    pool = made(method).pool
    with span("flow"):
        [pool.submit(burn, 0.3) for _ in range(4)]
        with span("step"):
            pool.submit(burn, 0.1).result()
        pool.shutdown()
    """,
        "executor-fork",
    )
    check_laws(seen)
    assert seen.cpu("flow") == pytest.approx(1.2, abs=2 * NEAR)
    assert seen.cpu("step") == pytest.approx(0.1, abs=NEAR)


def test_what_a_step_leaves_to_be_done_after_its_end_is_of_its_flow_and_of_no_other_step(scene):
    seen = scene.run(
        PROGRAM
        + """
    pool = made(method).pool
    with span("flow"):
        with span("leaves"):
            left = [pool.apply_async(burn, [0.3]) for _ in range(2)]
        with span("other"):
            pool.apply(burn, [0.1])
        pool.close()
        pool.join()
    """,
        "pool-fork",
    )
    check_laws(seen)
    assert seen.cpu("flow") == pytest.approx(0.6, abs=2 * NEAR)
    assert seen.cpu("other") == pytest.approx(0.1, abs=NEAR)


@pytest.mark.parametrize("kind", ["executor-fork", pytest.param("executor-forkserver", marks=pytest.mark.slow),
                                  pytest.param("pool-forkserver", marks=pytest.mark.slow)])  # fmt: skip
def test_what_nobody_measured_has_a_pool_do_is_in_no_span(scene, kind):
    seen = scene.run(
        PROGRAM
        + """
    with span("first"):
        pass
    pool = made(method)
    pool.work(0.4)
    begins, done = Event(), Event()
    unmeasured = Thread(target=lambda: begins.wait() and (pool.work(0.4), done.set()))
    unmeasured.start()
    with span("user"):
        pool.work(0.2)
        begins.set()
        done.wait()
        pool.work(0.1)
    pool.end()
    """,
        kind,
    )
    check_laws(seen)
    assert seen.cpu("user") == pytest.approx(0.3, abs=NEAR)


@pytest.mark.parametrize(
    "of", ["imap", *(pytest.param(one, marks=pytest.mark.slow) for one in ("imap_unordered", "starmap"))]
)
def test_whatever_way_a_pool_is_given_its_work_it_is_of_who_gave_it(scene, of):
    seen = scene.run(
        PROGRAM
        + """
    pool = made(method).pool
    work = [(0.1,), (0.1,)] if sys.argv[2] == "starmap" else [0.1, 0.1]
    with span("flow"):
        background = pool.apply_async(burn, [0.6])
        with span("step"):
            list(getattr(pool, sys.argv[2])(burn, work))
        background.get()
        pool.close()
        pool.join()
    """,
        "pool-fork",
        of,
    )
    check_laws(seen)
    assert seen.cpu("step") == pytest.approx(0.2, abs=2 * NEAR)  # on a busy host neither of both has half
    assert seen.spans["step"].shared_cpu_ns > 0.1e9  # while the flow's runs beside it
    assert seen.cpu("flow") == pytest.approx(0.6, abs=2 * NEAR)


CALLBACKS = """
    pool, left, done = made(method).pool, [6], Event()

    def hands_on(_):
        left[0] -= 1
        if left[0] < 0:
            done.set()
        elif kind == "pool":
            pool.apply_async(burn, [0.1], callback=hands_on)
        else:
            pool.submit(burn, 0.1).add_done_callback(hands_on)

    hands_on(None)  # the threads that call back have begun outside any span
    time.sleep(0.3)
    done.wait()
    with span("flow"), span("step"):
        left[0], _ = 4, done.clear()
        hands_on(None)
        done.wait()
    getattr(pool, "shutdown", pool.terminate if kind == "pool" else None)()
"""


SLOW_KINDS = [pytest.param(one, marks=pytest.mark.slow) for one in ("pool-fork", "loky-loky")]


@pytest.mark.parametrize("kind", ["executor-fork", *SLOW_KINDS])
def test_what_is_handed_on_at_the_end_of_a_piece_is_of_its_span(scene, kind):
    seen = scene.run(PROGRAM.replace("import atexit, sys", "import atexit, sys, time") + CALLBACKS, kind)
    check_laws(seen)
    assert seen.cpu("step") == pytest.approx(0.4, abs=NEAR)
    assert seen.cpu("flow") < NEAR


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
def test_what_joblib_hands_on_later_is_of_the_span_that_uses_it(scene, backend):
    seen = scene.run(
        PROGRAM
        + """
    from joblib import Parallel, delayed
    with Parallel(n_jobs=2, backend=sys.argv[2]) as parallel:
        parallel(delayed(burn)(0.01) for _ in range(4))
        with span("flow"):
            for name in ("first", "second"):
                with span(name):
                    parallel(delayed(burn)(0.05) for _ in range(12))
    """,
        "loky-loky",
        backend,
    )
    check_laws(seen)
    for name in ("first", "second"):
        assert 0.6 - NEAR < seen.cpu(name) < 0.6 + 2 * NEAR


def test_a_piece_of_work_whose_process_was_killed_is_in_nobodys_way(scene):
    seen = scene.run(
        PROGRAM
        + """
    import os
    pool = get_context(method).Pool(1)
    with span("flow"):
        with span("kills"):
            pool.apply_async(os._exit, [1])
            pool.apply(len, [()])
        with span("uses"):
            pool.apply(burn, [0.3])
    pool.terminate()
    """,
        "pool-fork",
    )
    check_laws(seen)
    assert seen.cpu("uses") == pytest.approx(0.3, abs=NEAR)
