"""Every test run has a data directory of its own, and no network beyond this host."""

import os
import signal
import tempfile

from hypothesis import settings

_data = tempfile.TemporaryDirectory(prefix="e2s-tests-")
os.environ |= {
    "E2S_DATA_DIR": _data.name,
    "E2S_PRINT_SUMMARY": "never",
    "E2S_GB_API_URL": "http://127.0.0.1:9",
    "E2S_ENERGY_CHARTS_URL": "http://127.0.0.1:9",
    "E2S_GRID_TIMEOUT_S": "0.5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
UNSET = ["LEDGER_URL", "ZONE", "TRACE", "POWERCAP_ROOT", "PUE", "TARIFF", "EMBODIED_KG", "REFERENCE_J", "WITHIN"]
for name in [*(f"E2S_{name}" for name in UNSET), "MLFLOW_TRACKING_URI"]:
    os.environ.pop(name, None)

# A shell's background jobs are deaf to Ctrl-C, and so is what they start: the tests send it to themselves and others.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The host is busy at times: no property fails on how long an example took.
settings.register_profile("untimed", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("untimed")

collect_ignore = ["airflow"]  # `make test-airflow`: an environment of its own
