"""Workers that measured work starts by `multiprocessing`, and that measure themselves: they belong to that work."""

import textwrap

import pytest

from e2s_tasks.core.lineage import lineage_of
from tests.mixes.scene import check_laws

PROGRAM = """
import subprocess, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from tests.mixes.books import keep_books
from tests.mixes.burning import burn
from e2s_tasks import record_outcome, span

METHOD = sys.argv[1] if len(sys.argv) > 1 else "spawn"

def work(name):
    with span(name):
        burn(0.1)
    record_outcome(1, name="row")

def in_pool(name, method=METHOD):
    with ProcessPoolExecutor(1, get_context(method)) as pool:
        pool.submit(work, name).result()

def in_process(name, method=METHOD, target=work):
    worker = get_context(method).Process(target=target, args=(name,))
    worker.start()
    worker.join()

{work}

if __name__ == "__main__":
    keep_books()
{main}
"""


@pytest.fixture
def worked(scene):
    """A measured program with workers; the names of the runs that the ledger lists afterwards."""

    def run(main, *arguments, work=""):
        program = PROGRAM.format(work=textwrap.dedent(work), main=textwrap.indent(textwrap.dedent(main), " " * 4))
        seen = scene.run(program, *arguments)
        assert (seen.code, seen.stderr) == (0, "")
        return seen, sorted(row.name for row in scene.ledger().runs(limit=None))

    return run


@pytest.mark.parametrize(
    "method", ["spawn", *(pytest.param(one, marks=pytest.mark.slow) for one in ("forkserver", "fork"))]
)
def test_what_workers_measure_and_tell_is_part_of_the_span_that_started_them(worked, scene, method):
    seen, runs = worked(
        """
        with span("outer"):
            in_pool("pooled")
            in_process("alone")
        """,
        method,
    )
    check_laws(seen)
    outer = seen.spans["outer"]
    assert runs == ["outer"]
    assert {seen.spans[name].parent_id for name in ("pooled", "alone")} == {outer.id}
    assert [one.span_id for one in scene.ledger().run(outer.id).outcomes] == [outer.id] * 2
    assert seen.cpu("pooled") == pytest.approx(0.1, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_what_a_worker_writes_carries_the_joules_of_the_span_that_started_it(worked, scene, method):
    seen, _ = worked(
        """
        with span("outer"):
            burn(0.3)
            in_process("out", target=write)
        """,
        method,
        work="""
        def write(name):
            from e2s_tasks.io import writing
            with writing(name):
                open(name, "w").close()
        """,
    )
    records = scene.ledger().run(seen.spans["outer"].id)
    (version,) = lineage_of(records).versions.values()
    assert version.in_run_j > seen.spans["outer"].energy.total > 0


@pytest.mark.slow
def test_a_pool_that_was_made_before_any_span_starts_its_workers_in_the_one_that_uses_it(worked):
    seen, runs = worked("""
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            with span("outer"):
                pool.submit(work, "inner").result()
    """)
    assert runs == ["outer"]
    assert seen.spans["inner"].parent_id == seen.spans["outer"].id


@pytest.mark.slow
def test_workers_that_started_before_any_span_are_nobodys(worked):
    _, runs = worked("""
        with get_context("spawn").Pool(1) as pool:
            pool.apply(abs, (1,))
            with span("outer"):
                pool.apply(inside, ("inner",))
            pool.close()
            pool.join()
    """, work="""
        def inside(name):
            with span(name):
                pass
    """)  # fmt: skip
    assert runs == ["inner", "outer"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("inner", ["spawn", "forkserver", "fork"])
def test_a_workers_own_worker_belongs_to_the_span_that_the_first_has_open_else_to_its_starters(worked, method, inner):
    seen, runs = worked(
        """
        with span("outer"):
            in_process(sys.argv[2], target=nest)
        """,
        method,
        inner,
        work="""
        def nest(inner):
            in_process("below outer", inner)
            with span("middle"):
                in_process("below middle", inner)
            in_process("below outer again", inner)
        """,
    )
    check_laws(seen)
    outer, middle = seen.spans["outer"].id, seen.spans["middle"].id
    parents = {name: one.parent_id for name, one in seen.spans.items() if name != "outer"}
    assert runs == ["outer"]
    assert parents == {"middle": outer, "below middle": middle, "below outer": outer, "below outer again": outer}


@pytest.mark.slow
def test_a_program_that_a_worker_starts_outside_its_spans_is_the_starters_too(worked):
    seen, runs = worked(
        """
        if METHOD == "near":
            with span("near"):
                in_process("inner", "spawn", target=starts)
        else:
            with span("far"):
                subprocess.run([sys.executable, __file__, "near"], check=True)
        """,
        work="""
        CODE = "from e2s_tasks import span\\nwith span('program'): pass"

        def starts(name):
            with span(name):
                pass
            subprocess.run([sys.executable, "-c", CODE], check=True)
        """,
    )
    assert runs == ["far"]
    near = seen.spans["near"]
    assert near.parent_id == seen.spans["far"].id
    assert {seen.spans[name].parent_id for name in ("inner", "program")} == {near.id}


@pytest.mark.slow
def test_a_worker_that_outlives_its_span_is_under_what_was_open_around_that(worked):
    seen, runs = worked("""
        with span("outer"):
            with span("over"):
                pool = ProcessPoolExecutor(1, get_context("spawn"))
                pool.submit(work, "in time").result()
            pool.submit(work, "late").result()
            pool.shutdown()
    """)
    assert runs == ["outer"]
    assert seen.spans["in time"].parent_id == seen.spans["over"].id
    assert seen.spans["late"].parent_id == seen.spans["outer"].id


@pytest.mark.slow
def test_a_span_at_the_import_of_a_workers_main_module_does_not_decide_whose_its_work_is(worked):
    seen, _ = worked("with span('outer'): in_process('inner')", work="with span('on import'): pass")
    assert seen.spans["inner"].parent_id == seen.spans["outer"].id


def test_workers_are_watched_though_multiprocessing_is_loaded_after_the_first_span_which_does_not_load_it(scene):
    seen = scene.run("""
        import sys
        from e2s_tasks import span
        def work():
            with span("inner"):
                pass
        if __name__ == "__main__":
            with span("outer"):
                assert "multiprocessing" not in sys.modules
                from multiprocessing import get_context
                worker = get_context("spawn").Process(target=work)
                worker.start()
                worker.join()
    """)
    assert (seen.code, seen.stderr) == (0, "")
    assert seen.spans["inner"].parent_id == seen.spans["outer"].id
