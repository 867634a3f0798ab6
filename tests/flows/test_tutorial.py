"""The tutorial, as it stands: its files are saved, and its commands run one after the other."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
BLOCKS = re.findall(r"```(python|console)\n(.*?)```", TUTORIAL, re.DOTALL)
SAID = {
    "python rides.py": ("accurate prediction", "train", "forecast.parquet"),
    "e2s artifact forecast.parquet": ("model.parquet", "rides.parquet", "fully loaded"),
    "e2s compare": ("train", "%"),
    "e2s kpi --solution rides": ("2 completed", "95 % interval"),
    "e2s plan": ("80 instead of 250",),
    "e2s doctor": ("modelled",),
}


@pytest.mark.slow
def test_the_tutorial_runs_as_it_stands(tmp_path):
    bin_folder = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("E2S_", "PREFECT_"))}
    environment |= {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "PREFECT_HOME": str(tmp_path / "prefect"),
        "E2S_DATA_DIR": str(tmp_path / "e2s"), "E2S_PRINT_SUMMARY": "always", "COLUMNS": "100",
        "PREFECT_LOGGING_LEVEL": "ERROR",
    }  # fmt: skip
    told = {}
    for kind, block in BLOCKS:
        if kind == "python":
            (tmp_path / block.partition("\n")[0].removeprefix("# ")).write_text(block)
            continue
        for command in block.strip().splitlines():
            words = shlex.split(command.removeprefix("$ "))
            if words[:2] == ["e2s", "compare"]:  # two runs by their ids, as the reader copies them
                ids = re.findall(r"^([0-9a-f]{8})", told["e2s runs --limit 2"], re.MULTILINE)
                words = ["e2s", "compare", *ids]
            done = subprocess.run(
                words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False
            )
            assert done.returncode == 0, (words, done.stderr)
            told[command.removeprefix("$ ")] = done.stdout + done.stderr
    for command, parts in SAID.items():
        text = " ".join(output for known, output in told.items() if known.startswith(command))
        for part in parts:
            assert part in text, (command, part, text)
    assert (tmp_path / "rides.html").stat().st_size > 10_000
