"""What a measured child process uses before, between and after its own spans is its starter's, however it ends."""

import textwrap

import pytest

from tests.mixes.scene import check_laws

LOST = 0.12  # CPU seconds outside all spans: the recorder of the first process, which comes and goes
OUTER = """
import os, subprocess, sys
from tests.mixes.books import keep_books
keep_books()
from e2s_tasks import span
from tests.mixes.burning import burn
with span("outer"):
    burn(0.1)
    {}
"""
RUN = "subprocess.run([sys.executable, 'inner.py'])"
SHELL = "subprocess.run(['/bin/sh', '-c', f'{sys.executable} inner.py; true'])"
POOL = """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context
    import inner
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        list(pool.map(inner.work, range(3)))
"""
HEAD = """
import os, subprocess, sys, threading, time
from e2s_tasks import record_outcome, span
from tests.mixes.burning import burn, burning
"""
MEASURED = 'with span("inner"): burn(0.2)\n'
KILLED = "by SIGKILL"
ENDS = {
    "at its end": "burn(0.6)",
    "by os._exit": "burn(0.6); os._exit(0)",
    KILLED: "burn(0.6); os.kill(os.getpid(), 9)",
}


@pytest.fixture
def seen_with(scene):
    """What came of a span that starts `inner.py` in the given way; the laws are checked, and that nothing is lost."""

    def run(inner, how=RUN, lost=LOST):
        (scene.folder / "inner.py").write_text(HEAD + textwrap.dedent(inner))
        seen = scene.run(OUTER.format(how))
        check_laws(seen)
        given = sum(one.cpu_ns for one in seen.all_spans) / 1e9
        assert seen.cpu_s - lost <= given <= seen.cpu_s + 0.01
        return seen

    return run


@pytest.mark.parametrize("end", [pytest.param(end, marks=pytest.mark.slow) for end in ENDS if end != KILLED] + [KILLED])
def test_what_comes_after_a_childs_span_is_its_starters(end, seen_with):
    seen = seen_with(MEASURED + ENDS[end])
    assert seen.cpu("inner") == pytest.approx(0.2, abs=0.03)
    assert seen.cpu("outer") >= 0.7


@pytest.mark.slow
def test_what_comes_between_a_childs_spans_is_its_starters(seen_with):
    seen = seen_with(MEASURED + "burn(0.6)\n" + MEASURED)
    assert seen.cpu("inner") == pytest.approx(0.4, abs=0.05)
    assert seen.cpu("outer") >= 0.7


@pytest.mark.slow
def test_a_child_that_only_tells_an_outcome_is_its_starters(seen_with):
    assert seen_with("record_outcome(1, name='row')\nburn(0.6)").cpu("outer") >= 0.7


@pytest.mark.slow
def test_below_a_shell_it_is_the_same(seen_with):
    assert seen_with(MEASURED + "burn(0.6)", SHELL).cpu("outer") >= 0.7


@pytest.mark.slow
@pytest.mark.parametrize("then", ["", "\nburn(0.2)", "\nos._exit(0)"])
def test_what_a_child_starts_after_its_span_is_its_starters(then, seen_with):
    seen = seen_with(MEASURED + "subprocess.run(burning(0.6))" + then)
    assert seen.cpu("inner") == pytest.approx(0.2, abs=0.03)
    assert seen.cpu("outer") >= 0.7


@pytest.mark.slow
def test_what_a_child_starts_in_its_span_is_its_own_and_what_comes_after_is_not(seen_with):
    seen = seen_with('with span("inner"): subprocess.run(burning(0.4))\nburn(0.4)')
    assert seen.cpu("inner") == pytest.approx(0.42, abs=0.06)


@pytest.mark.slow
def test_work_in_threads_between_spans_is_its_starters(seen_with):
    thread = "thread = threading.Thread(target=burn, args=(0.6,)); thread.start(); thread.join()"
    assert seen_with(MEASURED + thread).cpu("outer") >= 0.7


@pytest.mark.slow
def test_a_forked_worker_that_measures_a_part_of_its_work_leaves_the_rest_to_who_started_it(seen_with):
    work = """
        def work(number):
            burn(0.3)
            with span("inner"):
                burn(0.1)
    """
    seen = seen_with(work, POOL)
    assert seen.cpu("inner") == pytest.approx(0.3, abs=0.05)
    assert seen.cpu("outer") >= 1.0


@pytest.mark.slow
def test_a_child_that_is_killed_in_its_span_loses_nothing_of_what_its_parent_can_see(seen_with):
    seen = seen_with('burn(0.3)\nwith span("inner"): burn(0.3); os.kill(os.getpid(), 9)')
    assert seen.cpu("outer") >= 0.4


@pytest.mark.slow
def test_what_a_measured_grandchild_leaves_is_never_counted_twice(seen_with):
    deeper = "import sys; sys.path.insert(0, '.')\n" + HEAD + 'with span("deeper"): burn(0.3)\nburn(0.2)'
    inner = MEASURED + f"subprocess.run([sys.executable, '-c', {deeper!r}])\nburn(0.2)"
    seen = seen_with(
        inner, lost=1.0
    )  # after its own spans a child follows nobody, and its parent cannot tell them apart
    assert seen.cpu("deeper") == pytest.approx(0.3, abs=0.05)
