"""What Airflow loads in each of its processes: the listener, where it is switched on, and how waiting tasks go on."""

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from e2s_tasks.integrations.airflow.active import is_active


def _listeners() -> list[Any]:
    if not is_active():
        return []
    from e2s_tasks.integrations.airflow import listener

    return [listener]


class E2SPlugin(AirflowPlugin):  # type: ignore[misc] # Airflow may not be there when types are checked
    """Energy of task instances and DAG runs; tasks with a carbon policy."""

    name = "e2s"
    listeners: ClassVar[list[Any]] = _listeners()

    @classmethod
    def on_load(cls, *_: Any, **__: Any) -> None:
        """Tasks that wait go on, also where their policy has been taken from them meanwhile."""
        from e2s_tasks.integrations.airflow.gate import teach_operators

        teach_operators()
