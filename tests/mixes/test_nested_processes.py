"""Measured and unmeasured processes below each other: nothing is counted twice, what the kernel tells is not lost."""

import textwrap

import pytest

from tests.mixes.scene import check_laws

LOST = 0.12  # CPU seconds outside all spans: recorders that are made, interpreters of measured programs that end


def close_to(seconds, relative=0.02, absolute=0.02):
    return pytest.approx(seconds, rel=relative, abs=absolute)


def given(seen):
    return sum(one.cpu_ns for one in seen.all_spans) / 1e9


PROGRAMS = {
    # name, seconds of its own, seconds of an unmeasured child
    "measured.py": """
        import subprocess, sys
        from e2s_tasks import span
        from tests.mixes.burning import burn, burning
        with span(sys.argv[1]):
            burn(float(sys.argv[2]))
            if len(sys.argv) > 3:
                subprocess.run(burning(float(sys.argv[3])), check=True)
    """,
    # name, then the arguments of a measured program that it starts; with "leave" it does not wait for that one's end
    "outer.py": """
        import subprocess, sys
        from e2s_tasks import span
        from tests.mixes.burning import burn
        name, how, *arguments = sys.argv[1:]
        with span(name):
            burn(0.1)
            inner = subprocess.Popen([sys.executable, "measured.py", *arguments])
            if how == "wait":
                inner.wait()
        if how == "at exit":
            import atexit
            atexit.register(inner.wait)  # runs before the recorder's own
        if how == "after all":
            import threading
            from e2s_tasks.recorder import process_recorder
            process_recorder().close()
            inner.wait()
    """,
    "killed.py": """
        import os, signal, time
        from e2s_tasks import span
        from tests.mixes.burning import burn
        with span("killed"):
            burn(0.3)
            time.sleep(0.3)
            burn(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
    """,
    "main.py": """
        import os, subprocess, sys
        from tests.mixes.books import keep_books
        keep_books()
        from e2s_tasks import span
        from tests.mixes.burning import BURN

        bare = f"{sys.executable} -S -c '{BURN.format(0.2)}'"
        python = sys.executable

        def shell(name, *commands):
            with span(name):
                subprocess.run(["/bin/sh", "-c", "; ".join(commands) + "; true"], check=True)
    """,
}


@pytest.fixture
def programs(scene):
    for name, text in PROGRAMS.items():
        (scene.folder / name).write_text(textwrap.dedent(text))
    return scene


def run(scene, text, complaint="", **options):
    seen = scene.run(textwrap.dedent(PROGRAMS["main.py"]) + textwrap.dedent(text), **options)
    assert (seen.code, seen.stderr) == (0, complaint)
    check_laws(seen)
    return seen


@pytest.mark.slow
def test_a_shell_with_a_measured_program_that_starts_unmeasured_ones(programs):
    seen = run(programs, """shell("shell", bare, f"{python} measured.py inside 0.2 0.3", bare)""")
    assert seen.cpu("inside") == close_to(0.52, absolute=0.03)
    assert 0.4 <= seen.cpu("shell") < 0.4 + 0.4
    assert given(seen) >= seen.cpu_s - LOST


@pytest.mark.slow
@pytest.mark.parametrize("how", ["wait", "at exit", "after all", "leave"])
def test_a_measured_program_below_a_measured_one_below_a_shell(programs, how):
    seen = run(programs, f"""shell("shell", bare, f"{{python}} outer.py outer '{how}' inner 0.4", bare)""")
    assert seen.cpu("inner") == close_to(0.4)
    assert seen.cpu("outer") < 0.1 + 0.4
    if how in ("wait", "at exit"):
        assert seen.cpu("shell") >= 0.4
    if how == "wait":  # else the inner program starts after the outer one's span, which is nobody's
        assert given(seen) >= seen.cpu_s - 2 * LOST


@pytest.mark.slow
def test_what_a_killed_measured_program_had_claimed_is_not_its_starters_and_the_rest_is(programs):
    seen = run(programs, """shell("shell", bare, f"{python} killed.py", bare)""", complaint="Killed\n")
    assert seen.cpu("killed") >= 0.3
    assert 0.4 <= seen.cpu("shell") <= seen.cpu_s - 0.3
    assert given(seen) >= seen.cpu_s - LOST


@pytest.mark.parametrize("tick", ["0.05", "5"])
def test_measured_programs_that_are_started_unseen_several_shells_deep(programs, tick):
    seen = run(
        programs,
        """
        with span("unseen"):
            for number in range(2):
                os.system(f"/bin/sh -c '({python} measured.py inside 0.2; true); true'; true")
        """,
        E2S_TICK_S=tick,
    )
    assert seen.cpu("inside") == close_to(0.4)
    assert seen.cpu("unseen") <= seen.cpu_s - 0.4


