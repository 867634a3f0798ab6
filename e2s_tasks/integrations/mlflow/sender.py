"""Sends what waits: at the end of a measured flow run, in bounded time, or as a process of its own.

`python -m e2s_tasks.integrations.mlflow.sender` is that process. MLflow is imported here, after the measured work.
"""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from e2s_tasks.errors import NotFoundError, SettingError, TrackingError
from e2s_tasks.integrations.mlflow import outbox
from e2s_tasks.integrations.mlflow.where import Tracking, tracking
from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.recorder.starts import OwnThread
from e2s_tasks.settings import Settings, settings

if TYPE_CHECKING:
    from e2s_tasks.ledger import Ledger

PROBE_S = 2.0  # for a server to say that it is there
LIMIT_S = 8.0  # that a flow run's end may take longer
LATER = "the next measured run or `e2s` command sends them"
NOT_INSTALLED = (
    "MLFLOW_TRACKING_URI is set, but mlflow is not installed: pip install 'e2s-tasks[mlflow]', or set E2S_MLFLOW=never."
)


class _Late:
    """Raises OutOfTimeError from a moment on."""

    def __init__(self, limit_s: float) -> None:
        self._end = time.monotonic() + limit_s

    def __call__(self) -> None:
        from e2s_tasks.integrations.mlflow.sending import OutOfTimeError

        if time.monotonic() > self._end:
            raise OutOfTimeError("there was no time for all of it")


def send_ended_run(options: Settings, ledger: "Ledger", run_id: str) -> None:
    """At the end of a flow run: send it and what else waits, in LIMIT_S at most; trouble costs one warning."""
    trouble: Exception | None = None
    try:
        if not outbox.ended(options, run_id):
            return
        _check_installed()
        trouble = _send_in_time(options, ledger, run_id)
    except Exception as error:  # noqa: BLE001 - law 5
        trouble = error
    if trouble is not None:
        warn_once("sending the energy figures to MLflow", trouble, LATER)


def _send_in_time(options: Settings, ledger: "Ledger", run_id: str) -> Exception | None:
    """Send on a thread of its own, which may go on; what went wrong so far."""
    trouble: list[Exception] = []
    thread = OwnThread(target=_send_first, args=(options, ledger, run_id, trouble), name="e2s-mlflow", daemon=True)
    thread.start()
    thread.join(LIMIT_S + PROBE_S)
    if thread.is_alive():
        return TrackingError(f"the server has not answered in {LIMIT_S + PROBE_S:.0f} s")
    return trouble[0] if trouble else None


def _send_first(options: Settings, ledger: "Ledger", run_id: str, trouble: list[Exception]) -> None:
    from e2s_tasks.integrations.mlflow.sending import OutOfTimeError

    late = _Late(LIMIT_S)
    own = outbox.folder(options) / run_id
    try:
        for path in [own, *(path for path in outbox.waiting(options) if path != own)]:
            late()
            _send_one(path, options, ledger, late)
    except OutOfTimeError:
        outbox.send_in_background(options)
    except Exception as error:  # noqa: BLE001 - the measured thread warns of it
        trouble.append(error)


def _send_one(path: Path, options: Settings, ledger: "Ledger", late: "_Late | None" = None) -> None:
    """Send a run that waits, unless another process is at it, or one still works for the run.

    Raises:
        TrackingError: the server did not take it.
        LedgerError: the ledger cannot be read.
    """
    from e2s_tasks.integrations.mlflow.sending import send
    from e2s_tasks.ledger.endings import goes_on

    with outbox.taken(path) as where:
        if where is None or (options.data_dir / "unpublished" / path.name).exists():
            return  # the orchestrator is asked first how a killed run ended
        if ledger.root_run(path.name) != path.name:
            path.unlink(missing_ok=True)  # it is told of with the run that it belongs to
            return
        try:
            if goes_on(ledger.as_written(path.name)) and not outbox.is_old(path):
                return
            check_reachable(where)
            send(ledger, path.name, where, *([] if late is None else [late]))
        except NotFoundError:  # nothing of it has arrived yet
            if not outbox.is_old(path):
                return
        path.unlink(missing_ok=True)


def send_by_hand(ledger: "Ledger", options: Settings, run_id: str) -> tuple[str, str]:
    """Send a run now; the tracking URI and the id of its MLflow run.

    Raises:
        SettingError: mlflow is not installed, or no server is configured.
        TrackingError: the server does not answer, did not take it, or another process is sending it.
    """
    where = tracking() or outbox.noted(options, run_id)
    if where is None:
        raise SettingError("No MLflow server: set MLFLOW_TRACKING_URI, for example to http://127.0.0.1:5000.")
    _check_installed()
    check_reachable(where)
    from e2s_tasks.integrations.mlflow.sending import send

    known = outbox.noted(options, run_id)
    around = known.around if known is not None else None
    path = outbox.note(options, run_id, Tracking(where.uri, where.experiment_id, where.experiment_name, around))
    with outbox.taken(path) as claim:
        if claim is None:
            raise TrackingError(f"Another process is sending the run {run_id}; try again in a moment.")
        mlflow_run = send(ledger, run_id, claim)
        path.unlink(missing_ok=True)
    return where.uri, mlflow_run


def _check_installed() -> None:
    if find_spec("mlflow") is None:
        raise SettingError(NOT_INSTALLED)


def check_reachable(where: Tracking) -> None:
    """Ask a server of HTTP whether it is there, so that MLflow's own minutes of retries are spared.

    Raises:
        TrackingError: it is not, or has not answered in PROBE_S.
    """
    if not where.uri.startswith(("http://", "https://")):
        return
    import httpx

    try:  # whatever it answers, it is there; nothing secret is sent, so that any certificate will do
        httpx.get(where.uri.rstrip("/") + "/health", timeout=PROBE_S, verify=False)  # noqa: S501
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TrackingError(
            f"The MLflow server {where.uri} does not answer ({type(error).__name__}: {error}). "
            "Start it, or set MLFLOW_TRACKING_URI."
        ) from error


def send_waiting() -> None:
    """Send what waits; what fails waits for the next time, a week at most."""
    from e2s_tasks.ledger import Ledger

    options = settings()
    ledger = Ledger.open(options.ledger)
    away: set[str] = set()
    for path in outbox.waiting(options):
        where = outbox.noted(options, path.name)
        if where is not None and where.uri in away:
            continue
        try:
            _check_installed()
            _send_one(path, options, ledger)
        except Exception as error:  # noqa: BLE001 - the server may be away; the others may be elsewhere
            print(f"e2s: {path.name} could not be sent to MLflow: {error}")  # noqa: T201 - for who runs this
            away |= {where.uri} if where is not None else set()
            if outbox.is_old(path):
                path.unlink(missing_ok=True)


if __name__ == "__main__":
    send_waiting()
