"""What `e2s report` writes, and where."""

import os
import re
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from e2s_tasks.errors import SettingError
from e2s_tasks.integrations.cli.answers import DEFAULT_PERIOD, open_ledger
from e2s_tasks.integrations.cli.lengths import past

STDOUT = "-"
LEFT = 0o666  # who may read and write a new file, less what the umask takes away


def report(run: str | None, since: str | None, output: str | None) -> dict[str, Any]:
    """The file that was written and its bytes. output: a path, "-" for stdout, None for a name made here."""
    if run is not None and since is not None:
        raise SettingError(f"Both the run {run!r} and --since={since} are given: give one of them.")
    path = None if output is None or output == STDOUT else _usable(Path(output))
    html, name = _of_run(run) if run is not None else _of_period(since or DEFAULT_PERIOD)
    content = html.encode()
    if output == STDOUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        return {"file": None, "bytes": len(content)}
    path = path or _usable(Path(name))
    _write(path, content)
    return {"file": str(path), "bytes": len(content)}


def _of_run(text: str) -> tuple[str, str]:
    """The report of a run, and a name for its file."""
    from e2s_tasks.reporter.html import render_run

    ledger = open_ledger()
    run_id = ledger.find_run(text)
    return render_run(ledger, run_id), f"e2s-report-{_plain(run_id[:8])}.html"


def _of_period(since: str) -> tuple[str, str]:
    """The report of a period, and a name for its file."""
    from e2s_tasks.reporter.html import render_fleet

    begin, now = past(since, "--since"), datetime.now(UTC)
    return render_fleet(open_ledger(), begin, now, os.cpu_count() or 1), f"e2s-report-{now:%Y-%m-%d}.html"


def _plain(text: str) -> str:
    return re.sub(r"[^\w-]", "_", text)


def _usable(path: Path) -> Path:
    """The path, if a file can be written there.

    Raises:
        SettingError: it is a directory, or lies in none.
    """
    if path.is_dir():
        raise SettingError(f"-o {path} is a directory: give the name of a file, for example {path / 'report.html'}.")
    if not path.parent.is_dir():
        raise SettingError(f"-o {path}: there is no directory {path.parent}; make it, or write elsewhere.")
    return path


def _write(path: Path, content: bytes) -> None:
    """Write the file beside its place, and put it there when it is whole: a reader sees the old one or the new one.

    What is no plain file (a device, a pipe) is written to as it is.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
            return
        target = path.resolve()  # what a link leads to is replaced, not the link
        handle, beside = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(beside).chmod(target.stat().st_mode & 0o777 if target.exists() else LEFT & ~_umask())
            Path(beside).replace(target)
        except BaseException:
            with suppress(OSError):
                Path(beside).unlink()
            raise
    except OSError as error:
        raise SettingError(f"-o {path} cannot be written: {error.strerror or error}.") from error


def _umask() -> int:
    """What the process takes away from a new file's permissions; it can only be read by setting it."""
    found = os.umask(0o077)
    os.umask(found)
    return found
