"""The command line `e2s`: what runs and artifacts cost, when to run, and what this host can measure."""

from e2s_tasks.integrations.cli.main import main

__all__ = ["main"]
