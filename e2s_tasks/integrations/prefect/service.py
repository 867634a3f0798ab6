"""What `e2s scheduler` and `e2s release` do: rounds until somebody stops them, and one run that need not wait."""

import gc
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prefect.client.orchestration import get_client

from e2s_tasks.errors import E2SError
from e2s_tasks.integrations.prefect.rescheduling import Move, Rescheduler, release
from e2s_tasks.ledger import Ledger
from e2s_tasks.scheduler import Decision, to_record
from e2s_tasks.settings import settings

if TYPE_CHECKING:
    from uuid import UUID

    from e2s_tasks.scheduler.again import Arrival

Tell = Callable[[str], None]


class Service:
    """Rounds every `every_s` seconds; a server that is away costs a line, and the next round tries again."""

    def __init__(self, every_s: float, tell: Tell, *, dry_run: bool = False) -> None:
        self._every_s, self._tell, self._dry_run = every_s, tell, dry_run
        self._stop = threading.Event()
        self._away: str | None = None
        self._arrivals: dict[UUID, Arrival] = {}
        self._complained: dict[str, str] = {}

    def run(self) -> None:
        """Rounds until a SIGTERM or Ctrl-C, which ends at once: no round leaves anything half done."""
        gc.enable()  # which the command line switches off for its short commands
        before = signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        try:
            while not self._stop.is_set():
                try:
                    self.once()
                except Exception as error:  # noqa: BLE001 - whatever is away now may be back in the next round
                    self._complain(error)
                self._stop.wait(self._every_s)
        except KeyboardInterrupt:
            return
        finally:
            signal.signal(signal.SIGTERM, before)

    def once(self) -> list[Move]:
        """One round, told line by line."""
        with get_client(sync_client=True) as client:
            rounds = Rescheduler(client, settings(), _write_down, self._dry_run, arrivals=self._arrivals)
            moves = rounds.round(datetime.now(UTC))
        if self._away is not None:
            self._away = None
            self._tell("Prefect answers again.")
        for run_id, complaint in rounds.complaints.items():
            if self._complained.get(run_id) != complaint:
                self._tell(f"not planned: {complaint}")
        self._complained = rounds.complaints
        for move in moves:
            self._tell(told(move, dry_run=self._dry_run))
        return moves

    def _complain(self, error: Exception) -> None:
        text = str(error).partition("\n")[0] or type(error).__name__
        if text != self._away:
            self._tell(f"no round: {text}; tried again every {self._every_s:g} s")
        self._away = text


def told(move: Move, *, dry_run: bool) -> str:
    """A move in one line."""
    what = "stays" if move.refused else ("would move" if dry_run else "moved")
    line = f"{move.name} ({move.run_id[:8]}) {what} from {_minute(move.start)} to {_minute(move.to)}: {move.reason}"
    return f"{line} [{move.refused}]" if move.refused else line


def once(*, dry_run: bool, tell: Tell) -> list[dict[str, Any]]:
    """One round; its moves as JSON values.

    Raises:
        E2SError: Prefect does not answer.
    """
    with _answering():
        moves = Service(0.0, tell, dry_run=dry_run).once()
    return [asdict(move) | {"start": move.start.isoformat(), "to": move.to.isoformat()} for move in moves]


def release_run(text: str) -> dict[str, Any]:
    """Have a waiting run start now.

    Raises:
        NotFoundError: no run waits by that name.
        E2SError: Prefect does not answer.
    """
    with _answering(), get_client(sync_client=True) as client:
        run, start = release(client, text, datetime.now(UTC))
    return {"run_id": str(run.id), "name": run.name, "would_have_started": start.isoformat()}


@contextmanager
def _answering() -> Iterator[None]:
    """Says what to do where Prefect does not answer."""
    import httpx

    try:
        yield
    except (httpx.HTTPError, RuntimeError) as error:
        raise E2SError(f"Prefect does not answer ({error}): start its server, or correct PREFECT_API_URL.") from None


def _minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _write_down(run_id: str, decision: Decision) -> None:
    """What was expected of the move, for the run's summary; a ledger that is away costs that alone."""
    with suppress(Exception):
        Ledger.open(settings().ledger).ingest([to_record(decision, run_id)])
