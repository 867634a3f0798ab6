"""What each command of `e2s` answers, as plain JSON values; heavy packages are imported where they are needed."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2s_tasks.errors import SettingError
from e2s_tasks.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2s_tasks.ledger import Ledger
    from e2s_tasks.reporter import ArtifactHistory

DEFAULT_PERIOD = "30d"


def open_ledger() -> "Ledger":
    """The configured ledger, with what measured processes still keep in their journals."""
    from e2s_tasks.ledger import Ledger

    return Ledger.open()


def publish_what_waits() -> None:
    """Have summaries of killed flow runs published, which no hook of theirs could do, and MLflow told of what waits."""
    from e2s_tasks.integrations.mlflow.outbox import send_in_background
    from e2s_tasks.ledger.orphans import publish_orphans

    try:
        publish_orphans(settings().journals)
        send_in_background(settings())
    except (SettingError, OSError):  # it waits for the next command
        return


def runs(limit: int) -> list[dict[str, Any]]:
    """The latest runs at a glance, the newest first."""
    from e2s_tasks.reporter.run import lower_bounds_among
    from e2s_tasks.reporter.units import iso

    ledger = open_ledger()
    rows = ledger.runs(limit)
    lower = lower_bounds_among(ledger, [row.run_id for row in rows])
    return [
        {
            "id": row.run_id,
            "name": row.flow_run_name,
            "flow": row.name,
            "kind": row.kind,
            "solution": row.solution,
            "status": row.status,
            "waits": row.waits,
            "started_at": iso(row.started_at),
            "ended_at": iso(row.ended_at),
            "duration_s": None if row.ended_at is None else row.ended_at - row.started_at,
            "spans": row.spans,
            "energy_j": row.energy.total,
            "lower_bound": row.run_id in lower,
        }
        for row in rows
    ]


def summary(text: str | None) -> dict[str, Any]:
    """The summary of the run that the text names; of the latest one for None."""
    from e2s_tasks.reporter import summarise_run

    ledger = open_ledger()
    return summarise_run(ledger, ledger.find_run(text))


def compare(one: str, other: str) -> dict[str, Any]:
    """Two runs side by side."""
    from e2s_tasks.reporter import summarise_run
    from e2s_tasks.reporter.compare import compare as side_by_side

    ledger = open_ledger()
    first, second = (summarise_run(ledger, ledger.find_run(text)) for text in (one, other))
    return side_by_side(first, second)


def artifact(text: str, which: int | str | None) -> dict[str, Any]:
    """A version of an artifact, the last one by default, and where its energy comes from."""
    history, others = _artifact(text)
    return {"uri": history.uri, "others": others, "versions": [history.one(which)]}


def artifact_history(text: str, limit: int) -> dict[str, Any]:
    """The last versions of an artifact, with the energy-to-solution of each, and what changed between them."""
    history, others = _artifact(text)
    return {"uri": history.uri, "others": others, "versions": history.rows(limit)}


def _artifact(text: str) -> "tuple[ArtifactHistory, list[str]]":
    """The artifact, and the URIs of others that end in the text, too: it is a path here, which comes first."""
    from e2s_tasks.reporter import ArtifactHistory

    ledger = open_ledger()
    uri = ledger.find_artifact(text)
    return ArtifactHistory(ledger, uri), [other for other in ledger.artifacts_ending(text) if other != uri]


def kpi(run: str | None, solution: str | None, since: str | None, level: float) -> dict[str, Any]:
    """The KPIs of the run that the text names, of the latest one for None; or of a solution's runs of the period."""
    from e2s_tasks.integrations.cli.lengths import past
    from e2s_tasks.reporter import run_kpis, solution_kpis

    if solution is None:
        if since is not None:
            raise SettingError(f"--since={since} needs a solution: add --solution NAME.")
        ledger = open_ledger()
        return run_kpis(ledger, ledger.find_run(run))
    if run is not None:
        raise SettingError(f"Both the run {run!r} and --solution={solution} are given: give one of them.")
    if not 0 < level < 1:
        raise SettingError(f"--level={level}: give a number between 0 and 1, for example 0.95.")
    begin = past(since or DEFAULT_PERIOD, "--since")
    return solution_kpis(open_ledger(), solution, begin, interval_level=level)


def export(folder: Path, since: str | None, until: str | None) -> dict[str, Any]:
    """What was written of each record type."""
    from e2s_tasks.integrations.cli.lengths import check_moment

    for text, option in ((since, "--since"), (until, "--until")):
        if text is not None:
            check_moment(text, option)
    done = open_ledger().export(folder, since, until)
    return {"folder": str(folder), "records": [asdict(one) for one in done]}


def prune(keep: str, *, dry_run: bool, told: "Callable[[int, int], None]") -> dict[str, Any]:
    """What was folded, or would be, and the ledger's bytes. told: as for `Ledger.prune`."""
    from e2s_tasks.integrations.cli.lengths import kept_s

    done = open_ledger().prune(kept_s(keep, "--keep"), dry_run=dry_run, told=told)
    return asdict(done) | {"dry_run": dry_run}


def mlflow(text: str | None) -> dict[str, Any]:
    """Where MLflow was told of the run that the text names; of the latest one for None."""
    from e2s_tasks.integrations.mlflow.sender import send_by_hand

    ledger = open_ledger()
    run_id = ledger.find_run(text)
    uri, mlflow_run = send_by_hand(ledger, settings(), run_id)
    return {"run_id": run_id, "tracking_uri": uri, "mlflow_run_id": mlflow_run}


def doctor() -> dict[str, Any]:
    """What was found on this host, its hardware profile, and where things are kept."""
    from e2s_tasks.meters.doctor import examine, host_of

    options = settings()
    findings = [*map(asdict, examine(options)), _data_finding(options.journals), _ledger_finding()]
    return {"findings": findings, "profile": host_of(options)._asdict(), "data_dir": str(options.data_dir)}


def _data_finding(journals: Path) -> dict[str, Any]:
    """Whether measured processes can write down what they measure."""
    from tempfile import TemporaryFile

    found = {"name": "data directory", "state": "ok", "provenance": None, "detail": str(journals), "fix": ""}
    try:
        journals.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=journals):
            return found
    except OSError as error:
        fix = "set E2S_DATA_DIR to a folder that this user can write to, or make room"
        return {**found, "state": "failed", "detail": f"{journals} cannot be written: {error.strerror}", "fix": fix}


def _ledger_finding() -> dict[str, Any]:
    from e2s_tasks.errors import LedgerError
    from e2s_tasks.ledger import Ledger

    url = settings().ledger
    try:
        Ledger.open(url).runs(1)
    except LedgerError as error:
        return {"name": "ledger", "state": "failed", "provenance": None, "detail": str(error), "fix": ""}
    from sqlalchemy import make_url

    from e2s_tasks.ledger.engine import shown

    told = shown(make_url(url))
    return {"name": "ledger", "state": "ok", "provenance": None, "detail": told, "fix": ""}
