"""Metering never fails the work: what goes wrong here leaves a gap and one warning."""

import functools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from e2s_tasks import users_code
from e2s_tasks.errors import SettingError
from e2s_tasks.signals import handler_codes

P = ParamSpec("P")
T = TypeVar("T")
NO_OTHERS = "meters", *(f"recorder/{name}.py" for name in ("recorder", "open_span", "loops", "steps", "starts"))
OURS = *(str(Path(__file__).parents[1] / part) for part in NO_OTHERS), threading.__file__
_warned: set[str] = set()


class MeteringWarning(UserWarning):
    """Something was not measured or not written down; the measured work is unharmed."""


def is_from_signal(error: BaseException) -> bool:
    """Whether the error was raised by a signal handler of the user's, which happened to run in our code."""
    handlers = handler_codes()
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in handlers:
            return True
        trace = trace.tb_next
    return False


def is_injected(error: BaseException) -> bool:
    """Whether code that calls the standard library alone shows another's error, as time-outs of threads do it.

    They have it raised at whatever line the thread is (`PyThreadState_SetAsyncExc`).
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not trace.tb_frame.f_code.co_filename.startswith(OURS):
        return False
    if isinstance(error, TimeoutError):  # which nothing there raises itself
        return True
    return type(error).__module__.partition(".")[0] not in {*sys.stdlib_module_names, __name__.partition(".")[0]}


def warn_once(what: str, error: BaseException, meanwhile: str = "the work goes on") -> None:
    """One warning per place and kind of error in a process; the user's own errors go on to the user.

    A setting that cannot be used is one trouble, wherever it is met. meanwhile: what happens all the same.

    Raises:
        BaseException: the error itself, if a signal handler of the user's raised it, or it is injected.
    """
    if not isinstance(error, Exception) or is_injected(error) or is_from_signal(error):
        raise error
    key = str(error) if isinstance(error, SettingError) else f"{what}: {type(error).__name__}"
    if key not in _warned:
        _warned.add(key)
        users_code.warn(f"e2s: {what} failed ({type(error).__name__}: {error}); {meanwhile}", MeteringWarning)


def guarded(method: Callable[P, T]) -> Callable[P, T | None]:
    """The method, which now never raises an Exception of its own: it warns once instead, and gives None."""

    @functools.wraps(method)
    def safe(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return method(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - law 5: whatever it is, it stays here
            warn_once(method.__qualname__, error)
            return None

    return safe
