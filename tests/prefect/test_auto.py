"""Plain Prefect tasks and flows, measured without an edit."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from prefect.settings import get_current_settings

from e2s_tasks.ledger import Ledger, replay

PLAIN = """
    import signal, sys
    from prefect import flow, task
    from prefect.cache_policies import INPUTS, TASK_SOURCE
    from e2s_tasks import e2s_task, span

    tries = []

    @task(retries=1)
    def flaky():
        tries.append(1)
        if len(tries) < 2:
            raise ValueError("the first time")
        return 1

    @task
    async def later(x):
        return x * 2

    @task
    def numbers():
        yield 1
        yield 2

    @task(cache_policy=TASK_SOURCE + INPUTS, persist_result=True)
    def cached(x):
        return x

    @e2s_task
    def measured_anyway():
        return 3

    class Holder:
        base = 10

        @task
        def method(self, x):
            return self.base + x

    @flow
    def inner():
        return cached(5), Holder().method.with_options(name="renamed")(1)

    @flow(name="plain")
    def main():
        mapped = [one.result() for one in cached.map([1, 2, 3])]
        return flaky(), list(numbers()), measured_anyway(), mapped, inner()

    if __name__ == "__main__":
        print(sys.argv[1:], __name__, flaky.task_key, cached.task_key, signal.getsignal(signal.SIGTERM), main())
        if "fail" in sys.argv:
            raise SystemExit(7)
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(textwrap.dedent(PLAIN))
    return path


def environment(tmp_path, **more):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("E2S_")}
    api = {"PREFECT_API_URL": str(get_current_settings().api.url)}
    return clean | {"E2S_DATA_DIR": str(tmp_path / "data"), "PREFECT_LOCAL_STORAGE_PATH": str(tmp_path)} | api | more


def run(command, env):
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)


def spans(tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'data' / 'ledger.db'}")
    replay(tmp_path / "data" / "journal", ledger)
    (row,) = ledger.runs()
    return ledger.run(row.run_id).spans


@pytest.mark.slow
def test_e2s_run_measures_every_plain_task_and_flow_and_changes_nothing(tmp_path, program):
    elsewhere = environment(tmp_path) | {"E2S_DATA_DIR": str(tmp_path / "elsewhere")}
    plain = run([sys.executable, program, "--help", "fail"], elsewhere)
    measured = run([Path(sys.executable).parent / "e2s", "run", program, "--help", "fail"], environment(tmp_path))
    assert (plain.returncode, plain.stdout) == (measured.returncode, measured.stdout)
    assert plain.returncode == 7
    found = [(one.kind, one.name, one.status) for one in spans(tmp_path) if one.kind in {"flow", "attempt"}]
    count = {key: found.count(key) for key in found}
    assert count == {
        ("flow", "plain", "completed"): 1,
        ("flow", "inner", "completed"): 1,
        ("attempt", "flaky", "failed"): 1,
        ("attempt", "flaky", "completed"): 1,
        ("attempt", "numbers", "completed"): 1,
        ("attempt", "measured_anyway", "completed"): 1,
        ("attempt", "cached", "cached"): 4,  # the unmeasured run made these: the same keys
        ("attempt", "renamed", "completed"): 1,
    }


def test_e2s_run_runs_a_program_to_which_warnings_are_errors(tmp_path):
    program = tmp_path / "strict.py"
    program.write_text("import prefect\nprint('imported')\n")
    strict = run([Path(sys.executable).parent / "e2s", "run", "-W", "error", program], environment(tmp_path))
    assert (strict.returncode, strict.stdout) == (0, "imported\n"), strict.stderr


@pytest.mark.slow
def test_the_environment_variable_does_the_same_in_any_process(tmp_path, program):
    env = environment(tmp_path, E2S_AUTO="true", PREFECT_PLUGINS_ENABLED="true")
    assert run([sys.executable, program], env).returncode == 0
    assert {one.name for one in spans(tmp_path)} >= {"plain", "inner", "flaky", "cached"}


def test_an_error_of_the_program_looks_as_from_python_itself(tmp_path):
    e2s = Path(sys.executable).parent / "e2s"
    (tmp_path / "broken.py").write_text("raise KeyError('mine')\n")
    plain = run([sys.executable, tmp_path / "broken.py"], environment(tmp_path))
    measured = run([e2s, "run", tmp_path / "broken.py"], environment(tmp_path))
    assert (plain.returncode, plain.stderr) == (measured.returncode, measured.stderr)
    missing = run([e2s, "run", tmp_path / "none.py"], environment(tmp_path))
    assert missing.returncode == 2
    assert "none.py" in missing.stderr
    nothing = run([e2s, "run"], environment(tmp_path))
    assert nothing.returncode == 1
    assert "e2s run flow.py" in nothing.stderr


@pytest.mark.slow
def test_json_stays_alone_on_stdout(tmp_path, program):
    run([Path(sys.executable).parent / "e2s", "run", program], environment(tmp_path))
    shown = run([Path(sys.executable).parent / "e2s", "show", "--json"], environment(tmp_path))
    assert json.loads(shown.stdout)["flow_run"]["flow"] == "plain"
