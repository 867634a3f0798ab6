"""The summary of a flow run that goes on: on its page after a minute, and anew every minute, until the final one."""

import threading
import time
from contextlib import suppress
from contextvars import copy_context
from importlib import import_module

from e2s_tasks.recorder import SpanRecorder
from e2s_tasks.recorder.starts import OwnThread

SPARED = 50.0  # times as long as a page takes passes at least until the next: at most a fiftieth of a core
NEEDED = (
    "e2s_tasks.ledger.ledger", "e2s_tasks.reporter.markdown", "e2s_tasks.reporter.history",
    "e2s_tasks.integrations.prefect.history", "sqlalchemy.dialects.sqlite",
)  # fmt: skip
READY_S = 2.0  # a run that is over sooner loads what its page needs at its end
PATIENCE_S = 30.0  # a page that comes after the final one would stand in its place

_pages: dict[str, "LivePage"] = {}


class LivePage:
    """Puts a summary on the page of a root run, again and again. every_s: how often; what fails is left to the next."""

    def __init__(self, recorder: SpanRecorder, run_id: str, every_s: float) -> None:
        self._recorder, self._run_id, self._every_s = recorder, run_id, every_s
        self._over = threading.Event()
        self.has_put = False
        context = copy_context()  # the server is the one that this flow run is of
        self._thread = OwnThread(target=context.run, args=(self._work,), name="e2s-live-page", daemon=True)

    def begin(self) -> None:
        """From now on."""
        self._thread.start()

    def leave(self) -> None:
        """No page from here on, but for one that is just being put there."""
        self._over.set()

    def end(self) -> None:
        """No page from here on; one that is being put there is waited for."""
        self._over.set()
        self._thread.join(PATIENCE_S)

    def _work(self) -> None:
        meter = self._recorder.meter
        meter.own_thread()
        try:
            self._show()
        finally:
            meter.leave_own_thread()

    def _show(self) -> None:
        ready_s = min(READY_S, self._every_s)
        if self._over.wait(ready_s):
            return
        with suppress(Exception):
            _get_ready()
        pause_s = self._every_s - ready_s
        while not self._over.wait(pause_s):
            began = time.monotonic()
            with suppress(Exception):  # law 5: the summary at the end tells all
                self._put()
            pause_s = max(self._every_s, SPARED * (time.monotonic() - began))

    def _put(self) -> None:
        from prefect.client.orchestration import get_client

        from e2s_tasks.integrations.prefect.publish import put_page
        from e2s_tasks.ledger import Ledger
        from e2s_tasks.recorder.delivery import PATIENCE_S as LEDGER_S
        from e2s_tasks.reporter import summarise_run

        self._recorder.flush()
        ledger = Ledger.open(self._recorder.settings.ledger, LEDGER_S)
        summary = summarise_run(ledger, self._run_id)
        if not self._over.is_set():
            self.has_put = True
            with get_client(sync_client=True) as client:
                put_page(client, summary, self._run_id)


def _get_ready() -> None:
    """Load what a page is made with while the run works: at its end that would be a third of the wait for the page."""
    for name in NEEDED:
        import_module(name)


def show_live(recorder: SpanRecorder, run_id: str) -> None:
    """Show a root run on its page while it goes on, if it is long enough for that."""
    every_s = recorder.settings.live_s
    before = _pages.pop(run_id, None)
    if before is not None:  # it is tried again
        before.leave()
    if every_s > 0:
        page = _pages[run_id] = LivePage(recorder, run_id, every_s)
        page.begin()


def end_live(run_id: str) -> bool:
    """The run is over: what is put on its page from now on is final. Whether this process has put nothing there yet."""
    page = _pages.pop(run_id, None)
    if page is None:  # another process may have
        return False
    page.end()
    return not page.has_put
