"""Real carbon intensities, from the folder of shared data beside the project; a benchmark ends in words without it."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

FOLDER = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "carbon_intensity"


def _read(name: str) -> pd.DataFrame:
    path = FOLDER / name
    if not path.exists():
        sys.exit(f"This benchmark needs ../shared/data/carbon_intensity/{name}, which is not part of the project.")
    return pd.read_parquet(path)


def hourly_2022() -> dict[str, np.ndarray]:
    """14 zones of 2022, gCO2eq/kWh by the hour."""
    return _by_zone(_read("electricity_maps_2022_14zones_hourly.parquet"))


def half_hourly_2020() -> dict[str, np.ndarray]:
    """DE, GB and FR of 2020, gCO2eq/kWh by the half hour."""
    return _by_zone(_read("lets_wait_awhile_2020_de_gb_fr_30min.parquet"))


def issued_for_queensland() -> tuple[np.ndarray, np.ndarray]:
    """Forecasts as issued each midnight for 96 h (one row each), and what came true, by the hour."""
    table = _read("carboncast_qld_2021h2_issued_forecasts_96h.parquet")
    issued = table.pivot(index="issued_utc", columns="lead_h", values="forecast").to_numpy()
    actual = table.drop_duplicates("target_utc").set_index("target_utc")["actual"].sort_index().to_numpy()
    return issued, actual


def _by_zone(table: pd.DataFrame) -> dict[str, np.ndarray]:
    wide = table.pivot(index="ts_utc", columns="zone", values="ci_g_per_kwh").interpolate()
    return {zone: wide[zone].to_numpy() for zone in wide.columns}
