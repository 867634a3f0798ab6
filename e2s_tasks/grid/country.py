"""Yearly average carbon intensity of countries, from the tables that CodeCarbon installs (it is never imported)."""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from e2s_tasks.core.planning import Forecast, Slot
from e2s_tasks.errors import GridError, ZoneError

# CodeCarbon takes these from Our World in Data, whose intensities (by Ember) use life-cycle emission factors.
COUNTRY_SIGNAL = "average, life-cycle"
# CodeCarbon's world average is the IEA's for 2018: what power stations emitted per kWh generated.
WORLD_SIGNAL, WORLD_YEAR = "average, direct", 2018
CODE = re.compile(r"[A-Za-z]{2,3}(-.+)?")
COMMON_NAMES = {
    "uk": "GBR", "great britain": "GBR", "britain": "GBR", "south korea": "KOR", "north korea": "PRK", "russia": "RUS",
    "turkey": "TUR", "laos": "LAO", "syria": "SYR", "ivory coast": "CIV", "cape verde": "CPV", "swaziland": "SWZ",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Country:
    """A country, and its yearly average intensity (gCO2eq/kWh); None where CodeCarbon has no figure."""

    code: str
    name: str
    intensity: float | None
    year: int | None


def country(zone: str) -> Country:
    """The country that `zone` names: an ISO code (GB, GBR), a zone of it (NO-NO2, US-CAL-CISO), or its name.

    Raises:
        ZoneError: no country is known by that name; the message gives near ones.
        GridError: CodeCarbon's tables cannot be read.
    """
    names, countries = _atlas()
    wanted = zone.strip().casefold()
    prefix, _, part = wanted.partition("-")
    code = names.get(wanted) or (names.get(prefix) if len(prefix) == 2 and part else None)
    if code is None:
        raise ZoneError(f"Unknown grid zone {zone!r}: use a country code such as GB, DE or USA.{_near(wanted)}")
    return countries[code]


def written(zone: str) -> str:
    """The zone as every answer writes it: a code in upper case, a country's name as it was given."""
    return zone.strip().upper() if CODE.fullmatch(zone.strip()) else zone.strip()


def same_zone(one: str, other: str) -> bool:
    """Whether two zones are the same, however they are written (GB, GBR, United Kingdom)."""
    if one.strip().casefold() == other.strip().casefold():
        return True
    names, _ = _atlas()
    code = names.get(one.strip().casefold())
    return code is not None and code == names.get(other.strip().casefold())


def average(zone: str | None, start: datetime, end: datetime) -> Forecast:
    """The yearly average of the zone's country from `start` to `end`, as one flat slot; of the world for None.

    A country that is known but has no figure gets the world's; the source says so. Nothing here knows about timing.

    Raises:
        ZoneError: nobody knows the zone.
        GridError: CodeCarbon's tables cannot be read.
    """
    place = country(zone) if zone is not None else None
    label = f"CodeCarbon {_version()}"
    if place is not None and place.intensity is not None:
        intensity, signal = place.intensity, COUNTRY_SIGNAL
        source = f"country average ({label}, {place.code}, {place.year or 'year unknown'})"
    else:
        intensity, signal = _world(), WORLD_SIGNAL
        missing = f"; no figure for {place.name}" if place is not None else "; no zone given"
        source = f"world average ({label}, {WORLD_YEAR}{missing})"
    return Forecast(written(zone) if zone is not None else "world", (Slot(start, end, intensity),), signal, source)


def _near(wanted: str) -> str:
    from difflib import get_close_matches

    names, countries = _atlas()
    codes = dict.fromkeys(names[name] for name in get_close_matches(wanted, names, n=6))
    near = [f"{code} ({countries[code].name})" for code in codes][:3]
    return f" Did you mean {' or '.join(near)}?" if near else ""


@lru_cache(maxsize=1)
def _atlas() -> tuple[dict[str, str], dict[str, Country]]:
    """ISO alpha-3 codes by every name (in lower case) that a country goes by, and the countries by that code."""
    mix: dict[str, dict[str, Any]] = _read("codecarbon", "data/private_infra/global_energy_mix.json")
    countries = {code: _known(code, figures) for code, figures in mix.items()}
    names = {}
    for entry in _iso_countries():
        code = entry["alpha_3"]
        countries.setdefault(code, Country(code, entry["name"], None, None))
        for key in ("alpha_2", "name", "common_name", "official_name"):
            if key in entry:
                names[entry[key].casefold()] = code
    names |= {found.name.casefold(): code for code, found in countries.items()}
    names |= {name: code for name, code in COMMON_NAMES.items() if code in countries}
    names |= {code.casefold(): code for code in countries}
    return names, countries


def _known(code: str, figures: dict[str, Any]) -> Country:
    """A country of CodeCarbon's table; an intensity of 0 there is a missing one."""
    return Country(code, figures["country_name"], figures.get("carbon_intensity") or None, figures.get("year"))


def _iso_countries() -> list[dict[str, str]]:
    """ISO 3166-1, from pycountry's own file (CodeCarbon depends on it); empty where that is not installed."""
    try:
        entries: list[dict[str, str]] = _read("pycountry", "databases/iso3166-1.json")["3166-1"]
    except GridError:
        return []
    return entries


def _world() -> float:
    sources = _read("codecarbon", "data/private_infra/carbon_intensity_per_source.json")
    return float(sources["world_average"])


def _read(package: str, path: str) -> Any:
    """A JSON file inside an installed package, found without importing the package."""
    from importlib.util import find_spec

    try:
        spec = find_spec(package)
        folders = (spec and spec.submodule_search_locations) or []
        return json.loads(next(Path(folder) / path for folder in folders).read_text("utf-8"))
    except (StopIteration, OSError, ValueError, ImportError) as error:
        raise GridError(f"{package}'s {path} cannot be read ({error!r}): reinstall {package}.") from None


@lru_cache(maxsize=1)
def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("codecarbon")
    except PackageNotFoundError:
        return "of unknown version"
