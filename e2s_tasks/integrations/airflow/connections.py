"""Keys of carbon-intensity services as Airflow connections, for who keeps secrets there, not in the environment.

Electricity Maps: the connection `e2s_electricity_maps`, with the key as its password. WattTime: `e2s_watttime`, with
login and password.
"""

from dataclasses import replace
from typing import Any

from e2s_tasks.settings import Settings

ELECTRICITY_MAPS = "e2s_electricity_maps"
WATTTIME = "e2s_watttime"


def with_keys(options: Settings) -> Settings:
    """The settings, with the keys that the chosen service needs and the environment lacks, if a connection has them."""
    if options.grid == "electricity-maps" and options.electricity_maps_key is None:
        found = _loaded(ELECTRICITY_MAPS)
        return options if found is None else replace(options, electricity_maps_key=_said(found.password))
    if options.grid == "watttime" and options.watttime_password is None:
        found = _loaded(WATTTIME)
        if found is not None:
            user = _said(found.login) or options.watttime_user
            return replace(options, watttime_user=user, watttime_password=_said(found.password))
    return options


def _said(value: str | None) -> str | None:
    """A key; None where the connection has an empty one, which is none: the service says where it may be."""
    return value if value and value.strip() else None


def _loaded(name: str) -> Any:
    from airflow.sdk.bases.hook import BaseHook

    try:
        return BaseHook.get_connection(name)
    except Exception:  # noqa: BLE001 - there is none: the service says which key it lacks
        return None
