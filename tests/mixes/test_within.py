"""Programs that measured work starts by `subprocess`, and that measure themselves: they belong to what started them."""

import json
import os
import subprocess
import sys

import pytest

from e2s_tasks import span
from e2s_tasks.core.records import Kind
from e2s_tasks.recorder.starter import VARIABLE, _told, starter
from e2s_tasks.settings import settings
from tests.mixes.scene import check_laws

INNER = """
from e2s_tasks import record_outcome, span
from tests.mixes.burning import burn
with span("inner"):
    burn(0.2)
    with span("deeper"):
        burn(0.1)
"""
OUTER = """
import os, subprocess, sys
from tests.mixes.books import keep_books
keep_books()
from e2s_tasks import span
from tests.mixes.burning import burn
with span("outer"):
    burn(0.2)
    {}
"""
RUN = "subprocess.run([sys.executable, 'inner.py'], check=True)"


@pytest.fixture
def started(scene):
    """A measured program that starts another one in the given way; the runs that the ledger lists afterwards."""

    def run(how=RUN, inner=INNER, **environment):
        (scene.folder / "inner.py").write_text(inner)
        seen = scene.run(OUTER.format(how), **environment)
        assert (seen.code, seen.stderr) == (0, "")
        check_laws(seen)
        return seen, [row.name for row in scene.ledger().runs(limit=None)]

    return run


def test_what_a_child_measures_is_part_of_the_span_that_started_it(started):
    seen, runs = started()
    outer, inner, deeper = (seen.spans[name] for name in ("outer", "inner", "deeper"))
    assert runs == ["outer"]
    assert (inner.parent_id, deeper.parent_id) == (outer.id, inner.id)
    assert {one.run_id for one in seen.all_spans} == {outer.id}
    assert seen.cpu("inner") == pytest.approx(0.2, abs=0.05)
    assert seen.cpu("deeper") == pytest.approx(0.1, abs=0.05)
    assert sum(one.cpu_ns for one in seen.all_spans) / 1e9 >= seen.cpu_s - 0.12


def test_idle_power_is_the_outer_spans_alone(started):
    seen, _ = started()
    assert seen.spans["outer"].static_j > 0
    assert seen.spans["inner"].static_j == seen.spans["deeper"].static_j == 0.0


@pytest.mark.slow
def test_what_a_shell_starts_is_part_of_it_too(started):
    seen, runs = started("subprocess.run(['/bin/sh', '-c', f'{sys.executable} inner.py; true'], check=True)")
    assert runs == ["outer"]
    assert seen.spans["inner"].parent_id == seen.spans["outer"].id


@pytest.mark.slow
def test_a_grandchild_belongs_to_the_span_of_the_measured_child_that_started_it(started):
    middle = "import subprocess, sys\nfrom e2s_tasks import span\nwith span('middle'): " + RUN
    seen, runs = started(f"subprocess.run([sys.executable, '-c', {middle!r}], check=True)")
    assert runs == ["outer"]
    assert seen.spans["middle"].parent_id == seen.spans["outer"].id
    assert seen.spans["inner"].parent_id == seen.spans["middle"].id


def test_an_outcome_that_a_child_tells_outside_its_spans_is_the_starters(started, scene):
    seen, _ = started(inner=INNER + "record_outcome(5, name='row')")
    (outcome,) = scene.ledger().run(seen.spans["outer"].id).outcomes
    assert (outcome.span_id, outcome.units, outcome.name) == (seen.spans["outer"].id, 5.0, "row")


@pytest.mark.slow
def test_an_artifact_and_energy_that_a_child_tells_are_the_starters(started, scene):
    seen, _ = started(
        inner="""
from e2s_tasks import record_artifact, record_energy, record_input
record_input("postgresql://host/in")
record_artifact("postgresql://host/out")
record_energy(7.0, source="BigQuery")
"""
    )
    outer = seen.spans["outer"]
    run = scene.ledger().run(outer.id)
    assert [(one.uri, one.span_id) for one in run.versions] == [("postgresql://host/out", outer.id)]
    assert [(one.uri, one.span_id) for one in run.reads] == [("postgresql://host/in", outer.id)]
    assert (seen.spans["BigQuery"].parent_id, seen.spans["BigQuery"].remote_j) == (outer.id, 7.0)


