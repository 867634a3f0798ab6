"""Reports as one HTML file each: of a run, and of all runs of a period. No script, and nothing from elsewhere."""

from e2s_tasks.reporter.html.fleet_page import render_fleet
from e2s_tasks.reporter.html.run_page import render_run

__all__ = ["render_fleet", "render_run"]