def test_a_measured_program_thirty_shells_deep_is_counted_once(programs):
    deeper = """n=$1; shift; [ $n -le 0 ] && exec "$@"; sh deeper.sh $((n-1)) "$@"; true"""
    (programs.folder / "deeper.sh").write_text(deeper)
    seen = run(programs, """shell("shell", f"sh deeper.sh 30 {python} measured.py inside 0.4")""")
    assert seen.cpu("inside") == close_to(0.4)
    assert seen.cpu("shell") <= seen.cpu_s - 0.4


@pytest.mark.parametrize("around", ["", pytest.param("with span('around'):", marks=pytest.mark.slow)])
def test_what_a_forkserver_starts_is_whose_it_was_started_for_also_in_later_spans(scene, around):
    seen = scene.run(f"""
        import multiprocessing
        from tests.mixes.burning import burn
        from tests.mixes.books import keep_books

        def work(name, seconds):
            from e2s_tasks import span
            with span(name):
                worker = context.Process(target=burn, args=(seconds,))
                worker.start()
                worker.join()

        context = multiprocessing.get_context("forkserver")
        if __name__ == "__main__":
            keep_books()
            from e2s_tasks import span
            {around or "if True:"}
                work("first", 0.1)
                work("second", 0.3)
                work("third", 0.3)
    """)
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    for name in ("second", "third"):
        assert 0.3 <= seen.cpu(name) < 0.3 + 0.15  # with what the worker imports
    assert given(seen) >= seen.cpu_s - LOST - 0.02


@pytest.mark.slow
def test_what_a_forkserver_starts_for_nobody_is_not_of_who_has_started_it(scene):
    seen = scene.run("""
        import multiprocessing, threading
        from tests.mixes.burning import burn
        from tests.mixes.books import keep_books

        def work(seconds):
            worker = context.Process(target=burn, args=(seconds,))
            worker.start()
            worker.join()

        context = multiprocessing.get_context("forkserver")
        if __name__ == "__main__":
            keep_books()
            from e2s_tasks import span
            begun, done = threading.Event(), threading.Event()
            thread = threading.Thread(target=lambda: (begun.wait(), work(0.4), done.set()))
            thread.start()
            with span("first"):
                work(0.1)
                begun.set()
                done.wait()
            thread.join()
    """)
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    assert seen.cpu("first") < 0.1 + 0.25  # with the start of the forkserver and what its worker imports


@pytest.mark.slow
def test_measured_and_unmeasured_workers_below_one_forkserver(scene):
    seen = scene.run("""
        import multiprocessing
        from tests.mixes.burning import burn
        from tests.mixes.books import keep_books

        def measured(seconds):
            from e2s_tasks import span
            with span("work"):
                burn(seconds)

        if __name__ == "__main__":
            keep_books()
            from e2s_tasks import span
            context = multiprocessing.get_context("forkserver")
            with span("starter"):
                workers = [context.Process(target=one, args=(0.3,)) for one in (measured, burn, measured, burn)]
                [one.start() for one in workers]
                [one.join() for one in workers]
    """)
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    assert seen.cpu("work") == close_to(0.6)
    assert seen.cpu("starter") >= 0.6
    assert given(seen) >= seen.cpu_s - LOST - 0.02


def test_a_process_whose_recorder_is_off_is_its_starters(programs):
    seen = run(programs, """shell("shell", f"E2S_ENABLED=0 {python} measured.py inside 0.3")""")
    assert [one.name for one in seen.all_spans] == ["shell"]
    assert seen.cpu("shell") >= 0.3
    assert given(seen) >= seen.cpu_s - LOST


@pytest.mark.slow
def test_children_that_several_threads_start_and_reap_at_once_are_each_their_own(scene):
    seen = scene.run("""
        import os, sys, threading
        from tests.mixes.books import keep_books
        keep_books()
        from e2s_tasks import span
        from tests.mixes.burning import burning

        def work(name, seconds):
            with span(name):
                for _ in range(10):
                    command = burning(seconds)
                    os.waitpid(os.posix_spawn(command[0], command, os.environ), 0)

        def boundaries():
            while any(one.is_alive() for one in threads):
                with span("boundary"):
                    stop.wait(0.006)

        stop = threading.Event()
        threads = [threading.Thread(target=work, args=one) for one in (("long", 0.06), ("short", 0.02))]
        [one.start() for one in threads]
        boundaries()
    """)
    assert (seen.code, seen.stderr) == (0, "")
    check_laws(seen)
    assert given(seen) >= seen.cpu_s - LOST
