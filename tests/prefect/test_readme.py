"""The README's example runs as it stands, and its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_example_runs_and_leaves_its_summary(tmp_path, monkeypatch, ledger_run):
    code, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "example.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import example

    pd.DataFrame({"x": [1, 2, 3], "y": [3, 2, 1], "z": [0, 0, 0]}).to_parquet("raw.parquet")
    state = example.scoring("raw.parquet", return_state=True)
    run = ledger_run(state.state_details.flow_run_id)
    assert pd.read_parquet("scored.parquet")["hit"].tolist() == [False, False, True]
    assert [(one.units, one.accurate) for one in run.outcomes] == [(3.0, 1.0)]
    assert [Path(one.uri).name for one in run.versions] == ["scored.parquet"]


def test_every_command_that_it_names_exists():
    commands = set(re.findall(r"\.venv/bin/e2s (\w+)", README))
    listed = subprocess.run(
        [Path(sys.executable).parent / "e2s", "--help"], capture_output=True, text=True, check=True
    ).stdout
    others = {"artifact", "compare", "report", "kpi", "plan", "mlflow", "doctor", "export", "exporter", "prune"}
    assert commands == {"runs", "show", "release", "scheduler"} | others
    assert all(command in listed for command in commands)
    targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"make (\w[\w-]*) +#", README)) <= set(targets)
