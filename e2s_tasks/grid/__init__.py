"""Carbon intensity of the grid: services, traces and country averages behind one protocol."""

from datetime import datetime
from typing import Protocol

from e2s_tasks.core.planning import Forecast
from e2s_tasks.errors import GridError


class Provider(Protocol):
    """Where carbon intensities come from."""

    def forecast(self, zone: str, start: datetime, end: datetime) -> Forecast:
        """What is expected in `zone` from `start` to `end`; slots may reach beyond it, or be missing.

        Raises:
            GridError: no usable figure.
        """

    def actual(self, zone: str, start: datetime, end: datetime) -> Forecast:
        """What was observed in `zone` from `start` to `end`; slots may reach beyond it, or be missing.

        Raises:
            GridError: no usable figure.
        """


class NoKeyError(GridError):
    """A service that cannot be asked, since it needs a key. service: what its forecasts are kept under."""

    def __init__(self, message: str, service: str) -> None:
        self.service = service
        super().__init__(message)


class NoForecastError(GridError):
    """A service that knows what was, and tells nobody, or not us, what will be."""
