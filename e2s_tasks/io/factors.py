"""Modelled energy of data movement: joules per gigabyte from a dated table, `factors.json`, with ranges and sources.

`E2S_NETWORK_FACTOR` and `E2S_STORAGE_FACTOR` choose a factor by its name, or "none"; `E2S_FACTORS` is another table.
"""

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from e2s_tasks.core.energy import Energy, Provenance
from e2s_tasks.core.records import SourceRecord
from e2s_tasks.errors import SettingError
from e2s_tasks.settings import Settings, settings, variable

Medium = Literal["storage", "network"]

MEDIA: tuple[Medium, ...] = ("storage", "network")
NONE = "none"
BYTES_PER_GB = 1e9
OWN_TABLE = Path(__file__).with_name("factors.json")


class Factor(NamedTuple):
    """A value with its range in `unit`, the year it stands for, and where it is from.

    component: "storage" and "network" are movement, in J/GB; others ("dram", "at rest") are there to be looked up.
    """

    name: str
    component: str
    value: float
    low: float
    high: float
    unit: str
    year: int
    source: str

    def joules(self, size: float) -> float:
        """The modelled energy of moving `size` bytes, in joules."""
        return self.value * size / BYTES_PER_GB


class Table(NamedTuple):
    """The factors of one file, its date, and which is used for each medium unless a setting says otherwise."""

    as_of: str
    defaults: dict[str, str]
    factors: tuple[Factor, ...]

    def named(self, medium: Medium, name: str | None) -> Factor | None:
        """The factor of that name, or the medium's default; None for "none".

        Raises:
            SettingError: the medium has no factor of that name; the message lists those that it has.
        """
        chosen = (name or self.defaults.get(medium, NONE)).lower()
        names = {factor.name: factor for factor in self.factors if factor.component == medium}
        if chosen != NONE and chosen not in names:
            choices = ", ".join([*names, NONE])
            raise SettingError(f"{variable(f'{medium}_factor')}={chosen!r} cannot be used: give one of {choices}.")
        return names.get(chosen)


@lru_cache(maxsize=4)
def table(path: Path = OWN_TABLE) -> Table:
    """The factor table in a JSON file, of the shape of `factors.json`.

    Raises:
        SettingError: the file cannot be read, or a factor in it cannot be used; the message names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = tuple(_factor(one) for one in content["factors"])
        return Table(str(content["as_of"]), dict(content.get("defaults", {})), found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise SettingError(
            f"{variable('factors')}={str(path)!r} cannot be used: {reason}. Give JSON that looks like {OWN_TABLE}"
        ) from error


def _factor(given: dict[str, Any]) -> Factor:
    factor = Factor(**{name: given[name] for name in Factor._fields})
    numbers = (factor.low, factor.value, factor.high)
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise ValueError(f"factor {factor.name!r}: value, low and high are numbers")
    if not 0 < factor.low <= factor.value <= factor.high:
        raise ValueError(f"factor {factor.name!r}: 0 < low <= value <= high does not hold")
    if factor.component in MEDIA and factor.unit != "J/GB":
        raise ValueError(f"factor {factor.name!r}: unit {factor.unit!r} is not J/GB")
    return factor


def factors(options: Settings | None = None) -> dict[Medium, Factor]:
    """The factor in use for each medium: storage (local files) and network (remote file systems).

    A medium that is switched off ("none") has none.

    Raises:
        SettingError: a setting names a factor that is not in the table, or a table that cannot be used.
    """
    options = options or settings()
    return _chosen(options.factors or OWN_TABLE, options.storage_factor, options.network_factor)


@lru_cache(maxsize=4)
def _chosen(path: Path, storage: str | None, network: str | None) -> dict[Medium, Factor]:
    given = table(path)
    found = {"storage": given.named("storage", storage), "network": given.named("network", network)}
    return {medium: factor for medium in MEDIA if (factor := found[medium]) is not None}


def movement(medium: Medium | None, size: int) -> Energy:
    """The modelled energy of moving `size` bytes over the medium; a gap if it is switched off.

    None (memory) is no movement.
    """
    factor = factors().get(medium) if medium else None
    return Energy(**{factor.component: factor.joules(size)}) if factor else Energy()


def movement_sources(options: Settings | None = None) -> list[SourceRecord]:
    """What modelled movement rests on, one source per medium; low and high are factors on the figure.

    A medium that is switched off is recorded as absent.
    """
    found = factors(options)
    return [_source(found[medium]) if medium in found else _switched_off(medium) for medium in MEDIA]


def _source(factor: Factor) -> SourceRecord:
    return SourceRecord(
        component=factor.component,
        name=factor.name,
        provenance=Provenance.MODELLED,
        low=factor.low / factor.value,
        high=factor.high / factor.value,
        detail=f"{factor.value:g} {factor.unit} ({factor.year}): {factor.source}",
    )


def _switched_off(medium: Medium) -> SourceRecord:
    return SourceRecord(
        component=medium,
        name="switched off",
        provenance=Provenance.MISSING,
        detail=f"{variable(f'{medium}_factor')}={NONE}",
        absent=True,
    )
