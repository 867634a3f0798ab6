"""Commands as a person can type them here, where the environment's scripts may not be on PATH."""

import os
import shlex
import shutil
import sys
from pathlib import Path


def command(name: str) -> str:
    """The script by its name if PATH finds it, else by its path, from the working directory where that is shorter."""
    beside = Path(sys.executable).with_name(name)
    if shutil.which(name) or not beside.exists():
        return name
    return shlex.quote(min(os.path.relpath(beside), str(beside), key=len))
