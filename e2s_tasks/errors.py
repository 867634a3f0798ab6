"""The errors that users meet: each names the value and the remedy.

    E2SError
     +-- SettingError        a setting or argument that cannot be used (also a ValueError)
     +-- PolicyError         a carbon policy that cannot be met (also a ValueError)
     +-- ZoneError           a grid zone that nobody knows (also a ValueError)
     +-- TraceError          a carbon-intensity trace with a gap, a wrong column or a wrong value (also a ValueError)
     +-- GridError           a carbon-intensity service that gave no usable answer
     +-- TrackingError       an MLflow server that did not take what was sent to it
     +-- LedgerError         a ledger that cannot be opened, read or written
     |    +-- LedgerBusyError     one whose lock another process holds
     +-- NotFoundError       a run, artifact or file that does not exist (also a LookupError)

Metering, the ledger and the grid never raise these into a user's flow: there they leave a gap and one warning.
"""

from collections.abc import Sequence


class E2SError(Exception):
    """Any error of this library."""


class SettingError(E2SError, ValueError):
    """A setting or argument that cannot be used."""


class PolicyError(E2SError, ValueError):
    """A carbon policy that cannot be met, for example one whose deadline has passed."""


class ZoneError(E2SError, ValueError):
    """A grid zone that nobody knows."""


class TraceError(E2SError, ValueError):
    """A carbon-intensity trace with a gap, a wrong column or a wrong value."""


class GridError(E2SError):
    """A carbon-intensity service that gave no usable answer.

    after_s: for how long it asked to be left alone, in seconds; None where it did not say.
    """

    def __init__(self, message: str, after_s: float | None = None) -> None:
        self.after_s = after_s
        super().__init__(message)


class TrackingError(E2SError):
    """An MLflow server that did not take what was sent to it."""


class LedgerError(E2SError):
    """A ledger that cannot be opened, read or written."""


class LedgerBusyError(LedgerError):
    """A ledger whose lock another process holds: what it holds can be read, and written later."""


class NotFoundError(E2SError, LookupError):
    """Something asked for by name that does not exist; `suggestions` holds near matches."""

    def __init__(self, message: str, suggestions: Sequence[str] = ()) -> None:
        self.suggestions = tuple(suggestions)
        super().__init__(message)
