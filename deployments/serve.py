"""Serve the flight-delay flow to a Prefect server: every night at 01:00 UTC, and whenever somebody asks for a run.

Start a server (`.venv/bin/prefect server start`), set PREFECT_API_URL to its address, then run this file.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from flows.flight_delays import flight_delays

if __name__ == "__main__":
    flight_delays.serve(name="nightly", cron="0 1 * * *", tags=["e2s"])
