"""`e2s compare`, `e2s report`: two runs side by side, and a run or a period as a page."""

import sys
from typing import Annotated

from cyclopts import Parameter

from e2s_tasks.errors import SettingError
from e2s_tasks.integrations.cli import answers
from e2s_tasks.integrations.cli.arguments import Json, Length, print_json


def compare(a: str, b: str, /, *, json: Json = False) -> None:
    """Show two runs side by side: what each figure is in A and in B, and by how much B differs from A.

    Parameters
    ----------
    a: str
        A run's id, the start of one, or its name.
    b: str
        Another one's; of the same flow or of another.
    json: bool
        Print JSON, in the shape that docs/report.md describes.
    """
    found = answers.compare(a, b)
    if json:
        print_json(found)
    else:
        from e2s_tasks.integrations.cli import compare_tables

        compare_tables.print_comparison(found)


def report(
    run: str | None = None,
    /,
    *,
    since: Length | None = None,
    output: Annotated[str | None, Parameter(name=["--output", "-o"], allow_leading_hyphen=True)] = None,
    json: Json = False,
) -> None:
    """Write a report as one HTML file: of a run, or of all runs of a period.

    Parameters
    ----------
    run: str
        A run's id, the start of one, or its name; without one the report is of a period.
    since: str
        When the period began: 36h, 7d, 12w or 2y (ago), or a day such as 2026-11-24; 30d by default.
    output: str
        The file; - for stdout. By default e2s-report-RUN.html, or e2s-report-DAY.html, in the working directory.
    json: bool
        Print where the file is, and its size, as JSON.
    """
    from e2s_tasks.integrations.cli import report_answers

    if json and output == report_answers.STDOUT:
        raise SettingError("--json and -o - both want stdout: give a file with -o, or leave --json out.")
    found = report_answers.report(run, since, output)
    if json:
        print_json(found)
    elif found["file"] is not None:
        from e2s_tasks.reporter.units import printable, size

        sys.stdout.write(f"{printable(found['file'])} ({size(found['bytes'])})\n")
