"""Process pools, children with spans of their own, forks and daemons: each CPU second once, at who caused it."""

import textwrap

import pytest

from tests.mixes.scene import check_laws

START = 0.05  # CPU seconds that starting a bare interpreter may take


def close_to(seconds, relative=0.02, absolute=START):
    return pytest.approx(seconds, rel=relative, abs=absolute)


POOL = """
    import sys
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context
    from tests.mixes.burning import burn

    def work(number, measured):
        from tests.mixes.books import keep_books
        if not measured:
            return burn(0.1)
        from e2s_tasks import span
        with span(f"work"):
            burn(0.1)

    if __name__ == "__main__":
        from tests.mixes.books import keep_books
        keep_books()
        from e2s_tasks import span
        measured = sys.argv[2] == "measured"
        with span("pool"), ProcessPoolExecutor(2, mp_context=get_context(sys.argv[1])) as pool:
            list(pool.map(work, range(6), [measured] * 6))
"""


@pytest.mark.parametrize(
    "method", ["fork", *(pytest.param(one, marks=pytest.mark.slow) for one in ("spawn", "forkserver"))]
)
def test_measured_work_in_a_pools_workers_is_the_workers_own(scene, method):
    seen = scene.run(POOL, method, "measured")
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    works = [one for one in seen.all_spans if one.name == "work"]
    assert [one.status for one in works] == ["completed"] * 6
    assert [one.cpu_ns / 1e9 for one in works] == [close_to(0.1, absolute=0.02)] * 6
    assert seen.cpu("pool") < seen.cpu_s - 0.6


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_unmeasured_work_in_a_pools_workers_is_the_pools_span(scene, method):
    seen = scene.run(POOL, method, "unmeasured")
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    assert seen.cpu("pool") >= 0.6


@pytest.mark.slow
def test_a_pool_with_measured_and_unmeasured_work_counts_nothing_twice(scene):
    seen = scene.run("""
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        from tests.mixes.burning import burn
        from tests.mixes.books import keep_books
        keep_books()
        from e2s_tasks import span

        def work(number):
            if number % 2:
                with span("work"):
                    burn(0.1)
            else:
                burn(0.1)

        with span("pool"), ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
            list(pool.map(work, range(8)))
    """)
    check_laws(seen)
    assert seen.cpu("work") == close_to(0.4)


@pytest.mark.slow
def test_two_concurrent_spans_with_children_of_different_sizes(scene):
    seen = scene.run("""
        import asyncio, subprocess, sys, threading
        from tests.mixes.books import keep_books
        keep_books()
        from e2s_tasks import span
        from tests.mixes.burning import BURN, burn, burning
        OUTER = "import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', sys.argv[1]])"

        def long():
            with span("long"):
                subprocess.run(burning(0.6), check=True)

        def short():
            with span("short"):
                for _ in range(4):
                    subprocess.run(burning(0.05), check=True)

        def below():
            with span("below"):
                subprocess.run([sys.executable, "-S", "-c", OUTER, BURN.format(0.3)], check=True)

        def pipeline():
            part = " ".join([sys.executable, "-S", "-c", f"'{BURN.format(0.1)}'"])
            with span("pipeline"):
                subprocess.run(f"{part} | {part}", shell=True, check=True)

        async def child():
            with span("async"):
                await (await asyncio.create_subprocess_exec(*burning(0.2))).wait()

        works = [long, short, below, pipeline, lambda: asyncio.run(child())]
        threads = [threading.Thread(target=work) for work in works]
        [one.start() for one in threads]
        [one.join() for one in threads]
    """)
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    given = {name: seen.cpu(name) for name in ("long", "short", "below", "pipeline", "async")}
    starts = {"long": (0.6, 1), "short": (0.2, 4), "below": (0.3, 2), "pipeline": (0.2, 3), "async": (0.2, 1)}
    expected = {
        name: close_to(seconds + count * START / 2, absolute=count * START / 2 + 0.02)
        for name, (seconds, count) in starts.items()
    }
    assert given == expected


def test_fifty_short_children_lose_nothing(scene):
    seen = scene.run("""
        import json, os, resource, subprocess, sys, time
        from tests.mixes.books import keep_books
        keep_books()
        from e2s_tasks import span
        from tests.mixes.burning import burning
        with span("before"):
            pass
        def used():
            ended = resource.getrusage(resource.RUSAGE_CHILDREN)
            return ended.ru_utime + ended.ru_stime + time.thread_time()
        with span("many"):
            before = used()
            for _ in range(30):
                subprocess.run(["/bin/sh", "-c", "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done"], check=True)
            print(json.dumps({"many": used() - before}))
    """)
    check_laws(seen)
    assert seen.cpu("many") == close_to(seen.truth["many"], absolute=0.01)


