"""Keys of carbon-intensity services as Airflow connections, for who keeps secrets there, not in the environment.

Electricity Maps: the connection `e2s_electricity_maps`, with the key as its password. WattTime: `e2s_watttime`, with
login and password.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic, time
from typing import Any

from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.settings import Settings

SLOW_S, REST_S = 5.0, 600.0
ELECTRICITY_MAPS = "e2s_electricity_maps"
WATTTIME = "e2s_watttime"


def with_keys(options: Settings) -> Settings:
    """The settings, with the keys that the chosen service needs and the environment lacks, if a connection has them.

    In a process of a task. On the event loop of a triggerer it is `keys_in_time`, and on its threads nothing: there
    Airflow 3.1 takes what it answers for the answer to another question, and the triggerer ends, or stands still.
    """
    name = _lacking(options)
    if name is None or _has_been_slow(options):
        return options
    begun = monotonic()
    found = _loaded(name)
    if found is None and monotonic() - begun > SLOW_S:
        _is_slow(options)
    return _given(options, name, found)


def _has_been_slow(options: Settings) -> bool:
    """Whether it took long lately, on this host, to hear that there is no such connection: each task would wait."""
    try:
        return time() - _slow(options).stat().st_mtime < REST_S
    except OSError:
        return False


def _is_slow(options: Settings) -> None:
    told = TimeoutError(f"no connection in more than {SLOW_S:g} s")
    warn_once("asking Airflow for a key", told, f"tasks of this host do not ask for {REST_S / 60:g} minutes")
    with suppress(OSError):
        _slow(options).parent.mkdir(parents=True, exist_ok=True)
        _slow(options).touch()


def _slow(options: Settings) -> Path:
    return options.data_dir / "grid" / "slow-keys"


async def keys_in_time(options: Settings, patience_s: float) -> Settings:
    """The same on an event loop; without them, where Airflow has not answered in time.

    The question is left to end by itself: Airflow 3.1 takes the answer to one that was given up for that to the next.
    """
    name = _lacking(options)
    if name is None:
        return options
    asked = asyncio.create_task(_answered(name))
    await asyncio.wait([asked], timeout=patience_s)
    if not asked.done():
        warn_once(
            f"asking Airflow for {name}", TimeoutError(f"no answer in {patience_s:g} s"), "starts stay as planned"
        )
        return options
    return _given(options, name, None if asked.cancelled() else asked.result())


def _lacking(options: Settings) -> str | None:
    """The connection that is to have what the environment lacks; None where it lacks nothing."""
    if options.grid == "electricity-maps" and options.electricity_maps_key is None:
        return ELECTRICITY_MAPS
    if options.grid == "watttime" and options.watttime_password is None:
        return WATTTIME
    return None


def _given(options: Settings, name: str, found: Any) -> Settings:
    if found is None:
        return options
    if name == ELECTRICITY_MAPS:
        return replace(options, electricity_maps_key=_said(found.password))
    user = _said(found.login) or options.watttime_user
    return replace(options, watttime_user=user, watttime_password=_said(found.password))


def _said(value: str | None) -> str | None:
    """A key; None where the connection has an empty one, which is none: the service says where it may be."""
    return value if value and value.strip() else None


def _loaded(name: str) -> Any:
    from airflow.sdk.bases.hook import BaseHook

    try:
        return BaseHook.get_connection(name)
    except Exception:  # noqa: BLE001 - there is none: the service says which key it lacks
        return None


async def _answered(name: str) -> Any:
    from airflow.sdk.bases.hook import BaseHook

    try:
        return await BaseHook.aget_connection(name)
    except Exception:  # noqa: BLE001 - as above
        return None
