"""Work that has no span of its own: it belongs to the span of the work that started it."""

from typing import TYPE_CHECKING

from e2s_tasks.recorder.guard import guarded
from e2s_tasks.recorder.open_span import OpenSpan

if TYPE_CHECKING:
    from e2s_tasks.meters.account import Account


class Inherited:
    """The span of the work that started a thread, or a call in one: its stretches are the span's too.

    Once that span has ended, they belong to what is still open around it.
    """

    __slots__ = ("_depth", "_meter", "_owner")

    def __init__(self, span: OpenSpan) -> None:
        self._owner = span
        self._meter = span.recorder.meter
        self._depth: int | None = None

    @guarded
    def resume(self) -> None:
        """The work runs on this thread from now on."""
        owner: Account | None = self._owner
        while owner is not None and owner.closed_ns:
            owner = owner.parent
        self._depth = self._meter.enter([] if owner is None else [owner])

    @guarded
    def suspend(self) -> None:
        """The work has paused, or ended."""
        if self._depth is not None:
            self._meter.leave(self._depth)
