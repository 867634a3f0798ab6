"""`e2s`: its commands, and what becomes of their errors.

Exit codes: 0 all is well; 1 an unknown run or artifact, input that cannot be used, or something that `e2s doctor` found
to fail; the error, the remedy and near matches stand on stderr. With --json, stdout holds one JSON document and nothing
else.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cyclopts import App, CycloptsError, UnknownCommandError

from e2s_tasks.errors import E2SError, NotFoundError, SettingError
from e2s_tasks.integrations.cli import answers, prefect_answers, reports, when
from e2s_tasks.integrations.cli.arguments import Json, Length, print_json
from e2s_tasks.integrations.cli.exporter import exporter
from e2s_tasks.near import did_you_mean, hint, nearest

MOST = 1_000_000
PLUGINS = "PREFECT_PLUGINS_ENABLED", "PREFECT_EXPERIMENTS_PLUGINS_ENABLED"  # the latter before Prefect 3.7


def _version() -> str:
    from importlib.metadata import version

    return version("e2s-tasks")


app = App(name="e2s", help="What the results of data and ML pipelines cost in energy and carbon.", version=_version)


@app.command
def runs(*, limit: int = 20, json: Json = False) -> None:
    """List the measured runs, the newest first.

    Parameters
    ----------
    limit: int
        How many to list at most.
    json: bool
        Print JSON.
    """
    found = answers.runs(_at_least_one(limit))
    if json:
        print_json({"runs": found})
    else:
        from e2s_tasks.integrations.cli import tables

        tables.print_runs(found)


@app.command
def show(run: str | None = None, /, *, json: Json = False) -> None:
    """Show what a run cost, and the energy-to-solution of its artifacts.

    Parameters
    ----------
    run: str
        A run's id, the start of one, or its name; the latest run by default.
    json: bool
        Print JSON, in the shape that docs/summary.md describes.
    """
    summary = answers.summary(run)
    if json:
        print_json(summary)
    else:
        from e2s_tasks.reporter.terminal import print_summary

        print_summary(summary)


@app.command
def artifact(
    uri: str, /, *, version: int | str | None = None, history: bool = False, limit: int = 20, json: Json = False
) -> None:
    """Show where the energy of an artifact comes from: a tree of the steps and versions that led to it, in any run.

    Parameters
    ----------
    uri: str
        Its URI or path, or the end of one, or the name of an Airflow asset.
    version: int | str
        The number of the version, or its id; the last one by default.
    history: bool
        Show its versions over time instead, and what changed between them.
    limit: int
        How many of the last versions the history shows at most.
    json: bool
        Print JSON, in the shape that docs/artifacts.md describes.
    """
    if history and version is not None:
        raise SettingError(f"--version={version} and --history exclude each other: leave one of them out.")
    found = answers.artifact_history(uri, _at_least_one(limit)) if history else answers.artifact(uri, version)
    if json:
        print_json(found)
    else:
        from e2s_tasks.integrations.cli import tables

        (tables.print_history if history else tables.print_artifact)(found)


@app.command
def kpi(
    run: str | None = None,
    /,
    *,
    solution: str | None = None,
    since: Length | None = None,
    level: float = 0.95,
    json: Json = False,
) -> None:
    """Show the KPIs of a run, or of a solution over a period with intervals, and its energy by life-cycle stage.

    Parameters
    ----------
    run: str
        A run's id, the start of one, or its name; the latest run by default.
    solution: str
        A solution, of which all runs of the period count, failed ones too.
    since: str
        When the period began: 36h, 7d, 12w or 2y (ago), or a day such as 2026-11-24; 30d by default.
    level: float
        How sure the intervals are.
    json: bool
        Print JSON, in the shape that docs/kpis.md describes.
    """
    found = answers.kpi(run, solution, since, level)
    if json:
        print_json(found)
    else:
        from e2s_tasks.integrations.cli import kpi_tables

        kpi_tables.print_kpis(found)


app.command(reports.compare)
app.command(reports.report)
app.command(when.plan)
app.command(when.forecast)
app.command(when.backtest)
app.command(exporter)


@app.command
def release(run: str, /, *, json: Json = False) -> None:
    """Have a flow run of Prefect that waits for a cleaner grid start now; a task of Airflow does when it is cleared.

    Parameters
    ----------
    run: str
        The run's id, the start of one, or its name.
    json: bool
        Print JSON.
    """
    found = prefect_answers.release(run)
    if json:
        print_json(found)
    else:
        sys.stdout.write(
            "{name} ({run_id}) starts now; it would have started at {would_have_started}\n".format(**found)
        )


@app.command
def scheduler(*, every: Length = "5m", once: bool = False, dry_run: bool = False, json: Json = False) -> None:
    """Move Prefect's future runs of flows with a carbon policy to cleaner hours, and plan anew while they wait.

    Runs until it is stopped; what it has moved starts without it. It may run twice, and be killed at any moment.

    Parameters
    ----------
    every: str
        How often to plan anew, for example 5m.
    once: bool
        One round, for cron.
    dry_run: bool
        Only tell what would be moved.
    json: bool
        With --once: print JSON.
    """
    if json and not once:
        raise SettingError("--json prints one document, so it needs --once: add it, or leave --json out.")
    from e2s_tasks.integrations.cli.lengths import length

    every_s = length(every, "--every", above_zero=True).total_seconds()
    if once:
        moves = prefect_answers.scheduler_round(dry_run=dry_run, tell=_tell)
        if json:
            print_json({"moves": moves, "dry_run": dry_run})
        elif not moves:
            _tell("nothing to move: no future run with a carbon policy would start in a cleaner hour")
    else:
        prefect_answers.scheduler_service(every_s, dry_run=dry_run, tell=_tell)


def _tell(line: str) -> None:
    from datetime import UTC, datetime

    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC {line}\n")
    sys.stderr.flush()


@app.command
def mlflow(run: str | None = None, /, *, json: Json = False) -> None:
    """Send a run to the MLflow server that MLFLOW_TRACKING_URI names; again, if it is there already.

    Parameters
    ----------
    run: str
        A run's id, the start of one, or its name; the latest run by default.
    json: bool
        Print JSON.
    """
    found = answers.mlflow(run)
    if json:
        print_json(found)
    else:
        sys.stdout.write("run {run_id} is MLflow run {mlflow_run_id} at {tracking_uri}\n".format(**found))


@app.command
def doctor(*, json: Json = False) -> int:
    """Examine what this host can measure, what is only modelled, and how to mend what is missing.

    Exits with 1 if something fails that should work; what the host does not have, or what is modelled, is no failure.

    Parameters
    ----------
    json: bool
        Print JSON.
    """
    found = answers.doctor()
    if json:
        print_json(found)
    else:
        from e2s_tasks.integrations.cli import tables

        tables.print_doctor(found)
    return int(any(one["state"] == "failed" for one in found["findings"]))


@app.command
def export(folder: Path, /, *, since: Length | None = None, until: Length | None = None, json: Json = False) -> None:
    """Write the ledger as Parquet, a folder per record type and day (UTC); the days replace those that are there.

    Parameters
    ----------
    folder: Path
        Where to write; made if missing.
    since: str
        The first day to write: 36h, 30d, 12w or 2y (ago), or a day such as 2026-11-24; all days by default.
    until: str
        The day before which to stop, written in the same way.
    json: bool
        Print JSON.
    """
    found = answers.export(folder, since, until)
    if json:
        print_json(found)
    else:
        from e2s_tasks.integrations.cli import tables

        tables.print_export(found)


@app.command
def prune(*, keep: Length, dry_run: bool = False, json: Json = False) -> None:
    """Make the ledger smaller: fold the inner spans of old runs into the attempts around them.

    What runs, steps and artifacts cost stays as it was; docs/ledger.md says what is lost. Ctrl-C loses nothing: what
    has been folded stays so, and the next time goes on.

    Parameters
    ----------
    keep: str
        How long runs stay as they are after their end, such as 36h, 90d, 12w or 2y.
    dry_run: bool
        Only tell what would be folded.
    json: bool
        Print JSON.
    """
    with _progress("{} of {} inner spans looked at") as told:
        found = answers.prune(keep, dry_run=dry_run, told=told)
    if json:
        print_json(found)
    else:
        from e2s_tasks.integrations.cli import tables

        tables.print_prune(found)


@app.command(name="run")
def run_measured(*command: str) -> None:
    """Run a Python program with every Prefect task and flow in it measured, without an edit.

    What follows is as for python itself: `e2s run flow.py [arguments]`, or `e2s run -m module [arguments]`.

    Parameters
    ----------
    command: str
        The program and its arguments.
    """
    if not command:
        raise SettingError("e2s run needs a program: write for example `e2s run flow.py`.")
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *command], os.environ | _zero_code())  # noqa: S606 - python, as asked


def _zero_code() -> dict[str, str]:
    """What has the program measure itself, see e2s_tasks.integrations.prefect.auto.

    Prefect warns of a name that it had before, which ends a program to which warnings are errors.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        early = tuple(map(int, version("prefect").split(".")[:2])) < (3, 7)
    except (PackageNotFoundError, ValueError):
        early = False
    return {"E2S_AUTO": "true", PLUGINS[early]: "true"}