@pytest.mark.slow
def test_children_of_multiprocessing_with_spans_of_their_own_are_all_in_the_ledger(scene):
    seen = scene.run("""
        import multiprocessing
        from tests.mixes.burning import burn
        from tests.mixes.books import keep_books

        def work(number):
            keep_books()
            from e2s_tasks import span
            with span(f"child {number}"):
                burn(0.05 * number)
                with span(f"inside {number}"):
                    burn(0.05)

        if __name__ == "__main__":
            keep_books()
            from e2s_tasks import span
            with span("parent"):
                for method in ("fork", "spawn", "forkserver"):
                    context = multiprocessing.get_context(method)
                    workers = [context.Process(target=work, args=(number,)) for number in (1, 2, 3)]
                    [one.start() for one in workers]
                    [one.join() for one in workers]
    """)
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    for number in (1, 2, 3):
        found = [one for one in seen.all_spans if one.name in (f"child {number}", f"inside {number}")]
        assert [one.status for one in found] == ["completed"] * 6
        assert seen.cpu(f"child {number}") == close_to(3 * 0.05 * number)
        assert seen.cpu(f"inside {number}") == close_to(3 * 0.05)
    assert len(seen.books) == 10


@pytest.mark.slow
def test_a_forked_child_that_ends_inside_the_block_leaves_it_to_its_parent(scene):
    seen = scene.run("""
        import os, time
        from tests.mixes.books import keep_books
        keep_books()
        from e2s_tasks import span
        from e2s_tasks.recorder import process_recorder
        from tests.mixes.burning import burn
        with span("parent"):
            burn(0.1)
            pid = os.fork()
            if not pid:
                burn(0.3)  # unmeasured work of a child
                os._exit(3)
            assert os.waitpid(pid, 0)[1] == 3 << 8
            pid = os.fork()
            if not pid:
                with span("child"):
                    burn(0.2)
                    grandchild = os.fork()
                    if not grandchild:
                        with span("grandchild"):
                            burn(0.1)
                        process_recorder().close()
                        os._exit(0)
                    os.waitpid(grandchild, 0)
                process_recorder().close()
                os._exit(0)
            os.waitpid(pid, 0)
    """)
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    assert {name: one.status for name, one in seen.spans.items()} == dict.fromkeys(
        ("parent", "child", "grandchild"), "completed"
    )
    assert seen.cpu("child") == close_to(0.2)
    assert seen.cpu("grandchild") == close_to(0.1)
    assert seen.cpu("parent") == close_to(0.4)


@pytest.mark.slow
def test_a_forked_child_that_goes_on_after_the_block_ends_none_of_its_parents_spans(scene):
    seen = scene.run("""
        import os
        from tests.mixes.books import keep_books
        keep_books()
        from e2s_tasks import span
        from tests.mixes.burning import burn
        with span("outer"):
            with span("inner"):
                pid = os.fork()
                burn(0.3 if pid else 0.1)
            burn(0.2 if pid else 0.1)
            if pid:
                os.waitpid(pid, 0)
            else:
                with span("own"):
                    burn(0.1)
    """)
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    assert len(seen.all_spans) == 3
    assert {one.status for one in seen.all_spans} == {"completed"}
    # the parent's own 0.5 s, and at most what the child used outside its own span
    assert 0.49 < seen.cpu("inner") + seen.cpu("outer") <= seen.cpu_s - seen.cpu("own") + 0.002
    assert seen.cpu("inner") >= 0.3
    assert seen.cpu("own") == close_to(0.1)


MEASURED = """
    import sys
    from e2s_tasks import span
    from tests.mixes.burning import burn
    with span(sys.argv[1]):
        burn(float(sys.argv[2]))
"""


@pytest.mark.slow
def test_measured_programs_below_a_shell_that_has_no_meter_are_not_counted_again(scene):
    (scene.folder / "measured.py").write_text(textwrap.dedent(MEASURED))
    seen = scene.run("""
        import subprocess, sys, threading
        from tests.mixes.books import keep_books
        keep_books()
        from e2s_tasks import span
        from tests.mixes.burning import BURN
        inside = f"{sys.executable} measured.py {{}} {{}}"
        bare = f"{sys.executable} -S -c '{BURN.format(0.3)}'"

        def run(name, command):
            with span(name):
                subprocess.run(["/bin/sh", "-c", command + "; true"], check=True)

        works = [
            ("one", inside.format("in-one", 0.8)),
            ("two", bare + "; " + inside.format("in-two", 0.4) + "; " + bare),
            ("bare", bare),
        ]
        threads = [threading.Thread(target=run, args=work) for work in works]
        [one.start() for one in threads]
        [one.join() for one in threads]
    """)
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    assert seen.cpu("in-one") == close_to(0.8)
    assert seen.cpu("in-two") == close_to(0.4)
    assert seen.cpu("one") < 0.75  # the imports of the program
    assert seen.cpu("bare") == close_to(0.3)
    assert 0.5 < seen.cpu("two") < 0.6 + 0.75


