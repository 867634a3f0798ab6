"""`e2s exporter`."""

import sys
from datetime import UTC, datetime

from e2s_tasks.settings import settings

PORT = 9786


def exporter(*, port: int = PORT, host: str = "127.0.0.1", once: bool = False) -> None:
    """Serve the ledger's figures to Prometheus at /metrics, until it is stopped; docs/prometheus.md lists them.

    Parameters
    ----------
    port: int
        Where to listen; 0 for any port that is free.
    host: str
        The address to listen on; 0.0.0.0 for all of this machine.
    once: bool
        Print the metrics and end.
    """
    from e2s_tasks.integrations.prometheus import service

    service.check_port(port)
    if once:
        service.print_once(settings())
    else:
        service.serve(settings(), host, port, _tell)


def _tell(line: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC {line}\n")
    sys.stderr.flush()
