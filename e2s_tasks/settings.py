"""All settings, in one class: an argument wins over the `E2S_*` environment, which wins over the default."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from e2s_tasks.errors import SettingError


class Settings(BaseSettings):
    """The settings of this process. Each is read from `E2S_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="E2S_", frozen=True)

    data_dir: Path = Field(
        default_factory=lambda: user_data_path("e2s-tasks"), description="ledger, journals, hardware profile, cache"
    )
    ledger_url: str | None = Field(
        None, description="SQLAlchemy URL of the ledger; default: SQLite in the data directory"
    )
    zone: str | None = Field(None, description="grid zone for flows without a policy, e.g. GB, DE, FR")
    gb_api_url: str = Field("https://api.carbonintensity.org.uk", description="GB Carbon Intensity API")
    grid_timeout_s: float = Field(3.0, gt=0, description="time limit of one request to a carbon-intensity service")
    trace: Path | None = Field(None, description="carbon-intensity trace (CSV or Parquet) used instead of a service")
    powercap_root: Path = Field(Path("/sys/class/powercap"), description="where RAPL's powercap tree is")
    static_policy: Literal["auto", "dedicated", "share"] = Field(
        "auto", description="who pays for idle power: auto = share under a CPU limit, else dedicated"
    )
    cpu_tdp_w: float | None = Field(None, gt=0, description="CPU model: power of this machine's CPUs at full load, W")
    cpu_idle_w: float | None = Field(None, ge=0, description="CPU model: idle power of this machine's CPUs, W")
    tick_s: float = Field(1.0, gt=0, description="longest time between two readings while a span is open, s")
    print_summary: Literal["auto", "always", "never"] = Field(
        "auto", description="print the summary on stderr when a flow run ends: auto = when it was started by hand"
    )
    enabled: bool = Field(True, description="false: run everything unmeasured")

    @property
    def ledger(self) -> str:
        """The SQLAlchemy URL of the ledger."""
        return self.ledger_url or f"sqlite:///{self.data_dir / 'ledger.db'}"

    @property
    def journals(self) -> Path:
        """Where measured processes append their records."""
        return self.data_dir / "journal"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        SettingError: an `E2S_*` variable cannot be used; the message names it, its value and the remedy.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "E2S_" + "_".join(str(part) for part in first["loc"]).upper()
        raise SettingError(f"{name}={first['input']!r} cannot be used: {first['msg']}. Correct or unset it.") from None
