"""The pipeline that the documentation starts in Airflow."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = """
import sys
import flows.flight_delays_dag
print(sorted({"pandas", "pyarrow", "sklearn", "skops"} & set(sys.modules)))
"""
WARNING = """
import warnings
import airflow.utils.timezone, airflow.utils.trigger_rule
from flows import flight_steps
warnings.simplefilter("error")
flight_steps.models()
"""


def _printed(code, folder):
    env = os.environ | {"PYTHONPATH": str(ROOT), "AIRFLOW_HOME": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_reading_its_file_loads_none_of_the_libraries_that_its_steps_use(tmp_path):
    assert _printed(HEAVY, tmp_path)[-1] == "[]"


def test_loading_the_library_of_its_models_beside_airflow_warns_of_nothing(tmp_path):
    _printed(WARNING, tmp_path)
