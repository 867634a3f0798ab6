"""The flow runs that MLflow has not been told of: one small file each, from the run's start until it has been sent.

So a server that is away, or a process that is killed, costs nothing but time: the next measured run, or the next `e2s`
command, sends what waits. A file is locked while its run is sent, so that two processes at once do it once.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from e2s_tasks.core.records import ProcessRecord
from e2s_tasks.integrations.mlflow.where import Tracking, tracking
from e2s_tasks.ledger.orphans import QUIET, claimed
from e2s_tasks.recorder.guard import guarded
from e2s_tasks.settings import Settings

SENDER = "e2s_tasks.integrations.mlflow.sender"
PATIENCE_S = 7 * 24 * 3600.0  # for a server that is away


def folder(options: Settings) -> Path:
    """Where the files lie."""
    return options.data_dir / "mlflow"


@guarded
def begun(options: Settings, process: ProcessRecord, run_id: str) -> None:
    """A root flow run begins: it waits to be sent, once this process has ended without having done so."""
    where = tracking()
    if where is not None:
        _write(options, run_id, where, process)


@guarded
def put_off(options: Settings, run_id: str) -> None:
    """A root flow run has been moved to another hour: it waits to be sent once it has begun again."""
    (folder(options) / run_id).unlink(missing_ok=True)


def ended(options: Settings, run_id: str) -> bool:
    """A root flow run has ended, and can be sent; whether it is to be.

    The tracking URI may have been set by the flow itself, so its last word counts.

    Raises:
        OSError: it cannot be written down.
    """
    known, now = noted(options, run_id), tracking()
    if now is None and known is None:
        return False
    if now is not None and known is not None and known.around is not None:
        now = Tracking(now.uri, now.experiment_id, now.experiment_name, known.around)
    _write(options, run_id, now or known, None)  # type: ignore[arg-type] # one of them is there
    return True


def note(options: Settings, run_id: str, where: Tracking) -> Path:
    """From now on a run waits to be sent; its file.

    Raises:
        OSError: it cannot be written down.
    """
    return _write(options, run_id, where, None)


def _write(options: Settings, run_id: str, where: Tracking, working: ProcessRecord | None) -> Path:
    path = folder(options) / run_id
    path.parent.mkdir(parents=True, exist_ok=True)
    process = None if working is None else asdict(working) | {"sources": []}
    path.write_text(json.dumps({"tracking": asdict(where), "process": process}))
    return path


def noted(options: Settings, run_id: str) -> Tracking | None:
    """Where a run that waits is to be sent."""
    try:
        return _read((folder(options) / run_id).read_text())[0]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _read(text: str) -> tuple[Tracking, ProcessRecord | None]:
    known: dict[str, Any] = json.loads(text)
    process = known["process"]
    return Tracking(**known["tracking"]), None if process is None else ProcessRecord(**process)


def waiting(options: Settings) -> list[Path]:
    """The files of the runs that wait, the oldest first; not those of runs whose process still works."""
    files = [path for path in sorted(folder(options).glob("*"), key=_age) if path.is_file()]
    return [path for path in files if not _works(path)]


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _works(path: Path) -> bool:
    from e2s_tasks.ledger.journal import alive

    try:
        process = _read(path.read_text())[1]
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return process is not None and alive(process)


def is_old(path: Path) -> bool:
    """Whether a run has waited so long that it is given up."""
    return time.time() - _age(path) > PATIENCE_S


@contextmanager
def taken(path: Path) -> Iterator[Tracking | None]:
    """Where to send a run, while no other process can take it; None if another one has, or has sent it."""
    with claimed(path) as text:
        try:
            where = None if text is None else _read(text)[0]
        except (ValueError, TypeError, KeyError):  # cut short by a full disk
            where = tracking()
        yield where


def send_in_background(options: Settings) -> None:
    """Have what waits sent by a process of its own, which nobody waits for; nothing waits: nothing."""
    if not folder(options).is_dir() or not waiting(options):
        return
    import subprocess

    nowhere = subprocess.DEVNULL
    subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", SENDER],
        stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True, env=os.environ | QUIET,
    )  # fmt: skip
