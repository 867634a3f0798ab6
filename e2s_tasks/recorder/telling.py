"""Tells a listener in this process what each span has used since it was last told: on the recorder's own thread.

Without one nothing of this is there; the recorder then has none, and asks no more than that.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from e2s_tasks.recorder.guard import warn_once

if TYPE_CHECKING:
    from e2s_tasks.recorder.open_span import OpenSpan
    from e2s_tasks.settings import Settings

OPENTELEMETRY = "e2s_tasks.integrations.opentelemetry"
MOVED = ("storage", "network", "remote")


class Listener(Protocol):
    """Takes joules by component that a span has used beyond what it was told before; all are above 0."""

    def used(self, span: "OpenSpan", joules: Mapping[str, float]) -> None:
        """The span used so much more."""


class Nobody:
    """Stands in for a listener that is not there."""

    def used(self, span: "OpenSpan", joules: Mapping[str, float]) -> None:
        """Nothing."""


class Telling:
    """Knows what the listener has been told of each span that is open.

    find: the listener; asked once, when there is something to tell, so that what it loads holds nobody up.
    """

    def __init__(self, find: Callable[[], Listener]) -> None:
        self._find = find
        self._listener: Listener | None = None
        self._ended: deque[OpenSpan] = deque()  # appended to by whatever thread writes down what has ended
        self._told: dict[OpenSpan, dict[str, float]] = {}
        self._turn = threading.Lock()

    def ended(self, span: "OpenSpan") -> None:
        """All that the span used is booked."""
        self._ended.append(span)

    def tell(self, still_open: Iterable["OpenSpan"]) -> None:
        """Tell what is new of spans that have ended, and of these; nothing while another thread does so."""
        if not self._turn.acquire(blocking=False):
            return
        try:
            for span in still_open:
                self._tell(span, self._told.setdefault(span, {}))
            for _ in range(len(self._ended)):
                span = self._ended.popleft()
                self._tell(span, self._told.pop(span, {}))
        finally:
            self._turn.release()

    def _tell(self, span: "OpenSpan", told: dict[str, float]) -> None:
        if self._listener is None:
            self._listener = self._find()
        new = {}
        for component, joules in _used(span).items():
            more = joules - told.get(component, 0.0)
            if more > 0:  # what a late source puts right to less is made up for by what follows
                new[component] = more
                told[component] = joules
        if new:
            self._listener.used(span, new)


def _used(span: "OpenSpan") -> dict[str, float]:
    found = dict(span.joules)
    if span.described:
        for component in MOVED:
            joules = getattr(span.record, f"{component}_j")
            if joules is not None:
                found[component] = joules
    return found


def telling(options: "Settings") -> Telling | None:
    """What tells OpenTelemetry; None where that is not switched on."""
    return Telling(lambda: _opentelemetry(options)) if options.otel and options.enabled else None


def _opentelemetry(options: "Settings") -> Listener:
    """The integration; where OpenTelemetry is not installed nobody, of which a warning tells."""
    try:
        found: Listener = import_module(OPENTELEMETRY).Energy(options)
    except ImportError as error:
        warn_once("telling OpenTelemetry", error, "install it with: pip install 'e2s-tasks[otel]'")
        return Nobody()
    return found
