"""What ends the span of a `with` block also where an exception strikes before the first line of its `__exit__`.

A signal handler's exception, as of a Ctrl-C or a time-out, is raised where Python next looks for it. After an operator
of C code (`a @ b` of NumPy, which may take seconds) that is as `__exit__` is entered, where no code of ours catches it.
"""

import contextlib
import functools
from collections.abc import Callable
from types import MethodType
from typing import Any

from e2s_tasks.core.records import Status


class _End(functools.partial[None]):
    """`__exit__` of a span as the block holds it, and nobody else: it is gone once the block is left, however.

    A partial, since what calls the function of it is C code: the frame that is struck, which a traceback keeps, has the
    span and not this.
    """

    __slots__ = ()

    def __del__(self) -> None:
        span = self.args[0]
        if not span.told and span.started_at and span not in span.recorder.unfinished:
            with contextlib.suppress(RecursionError):  # it is among the unfinished then
                span.stop(Status.FAILED)


class ending:  # noqa: N801 - a decorator
    """A method that ends a span: `with` asks for it before the span begins, and holds what it is given to the end."""

    def __init__(self, method: Callable[..., None]) -> None:
        self._method = method

    def __get__(self, span: Any, _: type | None = None) -> Callable[..., None]:
        if span is None:
            return self._method
        return MethodType(self._method, span) if span.started_at else _End(self._method, span)
