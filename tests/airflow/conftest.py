"""These tests run in an environment of their own, by `make test-airflow`, without what the others share."""

import os
import tempfile
from contextlib import contextmanager

import pytest
from daemons import Airflow

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp()  # of what these tests themselves import of Airflow
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "false"


@pytest.fixture(scope="session")
def airflow(tmp_path_factory):
    """A real Airflow with all its daemons."""
    with Airflow(tmp_path_factory.mktemp("airflow")) as running:
        yield running


@pytest.fixture
def airflow_with(tmp_path):
    """Starts an Airflow of its own, with further variables in its environment."""

    @contextmanager
    def start(**more):
        with Airflow(tmp_path, **more) as running:
            yield running

    return start
