"""Whether this integration measures and gates by itself; light, for Airflow asks while it loads."""

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
