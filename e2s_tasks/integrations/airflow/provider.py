"""What Airflow shows of this package among its providers."""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The provider's name, as Airflow wants it."""
    return {
        "package-name": "e2s-tasks",
        "name": "Energy-to-Solution",
        "description": "What DAG runs and their results cost in joules and gCO2eq; tasks that wait for a cleaner grid.",
    }
