"""Every test run has a data directory of its own, and no network beyond this host."""

import os
import tempfile

_data = tempfile.TemporaryDirectory(prefix="e2s-tests-")
os.environ |= {
    "E2S_DATA_DIR": _data.name,
    "E2S_PRINT_SUMMARY": "never",
    "E2S_GB_API_URL": "http://127.0.0.1:9",
    "E2S_GRID_TIMEOUT_S": "0.5",
}
UNSET = ["LEDGER_URL", "ZONE", "TRACE", "POWERCAP_ROOT", "PUE", "TARIFF", "EMBODIED_KG", "REFERENCE_J"]
for name in UNSET:
    os.environ.pop(f"E2S_{name}", None)
