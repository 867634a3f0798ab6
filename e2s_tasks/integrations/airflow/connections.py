"""Keys of carbon-intensity services as Airflow connections, for who keeps secrets there, not in the environment.

Electricity Maps: the connection `e2s_electricity_maps`, with the key as its password. WattTime: `e2s_watttime`, with
login and password.
"""

import asyncio
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic, time
from typing import Any

from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.settings import Settings

SLOW_S, REST_S = 5.0, 600.0
HICCUP_S, KNOWN_S = 60.0, 86_400.0  # for how long none is asked for that had been there, in a day, and then took long
ELECTRICITY_MAPS = "e2s_electricity_maps"
WATTTIME = "e2s_watttime"


def with_keys(options: Settings) -> Settings:
    """The settings, with the keys that the chosen service needs and the environment lacks, if a connection has them.

    In a process of a task. On the event loop of a triggerer it is `keys_in_time`, and on its threads nothing: there
    Airflow 3.1 takes what it answers for the answer to another question, and the triggerer ends, or stands still.
    """
    name = _lacking(options)
    if name is None or _has_been_slow(options, name):
        return options
    begun = monotonic()
    found = _loaded(name)
    if found is not None:
        _mark(_there(options, name))
        with suppress(OSError):
            _slow(options, name).unlink()
    elif monotonic() - begun > SLOW_S:
        _mark(_slow(options, name))
        _has_been_slow(options, name)
    return _given(options, name, found)


def _has_been_slow(options: Settings, name: str) -> bool:
    """Whether it took long lately, on this host, to hear that there is no such connection: each task would wait.

    Airflow says that, too, where it could not find out. One that had been there is soon asked for again.
    """
    rest_s = HICCUP_S if _age_s(_there(options, name)) < KNOWN_S else REST_S
    left_s = rest_s - _age_s(_slow(options, name))
    if left_s <= 0:
        return False
    told = TimeoutError(f"it took more than {SLOW_S:g} s to hear that there is none")
    warn_once(
        f"looking for the connection {name}",
        told,
        f"tasks of this host do not ask for {left_s:.0f} s, and go on without",
    )
    return True


def _mark(path: Path) -> None:
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _age_s(marker: Path) -> float:
    try:
        return time() - marker.stat().st_mtime
    except OSError:
        return math.inf


def _there(options: Settings, name: str) -> Path:
    """Says when the connection had last been found."""
    return options.data_dir / "grid" / f"{name}-found"


def _slow(options: Settings, name: str) -> Path:
    """Says when it took long to find none."""
    return options.data_dir / "grid" / f"{name}-slow"


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
