"""Serve the flight-delay flow with a carbon-aware schedule: due at 01:00 UTC, run when the grid is cleanest.

`make serve` starts it. Without PREFECT_API_URL a Prefect server of its own is started at http://127.0.0.1:4200. Beside
it runs `e2s scheduler`, which moves the coming runs to cleaner hours; each also moves itself when it is due.
"""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

BIN = Path(sys.executable).parent
PATIENCE_S = 120


def server() -> subprocess.Popen[bytes] | None:
    """A Prefect server, unless PREFECT_API_URL names one; it answers when this returns."""
    if os.environ.get("PREFECT_API_URL"):
        return None
    port = os.environ.setdefault("PREFECT_SERVER_API_PORT", "4200")
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    started = subprocess.Popen([BIN / "prefect", "server", "start", "--port", port])  # noqa: S603
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up and started.poll() is None:
        try:
            urllib.request.urlopen(f"{os.environ['PREFECT_API_URL']}/health", timeout=1).close()  # noqa: S310 - http
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
        else:
            return started
    started.terminate()
    sys.exit(f"The Prefect server has not started; is port {port} taken? Set PREFECT_SERVER_API_PORT to another.")


def main() -> None:
    """Serve until Ctrl-C."""
    helpers = [server()]
    helpers.append(subprocess.Popen([BIN / "e2s", "scheduler"]))  # noqa: S603
    try:
        from flows.flight_delays import flight_delays  # Prefect reads its settings on import

        flight_delays.serve(name="nightly", cron="0 1 * * *", tags=["e2s"])
    finally:
        for helper in reversed(helpers):
            if helper is not None:
                helper.terminate()
                helper.wait()


if __name__ == "__main__":
    main()
