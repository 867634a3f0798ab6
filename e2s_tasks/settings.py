"""All settings, in one class: an argument wins over the `E2S_*` environment, which wins over the default.

A plain dataclass: importing pydantic-settings alone would cost two fifths of the time in which `e2s` has to start.
"""

import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from e2s_tasks.core.declared import Declared, tariff
from e2s_tasks.errors import SettingError

LOGIN = r"(?i)^([a-z][a-z0-9+.-]*://)?[^?#]*@"  # compiled only where it is needed


def _above_zero(text: str | float) -> float:
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        raise ValueError("give a number above 0")
    return number


def _tick(text: str | float) -> float:
    number = _above_zero(text)
    if number > 30:  # what a child process has claimed is remembered for a minute after its end
        raise ValueError("give at most 30 seconds")
    return number


def _count(text: str | int) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("give a whole number from 1 on")
    return number


def _from_zero(text: str | float) -> float:
    number = float(text)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError("give a number from 0 on")
    return number


def _from_one(text: str | float) -> float:
    number = float(text)
    if not (math.isfinite(number) and number >= 1):
        raise ValueError("give a number from 1 on: a facility uses at least what its computers use")
    return number


def _share(text: str | float) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise ValueError("give a part of the whole, above 0 and at most 1")
    return number


def _tariff(text: str) -> str:
    price, currency = tariff(text)
    return f"{price:.12g} {currency}"


def _text(text: str) -> str:
    if not str(text).strip():
        raise ValueError("give a value, or unset it")
    return str(text).strip()


def _path(text: str | Path) -> Path:
    return Path(_text(str(text))).expanduser()


def _folder(text: str | Path) -> Path:
    """The same place, wherever the work changes to."""
    return _path(text).absolute()


def _yes(text: str | bool) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if str(text).lower() not in known:
        raise ValueError("give true or false")
    return known[str(text).lower()]


def _one_of(*choices: str) -> Callable[[str], str]:
    def choose(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"give one of {', '.join(choices)}")
        return text.lower()

    return choose


POWERCAP = Path("/sys/class/powercap")


def _default_data_dir() -> Path:
    if sys.platform == "linux":  # platformdirs says the same, a quarter of the time that a first span may take later
        return Path(os.environ.get("XDG_DATA_HOME", "").strip() or "~/.local/share").expanduser() / "e2s-tasks"
    from platformdirs import user_data_path

    return user_data_path("e2s-tasks")


