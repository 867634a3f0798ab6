"""Writes the Grafana dashboards beside this file, from code: deployments/grafana/dashboards/*.json.

    .venv/bin/python deployments/grafana/build.py

`--check` writes nothing, and fails where a file is not what this script writes. The compose file provisions them.
"""

import argparse
import json
import sys
from pathlib import Path

from fleet import fleet
from flow import flow
from grafana_foundation_sdk.cog.encoder import JSONEncoder

FOLDER = Path(__file__).parent / "dashboards"


def written() -> dict[Path, str]:
    """The files, and what stands in them."""
    return {
        FOLDER / f"{made.uid}.json": json.dumps(made, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        for made in (fleet(), flow())
    }


def main() -> None:
    """Write the dashboards, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file would change")
    arguments = parser.parse_args()
    files = written()
    stale = [path.name for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if arguments.check:
        sys.exit(f"{', '.join(stale)}: run deployments/grafana/build.py" if stale else 0)
    FOLDER.mkdir(exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