@pytest.mark.slow
def test_a_directorys_files_that_the_starter_made_are_new_for_its_child(started, scene):
    (scene.folder / "out").mkdir()
    (scene.folder / "out" / "old").write_text("x")
    seen, _ = started(
        "open('out/before', 'w').close(); " + RUN,
        inner="from e2s_tasks import record_artifact\nopen('out/new', 'w').close()\nrecord_artifact('out')",
    )
    (version,) = scene.ledger().run(seen.spans["outer"].id).versions
    assert sorted(path for path, *_ in version.written) == ["before", "new"]


@pytest.mark.slow
def test_a_child_that_outlives_its_starters_process_is_a_run_of_its_own(started, scene):
    waits = "import json, os, time\nstarter = json.loads(os.environ['E2S_WITHIN'])['pid']\n"
    waits += "while os.getppid() == starter: time.sleep(0.01)\n"
    seen, runs = started("subprocess.Popen([sys.executable, 'inner.py'])", inner=waits + INNER)
    assert sorted(runs) == ["inner", "outer"]
    assert seen.spans["inner"].run_id == seen.spans["inner"].id


@pytest.mark.slow
def test_work_that_begins_after_the_span_is_under_what_was_open_around_it(started):
    waits = "import sys\nsys.stdin.read()\n"
    seen, runs = started(
        """
    with span("over"):
        child = subprocess.Popen([sys.executable, "inner.py"], stdin=subprocess.PIPE)
    child.communicate()
""",
        inner=waits + INNER,
    )
    assert runs == ["outer"]
    assert seen.spans["inner"].parent_id == seen.spans["outer"].id


@pytest.mark.slow
@pytest.mark.parametrize(
    "told", ["", "{", "[]", '{"pid": 1}', '{"run_id": "r", "parent_id": "p", "pid": 1, "ticks": 0}']
)
def test_without_a_measured_starter_a_program_is_a_run_of_its_own(scene, told):
    seen = scene.run("from e2s_tasks import span\nwith span('alone'): pass", **({VARIABLE: told} if told else {}))
    assert (seen.code, seen.stderr) == (0, "")
    assert seen.spans["alone"].run_id == seen.spans["alone"].id
    assert seen.spans["alone"].parent_id is None


@pytest.mark.slow
def test_a_starter_whose_recorder_is_off_tells_nothing(started):
    seen, runs = started(RUN.replace(")", ", env=os.environ | {'E2S_ENABLED': 'true'})"), E2S_ENABLED="false")
    assert runs == ["inner"]
    assert seen.spans["inner"].parent_id is None


@pytest.mark.slow
def test_a_child_with_a_ledger_of_its_own_is_a_run_there(started, scene):
    _, runs = started(RUN.replace(")", ", env=os.environ | {'E2S_DATA_DIR': 'elsewhere'})"))
    assert runs == ["outer"]
    scene.data = scene.folder / "elsewhere"
    assert [row.name for row in scene.ledger().runs(limit=None)] == ["inner"]


# -- the environment ------------------------------------------------------------------------------------------------

TELL = [sys.executable, "-S", "-c", "import json, os; print(json.dumps(dict(os.environ)))"]


def told(*more, **options):
    """The environment that a child finds."""
    options |= {} if more else {"stdout": subprocess.PIPE}
    with subprocess.Popen(TELL, *more, **options) as process:
        return json.loads(process.stdout.read())


def within(environment):
    return json.loads(environment[VARIABLE])


def test_a_child_finds_the_span_and_all_that_it_was_given(recorded):
    given, before = {"A": "1", "B": "two words"}, dict(os.environ)
    with span("around") as around:
        plain, own = told(), told(env=given)
        positional = told(-1, None, None, subprocess.PIPE, None, None, True, False, None, given)
        in_bytes = told(env={b"A": b"1", VARIABLE.encode(): b"of another"})
    for one in (plain, own, positional, in_bytes):
        assert (within(one)["parent_id"], within(one)["run_id"]) == (around.id, around.id)
        assert within(one)["pid"] == os.getpid()
    assert {name: own.get(name) for name in given} == {name: positional.get(name) for name in given} == given
    assert in_bytes["A"] == "1"
    assert before.items() <= plain.items()
    assert (given, dict(os.environ)) == ({"A": "1", "B": "two words"}, before)
    assert "HOME" not in own


