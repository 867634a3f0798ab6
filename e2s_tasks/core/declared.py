"""What nobody can measure and somebody declares: the facility's overhead, the tariff, the hardware's making.

It is written down with each run (attribute `declared` of its outermost spans), so that a run read later, on another
machine, gives the same KPIs.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

DECLARED = "declared"  # the attribute
GRAMS_PER_KG = 1e3
SECONDS_PER_YEAR = 365.25 * 86400
_TARIFF = r"(?i)([0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*([A-Za-z]{3})(?:\s*/\s*kWh)?"  # compiled only where it is needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The declared inputs of KPIs; None: not declared.

    pue: energy of the facility / energy of its computers, 1 or more. tariff: price of a kWh in `currency`. embodied_kg:
    kgCO2e that making the host took, over its whole life of lifetime_years. reserved_share: the part of the host that
    is reserved for the work, above 0 up to 1. reference_accuracy and reference_j: accuracy and joules per unit of the
    model that the efficiency ratio compares with.
    """

    pue: float | None = None
    tariff: float | None = None
    currency: str | None = None
    embodied_kg: float | None = None
    lifetime_years: float | None = None
    reserved_share: float | None = None
    reference_accuracy: float | None = None
    reference_j: float | None = None

    @classmethod
    def read(cls, values: Any) -> "Declared":
        """What `to_dict` wrote; what is of no use is not declared."""
        if not isinstance(values, Mapping):
            return cls()
        return cls(**{one.name: values[one.name] for one in fields(cls) if one.name in values})

    def to_dict(self) -> dict[str, Any]:
        """What is declared, as plain JSON values."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def embodied_g(self, reserved_s: float) -> float | None:
        """M in gCO2e of having the host for so many seconds: TE x TS x RS (SCI, ISO/IEC 21031); None: not declared.

        TS is the time over the hardware's lifetime. Without a declared share RS is 1, the whole host.
        """
        if self.embodied_kg is None or self.lifetime_years is None:
            return None
        share = 1.0 if self.reserved_share is None else self.reserved_share
        return self.embodied_kg * GRAMS_PER_KG * reserved_s / (self.lifetime_years * SECONDS_PER_YEAR) * share


def tariff(text: str) -> tuple[float, str]:
    """The price of a kWh and its currency, of a text such as "0.25 EUR" or "0.25 EUR/kWh".

    Raises:
        ValueError: it is no such text.
    """
    found = re.fullmatch(_TARIFF, str(text).strip())
    if found is None or not math.isfinite(float(found[1])):
        raise ValueError('give a price per kWh with its currency, for example "0.25 EUR"')
    return float(found[1]), found[2].upper()
