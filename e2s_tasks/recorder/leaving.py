"""How it is known that a `with` block was left without its span's `__exit__`: what it holds for that is gone.

A signal handler's exception, as of a Ctrl-C or a time-out, is raised where Python next looks for it. After an operator
of C code (`a @ b` of NumPy, which may take seconds) that is as `__exit__` is entered, where no code of ours catches it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import ref


class ending:  # noqa: N801 - a decorator
    """A method that ends a span: `with` asks for it before the span begins, and holds what it is given to the end.

    That is a partial, since what calls the method then is C code: the frame that is struck, which a traceback keeps,
    has the span and not this.
    """

    def __init__(self, method: Callable[..., None]) -> None:
        self._method = method

    def __get__(self, span: Any, _: type | None = None) -> Callable[..., None]:
        if span is None:
            return self._method
        end = partial(self._method, span)
        if not span.started_at:
            span.held = ref(end)
        return end
