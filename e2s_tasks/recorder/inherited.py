"""Work that has no span of its own: it belongs to the span of the work that started it."""

from typing import TYPE_CHECKING

from e2s_tasks.recorder.guard import guarded
from e2s_tasks.recorder.open_span import OpenSpan

if TYPE_CHECKING:
    from e2s_tasks.meters.account import Account


class Inherited:
    """The span of the work that spawned a task or a call in a thread: its stretches are the span's too.

    Once that span has ended, they belong to what is still open around it.
    """

    __slots__ = ("_depth", "_entered", "_meter", "_owner")

    def __init__(self, span: OpenSpan | None) -> None:
        self._owner: Account | None = span
        self._meter = span.recorder.meter if span is not None else None
        self._entered: list[Account] = [] if span is None else [span]
        self._depth: int | None = None

    @guarded
    def resume(self) -> None:
        """The work runs on this thread from now on."""
        owner = self._owner
        if owner is not None and owner.ends_in is not None:
            while owner is not None and owner.ends_in is not None:
                owner = owner.parent
            self._entered = [account for account in self._entered if account is not self._owner]
            if owner is not None:
                self._entered.insert(0, owner)
            self._owner = owner
        if self._meter is None:
            from e2s_tasks.recorder.recorder import process_recorder

            self._meter = process_recorder().meter
        self._depth = self._meter.enter(self._entered)

    @guarded
    def suspend(self) -> None:
        """The work has paused, or ended."""
        if self._meter is not None and self._depth is not None:
            self._entered = self._meter.leave(self._depth)
