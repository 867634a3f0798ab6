"""These tests run in an environment of their own, by `make test-airflow`, without what the others share."""

from contextlib import contextmanager

import pytest
from daemons import Airflow


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
