"""What Airflow loads in each of its processes: the listener and the Energy tabs, where it is switched on."""

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from e2s_tasks.errors import SettingError
from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.settings import settings


def is_active() -> bool:
    """Whether `E2S_AUTO=true` is in the environment of this process."""
    try:
        return settings().enabled and settings().auto
    except SettingError as error:
        warn_once("setting up (nothing is measured)", error)
        return False


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
    """Energy of task instances and DAG runs."""

    name = "e2s"
    listeners: ClassVar[list[Any]] = _listeners()
    fastapi_apps: ClassVar[list[Any]] = _views("fastapi_apps")
    external_views: ClassVar[list[Any]] = _views("external_views")
