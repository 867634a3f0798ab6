"""What a run cost, as one dict, and that dict in a terminal and on the Prefect page."""

from e2s_tasks.reporter.period import energy_by_stage, run_kpis, solution_kpis
from e2s_tasks.reporter.run import summarise_run
from e2s_tasks.reporter.summary import summarise
from e2s_tasks.reporter.versions import ArtifactHistory

__all__ = [
    "ArtifactHistory",
    "energy_by_stage",
    "run_kpis",
    "solution_kpis",
    "summarise",
    "summarise_run",
]