def _setting(default: Any, read: Callable[[Any], Any], meaning: str, *, secret: bool = False) -> Any:
    metadata = {"read": read, "meaning": meaning, "secret": secret}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a process. Each is read from `E2S_<NAME>`.

    Raises:
        SettingError: a value cannot be used; the message names it and the remedy.
    """

    data_dir: Path = _setting(_default_data_dir, _folder, "ledger, journals and hardware profile")
    ledger_url: str | None = _setting(None, _text, "SQLAlchemy URL of the ledger; default: SQLite in data_dir")
    zone: str | None = _setting(None, _text, "grid zone of flows without a policy, for example GB, DE or FR")
    gb_api_url: str = _setting("https://api.carbonintensity.org.uk", _text, "address of the GB Carbon Intensity API")
    grid: str = _setting(
        "auto",
        _one_of("auto", "gb", "energy-charts", "electricity-maps", "watttime", "none"),
        "who tells the carbon intensity; auto: whoever knows the zone, see docs/sources.md",
    )
    energy_charts_url: str = _setting("https://api.energy-charts.info", _text, "address of Energy-Charts")
    electricity_maps_url: str = _setting(
        "https://api.electricitymaps.com/v3", _text, "address of Electricity Maps, with its version"
    )
    electricity_maps_key: str | None = _setting(None, _text, "key for Electricity Maps", secret=True)
    watttime_url: str = _setting("https://api.watttime.org", _text, "address of WattTime")
    watttime_user: str | None = _setting(None, _text, "user name for WattTime")
    watttime_password: str | None = _setting(None, _text, "password for WattTime", secret=True)
    forecast_age_s: float = _setting(
        21600.0, _above_zero, "oldest forecast that is still used while its service does not answer, s"
    )
    grid_timeout_s: float = _setting(3.0, _above_zero, "time limit of a request for carbon intensities, s")
    trace: Path | None = _setting(
        None, _path, "carbon-intensity trace (CSV or Parquet) used instead of a service, see docs/sources.md"
    )
    wait: str = _setting(
        "auto",
        _one_of("auto", "never"),
        "never: flows with a carbon policy start at once, and only tell what waiting would have saved",
    )
    least_wait_s: float = _setting(
        60.0, _above_zero, "a task of Airflow waits for a cleaner grid only if that is at least so much later, s"
    )
    powercap_root: Path = _setting(POWERCAP, _path, "where the tree of RAPL counters is")
    external_meters: Path | None = _setting(
        None, _path, "TOML file of external meters (Prometheus), see docs/sources.md"
    )
    static_policy: str = _setting(
        "auto", _one_of("auto", "dedicated", "share"), "who pays for idle power; auto: share under a CPU limit"
    )
    cpu_tdp_w: float | None = _setting(None, _above_zero, "CPU model: power of the CPUs at full load, W")
    cpu_idle_w: float | None = _setting(None, _from_zero, "CPU model: idle power of the CPUs, W")
    network_factor: str | None = _setting(
        None, _text, "energy of network transfer: marginal (default), data-centres, wide-area or none, see docs/io.md"
    )
    storage_factor: str | None = _setting(None, _text, "energy of local storage: ssd (default) or none, see docs/io.md")
    factors: Path | None = _setting(None, _path, "JSON file that replaces the table of both, see docs/io.md")
    patch_io: bool = _setting(
        False, _yes, "true: measure pandas' and pyarrow's own Parquet calls in measured work, see docs/patched-io.md"
    )
    tick_s: float = _setting(1.0, _tick, "longest time between two readings while a span is open, 30 s at most")
    pue: float | None = _setting(None, _from_one, "power usage effectiveness of the data centre, 1 or more")
    tariff: str | None = _setting(None, _tariff, "price of a kWh with its currency, for example 0.25 EUR")
    embodied_kg: float | None = _setting(None, _from_zero, "kgCO2e that making this host took, see docs/kpis.md")
    lifetime_years: float | None = _setting(None, _above_zero, "how long this host will be in use, years")
    reserved_share: float | None = _setting(None, _share, "part of this host reserved for the work; default: all of it")
    reference_accuracy: float | None = _setting(None, _share, "accuracy of the model that efficiency is compared with")
    reference_j: float | None = _setting(None, _above_zero, "joules per unit of that model")
    print_summary: str = _setting(
        "auto", _one_of("auto", "always", "never"), "summary on stderr when a flow ends; auto: if started by hand"
    )
    live_s: float = _setting(
        60.0, _from_zero, "how often the page of a flow run that goes on shows what it has used, s; 0: at its end alone"
    )
    regression: float = _setting(
        0.2, _above_zero, "a run is told as a regression if it is above the median of 30 days by more than this part"
    )
    mlflow: str = _setting(
        "auto", _one_of("auto", "never"), "what MLflow is told; auto: if a tracking URI is set, see docs/mlflow.md"
    )
    exporter_steps: int = _setting(
        1000, _count, "steps that `e2s exporter` shows by name; the rest is step=other, see docs/prometheus.md"
    )
    otel: bool = _setting(
        False, _yes, "true: add energy to OpenTelemetry's counter hw.energy in this process, see docs/prometheus.md"
    )
    auto: bool = _setting(
        False,
        _yes,
        "true: measure every Prefect task and flow (with PREFECT_PLUGINS_ENABLED=true) and every Airflow operator",
    )
    airflow: str | None = _setting(
        None, _text, "name of this Airflow, for all of its components, where several report to one ledger"
    )
    enabled: bool = _setting(True, _yes, "false: run everything unmeasured")

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None:
                object.__setattr__(
                    self, one.name, _read(one.metadata["read"], value, one.name, secret=one.metadata["secret"])
                )

    def __repr__(self) -> str:
        """All but secrets: keys, passwords, and what a URL holds of them."""
        told = ((one.name, getattr(self, one.name)) for one in fields(self) if one.repr)
        return f"Settings({', '.join(f'{name}={without_login(value)!r}' for name, value in told)})"

    @property
    def ledger(self) -> str:
        """The SQLAlchemy URL of the ledger."""
        return self.ledger_url or f"sqlite:///{self.data_dir / 'ledger.db'}"

    @property
    def declared(self) -> Declared:
        """The inputs of KPIs that these settings declare."""
        price, currency = tariff(self.tariff) if self.tariff is not None else (None, None)
        return Declared(
            pue=self.pue, tariff=price, currency=currency, embodied_kg=self.embodied_kg,
            lifetime_years=self.lifetime_years, reserved_share=self.reserved_share,
            reference_accuracy=self.reference_accuracy, reference_j=self.reference_j,
        )  # fmt: skip

    @property
    def journals(self) -> Path:
        """Where measured processes append their records."""
        return self.data_dir / "journal"


def without_login(value: Any) -> Any:
    """A URL without the name, password and query that it may hold; anything else as it is."""
    if not isinstance(value, str):
        return value
    start, query, _ = re.sub(LOGIN, lambda found: found[1] or "", value).partition("?")
    return f"{start}?..." if query else start


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"E2S_{name.upper()}"


def _read(read: Callable[[Any], Any], value: Any, name: str, *, secret: bool) -> Any:
    try:
        return read(value)
    except (ValueError, TypeError) as error:
        reason = str(error) if str(error).startswith("give") else "give a number"
        shown = "..." if secret else str(value)
        raise SettingError(f"{variable(name)}={shown!r} cannot be used: {reason}.") from None


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read from the environment once.

    Raises:
        SettingError: an `E2S_*` variable cannot be used; the message names it, its value and the remedy.
    """
    named = {one.name: os.environ.get(variable(one.name), "") for one in fields(Settings)}
    given = {name: value for name, value in named.items() if value}  # an empty variable is none
    return Settings(**given)  # type: ignore[arg-type] # texts, which __post_init__ reads


def switched_on() -> bool:
    """Whether this process measures: not if it is switched off, nor if a setting cannot be used."""
    try:
        return settings().enabled
    except SettingError:
        return False
