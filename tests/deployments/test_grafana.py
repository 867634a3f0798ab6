"""The dashboards: made by their script, and readable."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "deployments" / "grafana"
DASHBOARDS = sorted((FOLDER / "dashboards").glob("*.json"))


def test_the_dashboards_are_what_the_script_writes():
    command = [sys.executable, str(FOLDER / "build.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in DASHBOARDS] == ["e2s-fleet.json", "e2s-flow.json"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_has_a_title_a_unit_and_what_it_means_and_none_covers_another(path):
    taken = set()
    for panel in json.loads(path.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["description"].endswith("."), panel["title"]
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["type"] == "table" or panel["fieldConfig"]["defaults"]["unit"]
            assert all(target["expr"] for target in panel["targets"])


def test_the_fleets_table_leads_to_the_dashboard_of_a_flow():
    assert "/d/e2s-flow?var-flow=" in (FOLDER / "dashboards" / "e2s-fleet.json").read_text()
    assert json.loads((FOLDER / "dashboards" / "e2s-flow.json").read_text())["uid"] == "e2s-flow"
