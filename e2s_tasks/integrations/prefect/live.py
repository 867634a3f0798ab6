"""The summary of a flow run that goes on: on its page after a minute, and anew every minute, until the final one."""

import threading
import time
from contextlib import suppress
from contextvars import copy_context

from e2s_tasks.recorder import SpanRecorder

SPARED = 50.0  # times as long as a page takes passes at least until the next: at most a fiftieth of a core
PATIENCE_S = 30.0  # a page that comes after the final one would stand in its place

_pages: dict[str, "LivePage"] = {}


class LivePage:
    """Puts a summary on the page of a root run, again and again. every_s: how often; what fails is left to the next."""

    def __init__(self, recorder: SpanRecorder, run_id: str, every_s: float) -> None:
        self._recorder, self._run_id, self._every_s = recorder, run_id, every_s
        self._over = threading.Event()
        context = copy_context()  # the server is the one that this flow run is of
        self._thread = threading.Thread(target=context.run, args=(self._work,), name="e2s-live-page", daemon=True)

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
        pause_s = self._every_s
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
            with get_client(sync_client=True) as client:
                put_page(client, summary, self._run_id)


def show_live(recorder: SpanRecorder, run_id: str) -> None:
    """Show a root run on its page while it goes on, if it is long enough for that."""
    every_s = recorder.settings.live_s
    before = _pages.pop(run_id, None)
    if before is not None:  # it is tried again
        before.leave()
    if every_s > 0:
        page = _pages[run_id] = LivePage(recorder, run_id, every_s)
        page.begin()


def end_live(run_id: str) -> None:
    """The run is over: what is put on its page from now on is final."""
    page = _pages.pop(run_id, None)
    if page is not None:
        page.end()
