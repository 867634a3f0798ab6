"""Which service knows the carbon intensity of a zone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from e2s_tasks.grid import NoKeyError, Provider
from e2s_tasks.grid import energy_charts as charts
from e2s_tasks.grid.country import same_zone
from e2s_tasks.grid.electricity_maps import ElectricityMaps
from e2s_tasks.grid.energy_charts import EnergyCharts
from e2s_tasks.grid.gb import CarbonIntensityApi
from e2s_tasks.grid.watttime import WattTime

if TYPE_CHECKING:
    from e2s_tasks.settings import Settings

IN_AIRFLOW = ", or in Airflow the connection {}"
OWN_ZONES = ("electricity-maps", "watttime")


@dataclass(frozen=True, slots=True)
class Named:
    """A service, and what its forecasts are kept under: another address is another service."""

    name: str
    provider: Provider


def service_for(zone: str, settings: "Settings") -> Named | None:
    """The service that `E2S_GRID` names, or the first that knows the zone; None where none does.

    First GB's own, then one that there is a key for, then Energy-Charts.

    Raises:
        NoKeyError: the service that is named needs a key that is not set, or one that can be sent.
    """
    choice = settings.grid if settings.grid != "auto" else _automatic(zone, settings)
    timeout_s = settings.grid_timeout_s
    if choice == "gb":
        return Named(f"gb {settings.gb_api_url}", CarbonIntensityApi(settings.gb_api_url, timeout_s))
    if choice == "energy-charts":
        return Named(f"energy-charts {settings.energy_charts_url}", EnergyCharts(settings.energy_charts_url, timeout_s))
    if choice == "electricity-maps":
        where = f"E2S_ELECTRICITY_MAPS_KEY{IN_AIRFLOW.format('e2s_electricity_maps')}"
        url = settings.electricity_maps_url
        name = f"electricity-maps {url}"
        key = _header(_needed(settings.electricity_maps_key, "Electricity Maps", where, name).strip(), where, name)
        return Named(name, ElectricityMaps(url, key, timeout_s))
    if choice == "watttime":
        where = IN_AIRFLOW.format("e2s_watttime")
        name = f"watttime {settings.watttime_url}"
        user = _needed(settings.watttime_user, "WattTime", f"E2S_WATTTIME_USER{where}", name)
        password = _needed(settings.watttime_password, "WattTime", f"E2S_WATTTIME_PASSWORD{where}", name)
        return Named(name, WattTime(settings.watttime_url, user, password, timeout_s))
    return None


def _automatic(zone: str, settings: "Settings") -> str:
    if same_zone(zone, "GB") or zone.strip().upper().startswith("GB-"):
        return "gb"
    if settings.electricity_maps_key:
        return "electricity-maps"
    if settings.watttime_user and settings.watttime_password:
        return "watttime"
    return "energy-charts" if charts.serves(zone) else "none"


def names_zones_itself(settings: "Settings") -> bool:
    """Whether the service that is set has zones of its own, so that one that is no country can be right."""
    keys = settings.electricity_maps_key or (settings.watttime_user and settings.watttime_password)
    return settings.grid in OWN_ZONES or (settings.grid == "auto" and bool(keys))


def _needed(value: str | None, service: str, where: str, name: str) -> str:
    if value is None:
        raise NoKeyError(f"{service} needs {where}: set it, or another E2S_GRID.", name)
    return value


def _header(value: str, where: str, name: str) -> str:
    """A key that can be sent; the error does not hold it."""
    if not (value.isascii() and value.isprintable()):
        raise NoKeyError(f"{where}, holds a line break or another character that no key has: set it anew.", name)
    return value