@pytest.mark.parametrize("spawn", ["posix_spawn", "posix_spawnp"])
def test_a_child_of_posix_spawn_finds_the_span_too(recorded, tmp_path, spawn):
    path, given = tmp_path / "told.json", {"A": "1"}
    into_file = [(os.POSIX_SPAWN_OPEN, 1, str(path), os.O_CREAT | os.O_WRONLY, 0o600)]
    with span("around") as around:
        os.waitpid(getattr(os, spawn)(TELL[0], TELL, given, file_actions=into_file), 0)
    found = json.loads(path.read_text())
    assert (found["A"], within(found)["parent_id"], given) == ("1", around.id, {"A": "1"})
    with span("around"), pytest.raises(TypeError, match="env"):
        getattr(os, spawn)(TELL[0], TELL)


def test_a_child_has_what_was_put_past_the_environment_that_python_knows(recorded):
    os.putenv("PUT_PAST_IT", "1")
    try:
        with span("around"):
            assert told()["PUT_PAST_IT"] == "1"
    finally:
        os.unsetenv("PUT_PAST_IT")


@pytest.mark.parametrize("broken", ['{"ticks": Infinity, "pid": Infinity}', "[" * 100_000, "{}", "no JSON"])
def test_a_starter_that_cannot_be_understood_is_none(broken, monkeypatch):
    monkeypatch.setenv(VARIABLE, broken)
    _told.cache_clear()
    assert starter(settings()) is None
    _told.cache_clear()


def test_a_child_that_no_span_starts_finds_what_its_starter_found(recorded, monkeypatch):
    with span("before"):
        pass
    assert VARIABLE not in told()
    monkeypatch.setenv(VARIABLE, "from above")
    assert told()[VARIABLE] == "from above"


def test_an_environment_that_cannot_be_used_fails_as_without_a_span(recorded):
    for wrong in (7, {"A": 1}, {"A\0": "1"}):
        with pytest.raises(Exception) as without:  # noqa: PT011 - whatever Popen says
            subprocess.Popen(TELL, env=wrong)
        with span("around"), pytest.raises(type(without.value)) as raised:
            subprocess.Popen(TELL, env=wrong)
        assert str(raised.value) == str(without.value)


def test_solution_flow_run_and_stage_go_on(recorded):
    facts = {"flow_run_id": "f-1", "solution": "delay \u00fc", "stage": "training"}
    with recorded.recorder.span("flow", Kind.FLOW, facts), span("inside") as inside:
        found = within(told())
    assert {name: found[name] for name in facts} == facts
    assert (found["run_id"], found["parent_id"]) == ("f-1", inside.id)


def test_what_a_child_is_told_is_written_down_before_it_starts(recorded):
    with span("around") as around:
        told()
        text = recorded.recorder._journal.path.read_text()
    assert f'"id":"{around.id}"' in text


def test_what_a_child_is_prepared_with_is_in_its_environment_as_ever(started):
    seen, runs = started(
        """
    prepare = lambda: os.environ.update(PREPARED="yes")
    for expected, given in ((("yes", None), None), (("no", "too"), {**os.environ, "PREPARED": "no", "GIVEN": "too"})):
        command = [sys.executable, "inner.py", *map(str, expected)]
        subprocess.run(command, preexec_fn=prepare, env=given, check=True)
        subprocess.run(command, check=True, **({"env": given} if given else {"preexec_fn": prepare}))
""",
        inner="import os, sys\nassert sys.argv[1:] == [os.environ['PREPARED'], str(os.environ.get('GIVEN'))]\n"
        "from e2s_tasks import span\nwith span('inner'): pass",
    )
    assert runs == ["outer"]
    assert [one.parent_id for one in seen.all_spans if one.name == "inner"] == [seen.spans["outer"].id] * 4
