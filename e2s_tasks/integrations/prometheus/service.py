"""What `e2s exporter` does: it answers scrapes until somebody stops it, or prints the metrics once."""

import errno
import gc
import signal
import socket
import sys
import threading
from collections.abc import Callable

from prometheus_client import generate_latest, start_http_server

from e2s_tasks.errors import SettingError
from e2s_tasks.integrations.prometheus.exporter import Exporter
from e2s_tasks.ledger import Ledger
from e2s_tasks.settings import Settings

RETRY_S = 5.0
MOST_PORT = 65535
Tell = Callable[[str], None]


def print_once(options: Settings) -> None:
    """The metrics on stdout, as a scrape would give them.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    exporter = Exporter(options, remembers=False)
    exporter.read()
    sys.stdout.write(generate_latest(exporter.registry).decode())


def check_port(port: int) -> None:
    """See that there is such a port.

    Raises:
        SettingError: there is none.
    """
    if not 0 <= port <= MOST_PORT:
        raise SettingError(f"--port={port}: give a number from 1 to {MOST_PORT}, or 0 for any that is free.")


def serve(options: Settings, host: str, port: int, tell: Tell) -> None:
    """Answer scrapes until a SIGTERM or Ctrl-C. The ledger's figures follow once it has been read.

    Raises:
        SettingError: the host or port cannot be used.
        LedgerError: the ledger cannot be opened.
    """
    check_port(port)
    Ledger.open().close()
    exporter = Exporter(options)
    server, _ = _listening(exporter, host, port)
    stop = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        shown = f"[{host}]" if ":" in host else host
        tell(f"metrics at http://{shown}:{server.server_port}/metrics, once the ledger has been read")
        threading.Thread(target=_first, args=(exporter, stop, tell), name="e2s-exporter", daemon=True).start()
        stop.wait()
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)
        server.shutdown()
        server.server_close()


def _listening(exporter: Exporter, host: str, port: int):  # type: ignore[no-untyped-def] # as prometheus_client says
    try:
        return start_http_server(port, host, exporter.registry)
    except socket.gaierror:
        raise SettingError(
            f"--host={host!r} is no address of this machine: give for example 127.0.0.1, or 0.0.0.0 for all of them."
        ) from None
    except OSError as error:
        raise SettingError(_why(error, host, port)) from error


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port={port} is in use on {host}: give another one, or stop what listens there."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host={host!r} is no address of this machine: give 127.0.0.1, or 0.0.0.0 for all of them."
    if error.errno == errno.EACCES:
        return f"--port={port} may not be used by this user: give one from 1024 on."
    return f"--host={host} --port={port} cannot be listened on ({error.strerror or error}): give others."


def _first(exporter: Exporter, stop: threading.Event, tell: Tell) -> None:
    """Read the ledger for the first time, again while it does not answer.

    Commands, which are short, collect no garbage: that would take a quarter of this. Afterwards it is collected.
    """
    while not exporter.complete and not stop.is_set():
        try:
            exporter.read()
            tell(f"the ledger has been read: {exporter.runs} runs")
        except Exception as error:  # noqa: BLE001 - what is away now may be back then
            tell(f"the ledger cannot be read, tried again in {RETRY_S:g} s: {error}")
            stop.wait(RETRY_S)
        finally:
            gc.enable()
