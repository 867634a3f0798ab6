"""What Airflow loads in each of its processes: listener and Energy tabs where it is switched on; waiting tasks."""

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from e2s_tasks.integrations.airflow.active import is_active


def _listeners() -> list[Any]:
    if not is_active():
        return []
    from e2s_tasks.integrations.airflow import listener

    return [listener]


def _views(name: str) -> list[Any]:
    if not is_active():
        return []
    from e2s_tasks.integrations.airflow import views

    found: list[Any] = getattr(views, name)()
    return found


class E2SPlugin(AirflowPlugin):
    """Energy of task instances and DAG runs; tasks with a carbon policy."""

    name = "e2s"
    listeners: ClassVar[list[Any]] = _listeners()
    fastapi_apps: ClassVar[list[Any]] = _views("fastapi_apps")
    external_views: ClassVar[list[Any]] = _views("external_views")

    @classmethod
    def on_load(cls, *_: Any, **__: Any) -> None:
        """Tasks that wait go on, also where their policy has been taken from them meanwhile."""
        from e2s_tasks.integrations.airflow.gate import teach_operators

        teach_operators()