@contextmanager
def _progress(text: str) -> Iterator[Callable[[int, int], None]]:
    """Takes how far a command is, and of what: a line on stderr that is gone at its end, where that is a terminal."""
    shown = sys.stderr.isatty()

    def told(done: int, of: int) -> None:
        if shown:
            sys.stderr.write(f"\r\x1b[K{text.format(f'{done:,}', f'{of:,}')} ")
            sys.stderr.flush()

    try:
        yield told
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")


def _at_least_one(limit: int) -> int:
    if not 1 <= limit <= MOST:
        raise SettingError(f"--limit={limit}: give a number from 1 to {MOST}.")
    return limit


def run(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    try:
        code = _answer(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    answers.publish_what_waits()
    return code


def _answer(arguments: list[str]) -> int:
    try:
        if arguments[:1] == ["run"] and arguments[1:] not in (["--help"], ["-h"]):
            run_measured(*arguments[1:])  # whatever follows is the program's own
        code = app(arguments or ["--help"], exit_on_error=False, print_error=False, result_action="return_value")
    except E2SError as error:
        _complain(str(error), error.suggestions if isinstance(error, NotFoundError) else ())
    except UnknownCommandError as error:
        _complain(_unknown((error.unused_tokens or arguments)[0]))
    except CycloptsError as error:
        _complain(f"{error} {_help(error.command_chain or ())}")
    except BrokenPipeError:
        raise
    except OSError as error:  # a path that is too long, a disk that is full
        _complain(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")
    except KeyboardInterrupt:
        return 130
    else:
        return code if isinstance(code, int) else 0
    return 1


def _unknown(word: str) -> str:
    near = nearest(word, (name for name in app if not name.startswith("-")))
    return f"No command {word!r}. {hint(near, (), '')} {_help(())}"


def _help(command: Sequence[str]) -> str:
    """Where it says what a command takes."""
    if not command:
        return "`e2s --help` lists the commands."
    return f"`{' '.join(('e2s', *command))} --help` lists what it takes."


def _complain(message: str, suggestions: Sequence[str] = ()) -> None:
    """The error on one line, and the near matches that it does not name itself."""
    line = "e2s: " + " ".join(message.split())
    unnamed = [one for one in suggestions if one not in message]
    if unnamed:
        line += f" {did_you_mean(unnamed)}"
    sys.stderr.write(line + "\n")