UNUSUAL = """
    import json, multiprocessing, os, shlex, sys, threading, time
    from tests.mixes.books import keep_books
    from tests.mixes.burning import burn, burning

    def start(how, seconds):
        command = burning(seconds)
        if how == "os.system":
            assert os.system(shlex.join(command)) == 0
        elif how == "os.posix_spawn":
            os.waitpid(os.posix_spawn(command[0], command, os.environ), 0)
        elif how == "os.popen":
            with os.popen(shlex.join(command)) as pipe:
                pipe.read()
        elif how == "pty.spawn":
            import pty
            pty.spawn(command)
        else:
            worker = multiprocessing.get_context("spawn").Process(target=burn, args=(seconds,))
            worker.start()
            worker.join()

    if __name__ == "__main__":
        keep_books()
        from e2s_tasks import span

        def work(name, seconds):
            with span(name):
                if sys.argv[2] == "later":
                    time.sleep(0.05)
                start(sys.argv[1], seconds)

        sizes = {"small": 0.05, "large": 0.6}
        threads = [threading.Thread(target=work, args=size) for size in sizes.items()]
        [one.start() for one in threads]
        [one.join() for one in threads]
"""


SLOW = [pytest.param(one, marks=pytest.mark.slow) for one in ("os.popen", "multiprocessing", "pty.spawn")]


@pytest.mark.parametrize("how", ["os.system", "os.posix_spawn", *SLOW])
def test_children_that_are_started_in_unusual_ways_belong_to_their_span(scene, how):
    seen = scene.run(UNUSUAL, how, "later")
    assert seen.code == 0
    check_laws(seen)
    start = 0.35 if how == "multiprocessing" else START
    assert seen.cpu("large") == close_to(0.6 + start / 2, absolute=start)
    assert seen.cpu("small") == close_to(0.05 + start / 2, absolute=start)


def test_a_child_that_starts_with_the_first_spans_belongs_to_its_own(scene):
    seen = scene.run(UNUSUAL, "os.system", "at once")
    check_laws(seen)
    assert seen.cpu("small") == close_to(0.05 + START / 2)


@pytest.mark.slow
def test_what_a_measured_worker_starts_is_the_workers_alone(scene):
    seen = scene.run("""
        import os, subprocess
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        from tests.mixes.burning import burn, burning
        from tests.mixes.books import keep_books
        keep_books()
        from e2s_tasks import span

        def work(number):
            with span("work"):
                subprocess.run(burning(0.2), check=True)
                burn(0.05)

        with span("pool"), ProcessPoolExecutor(3, mp_context=get_context("fork")) as pool:
            list(pool.map(work, range(6)))
    """)
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    works = [one.cpu_ns / 1e9 for one in seen.all_spans if one.name == "work"]
    assert works == [close_to(0.25 + START / 2, absolute=START / 2 + 0.01)] * 6
    assert seen.cpu("pool") < 0.2


def test_a_daemon_is_nobodys_and_breaks_nothing(scene):
    seen = scene.run("""
        import os, subprocess, sys, time
        from tests.mixes.books import keep_books
        keep_books()
        from e2s_tasks import span
        from tests.mixes.burning import BURN, burn
        DAEMON = "import os\\nif os.fork(): os._exit(0)\\nos.setsid()\\nif os.fork(): os._exit(0)\\n" + BURN.format(0.5)
        with span("starts a daemon"):
            subprocess.run([sys.executable, "-S", "-c", DAEMON], check=True)
            burn(0.2)
            time.sleep(0.5)
    """)
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    given = seen.cpu("starts a daemon")
    assert 0.2 <= given <= 0.2 + 0.5 + 2 * START
    assert seen.spans["starts a daemon"].other_j >= 45.0 * (0.7 - given) * 0.9 - 1


def test_two_processes_with_one_data_directory_share_the_hosts_idle_power(scene):
    program = """
        import time
        from tests.mixes.books import keep_books
        keep_books()
        from e2s_tasks import span
        from tests.mixes.burning import burn
        print("ready", flush=True)
        input()
        for number in range(10):
            with span("part"):
                burn(0.02)
                time.sleep(0.05)
    """
    both = [scene.start(program) for _ in range(2)]
    assert [one.line() for one in both] == ["ready", "ready"]
    for one in both:
        one.process.stdin.write("\n")
        one.process.stdin.flush()
    [one.end() for one in both]
    ends = scene.spans()
    assert len(ends) == 20
    elapsed = max(one.ended_at for one in ends) - min(one.started_at for one in ends)
    static = sum(one.static_j for one in ends)
    assert static <= 10.0 * elapsed * 1.001
    # At each moment between a process's first start and last end some span of it is open, save between two parts.
    assert static >= 10.0 * elapsed * 0.9
    assert [one.cpu_ns / 1e9 for one in ends] == [close_to(0.02, absolute=0.006)] * 20
