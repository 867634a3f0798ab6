"""The command line `e2s`: what runs and artifacts cost, when to run, and what this host can measure."""

import gc
import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `e2s` with the arguments, by default the process's, and exit: 0, or 1 with the error on stderr."""
    gc.disable()  # a command is short: collecting garbage while it imports takes a seventh of its start
    try:
        from e2s_tasks.integrations.cli.app import run

        code = run(sys.argv[1:] if arguments is None else list(arguments))
    finally:
        gc.enable()
    if arguments is None and "prefect" not in sys.modules:  # which ends its temporary server at a proper exit
        sys.stderr.flush()
        os._exit(code)  # nothing is left to do, and taking the modules down would cost a tenth of a second
    sys.exit(code)
