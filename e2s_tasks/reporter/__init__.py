"""What a run cost, as one dict, and that dict in a terminal and on the Prefect page."""

from e2s_tasks.reporter.run import summarise_run
from e2s_tasks.reporter.summary import summarise
from e2s_tasks.reporter.versions import ArtifactHistory

__all__ = ["ArtifactHistory", "summarise", "summarise_run"]
