"""Flow runs whose summary could not be published: the process was killed, or the ledger or the orchestrator was away.

One small file each. It is locked while its run is published, so that two commands at once do it once, and deleted
afterwards: what could not be published is tried again by the next command.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from e2s_tasks.core.records import Kind, SpanRecord, Status

PUBLISHER = "e2s_tasks.integrations.prefect.orphans"
QUIET = {"E2S_ENABLED": "true", "E2S_AUTO": "false"}
API_URL = "api_url"  # of a root flow run's attributes: where its orchestrator is


def folder(journals: Path) -> Path:
    """Where the files lie, beside the journals."""
    return journals.parent / "unpublished"


def remember(journals: Path, crashed: Iterable[SpanRecord]) -> None:
    """Note the root flow runs among spans that have crashed, if their orchestrator can be told."""
    for span in crashed:
        is_root = span.kind == Kind.FLOW and span.parent_id is None and span.flow_run_id == span.run_id
        if is_root and span.status == Status.CRASHED and span.attributes.get(API_URL):
            note(journals, str(span.run_id), str(span.attributes[API_URL]))


def note(journals: Path, run_id: str, api_url: str) -> None:
    """From now on the summary of a root flow run waits to be published.

    Raises:
        OSError: it cannot be written down.
    """
    path = folder(journals) / run_id
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(api_url)


def forget(journals: Path, run_id: str) -> None:
    """The summary has been published."""
    (folder(journals) / run_id).unlink(missing_ok=True)


def waiting(journals: Path) -> list[Path]:
    """The files of the runs that wait."""
    return sorted(folder(journals).glob("*-*"))


@contextmanager
def claimed(path: Path) -> Iterator[str | None]:
    """The orchestrator's URL while the run is claimed; None if another process has or had it."""
    import fcntl

    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield None
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield os.read(fd, 4096).decode().strip() if path.exists() else None
    except BlockingIOError:
        yield None
    finally:
        os.close(fd)


def publish_orphans(journals: Path) -> None:
    """Have the waiting summaries published by a process of its own, which nobody waits for; nothing waits: nothing."""
    if not waiting(journals):
        return
    import subprocess

    nowhere = subprocess.DEVNULL
    command = [sys.executable, "-m", PUBLISHER]
    subprocess.Popen(  # noqa: S603
        command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True, env=os.environ | QUIET
    )
