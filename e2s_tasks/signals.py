"""Signal handlers of the user's: they run between any two lines of ours, and what they raise is the user's."""

import functools
import signal
from types import CodeType
from typing import Any

_known: set[CodeType] = set()
_handler_of = getattr(getattr(signal, "_signal", signal), "getsignal", signal.getsignal)  # 50 times quicker: no enums
_NUMBERS = sorted(map(int, signal.valid_signals()))


def handler_codes() -> set[CodeType]:
    """The code of the signal handlers that are installed, and of those that were when this was asked before.

    One that takes itself back before it raises is known if it was seen until then: the recorder looks with each tick.
    """
    for number in _NUMBERS:
        code = _code_of(_handler_of(number))
        if code is not None:
            _known.add(code)
    return _known


def _code_of(handler: Any) -> CodeType | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not callable(handler):  # the system's own
        return None
    code: CodeType | None = getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)
    return code
