"""The file of external meters (E2S_EXTERNAL_METERS): what each one is, checked before it is used."""

import json
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from e2s_tasks.errors import SettingError

COMPONENTS = ("cpu", "dram", "gpu", "host")
UNITS = {
    "counter": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "Wh": 3600.0, "kWh": 3.6e6},
    "gauge": {"W": 1.0, "mW": 1e-3, "kW": 1e3},
}
ADVICE = "correct it in the file that E2S_EXTERNAL_METERS names (docs/sources.md has an example of each meter)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalMeter:
    """One external meter. component `host`: the whole machine, so that it replaces cpu, dram and gpu together.

    poll_s: how often the server is asked. scrape_s: how often the value behind the query changes, at the slowest.
    token_env: the environment variable that holds a bearer token. idle_w: power at rest; default: the profile's.
    wraps_at: where the counter begins again at 0, in its unit; None: it does not, so that running backwards is a gap.
    """

    name: str
    component: str
    url: str
    query: str
    kind: str
    unit: str
    poll_s: float = 1.0
    scrape_s: float = 15.0
    timeout_s: float = 2.0
    idle_w: float | None = None
    wraps_at: float | None = None
    token_env: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def factor(self) -> float:
        """Joules (counter) or watts (gauge) per unit."""
        return UNITS[self.kind][self.unit]

    @property
    def wraps_j(self) -> float | None:
        """Where the counter begins again at 0, in joules."""
        return None if self.wraps_at is None else self.wraps_at * self.factor

    @property
    def patience_s(self) -> float:
        """After so long without a new value there is a gap."""
        return 3 * max(self.scrape_s, self.poll_s) + self.timeout_s

    @property
    def place(self) -> str:
        """The server's address without what may be secret in it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def external_meters(path: Path | None) -> list[ExternalMeter]:
    """The meters of a TOML or JSON file: a list `meter` of tables; none where no file is named.

    Raises:
        SettingError: the file, or a value in it, cannot be used; the message names it and the remedy.
    """
    if path is None:
        return []
    tables = _tables(path)
    meters = [_meter(path, number, table) for number, table in enumerate(tables, 1)]
    components = {meter.component for meter in meters}
    if "host" in components and len(components) > 1:
        others = ", ".join(sorted(components - {"host"}))
        raise SettingError(f"{path}: a meter of the whole host holds {others} too; keep one or the other: {ADVICE}.")
    return meters


def _tables(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(
            f"E2S_EXTERNAL_METERS={str(path)!r} cannot be read: {error}; name a readable file."
        ) from None
    try:
        if path.suffix == ".json":
            found = json.loads(text)
        else:
            import tomllib

            found = tomllib.loads(text)
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise SettingError(f"{path} is not {kind}: {error}; {ADVICE}.") from None
    tables = found.get("meter") if isinstance(found, dict) else found
    if not isinstance(tables, list) or not tables:
        raise SettingError(f"{path} holds no meter: give one or more [[meter]] tables; {ADVICE}.")
    return tables


def _meter(path: Path, number: int, table: Any) -> ExternalMeter:
    """One checked meter; what is wrong with it is named with its place in the file."""
    try:
        return _checked(table)
    except (ValueError, TypeError) as error:
        name = table.get("name", number) if isinstance(table, dict) else number
        raise SettingError(f"{path}: meter {name}: {error}; {ADVICE}.") from None


def _checked(table: Any) -> ExternalMeter:
    if not isinstance(table, dict):
        raise TypeError(f"{table!r} is no table of settings")
    known = [one.name for one in fields(ExternalMeter)]
    for key in table:
        if key not in known:
            raise ValueError(f"{key!r} is unknown: it knows {', '.join(known)}")
    table = {"unit": "W" if table.get("kind") == "gauge" else "J", **table}
    for key in ("name", "component", "url", "query", "kind"):
        _need(isinstance(table.get(key), str) and table[key].strip(), key, table.get(key), "a text")
    _need(table["component"] in COMPONENTS, "component", table["component"], f"one of {', '.join(COMPONENTS)}")
    _need(table["kind"] in UNITS, "kind", table["kind"], "counter (energy so far) or gauge (power now)")
    units = UNITS[table["kind"]]
    _need(table["unit"] in units, "unit", table["unit"], f"one of {', '.join(units)} for a {table['kind']}")
    parts = urlsplit(table["url"])
    _need(parts.scheme in {"http", "https"} and parts.hostname, "url", table["url"], "http:// or https:// and a host")
    for key in ("poll_s", "scrape_s", "timeout_s", "wraps_at"):
        _need(_number(table.get(key, 1.0)) and table.get(key, 1.0) > 0, key, table.get(key), "a number above 0")
    _need(_number(table.get("idle_w", 0.0)) and table.get("idle_w", 0.0) >= 0, "idle_w", table.get("idle_w"), "watts")
    headers = table.get("headers", {})
    texts = isinstance(headers, dict) and all(isinstance(value, str) for value in headers.values())
    _need(texts, "headers", headers, "a table of texts")
    _need(isinstance(table.get("token_env", ""), str), "token_env", table.get("token_env"), "a variable's name")
    return ExternalMeter(**table)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _need(fits: object, key: str, value: object, remedy: str) -> None:
    if not fits:
        raise ValueError(f"{key}={value!r} cannot be used: give {remedy}")
