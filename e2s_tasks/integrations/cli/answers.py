"""What each command of `e2s` answers, as plain JSON values; heavy packages are imported where they are needed."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2s_tasks.errors import SettingError
from e2s_tasks.settings import settings

if TYPE_CHECKING:
    from e2s_tasks.ledger import Ledger


def _ledger() -> "Ledger":
    """The configured ledger, with what measured processes still keep in their journals."""
    from e2s_tasks.ledger import Ledger

    return Ledger.open()


def publish_what_waits() -> None:
    """Have summaries of killed flow runs published, which no hook of theirs could do."""
    from e2s_tasks.ledger.orphans import publish_orphans

    try:
        publish_orphans(settings().journals)
    except (SettingError, OSError):  # it waits for the next command
        return


def runs(limit: int) -> list[dict[str, Any]]:
    """The latest runs at a glance, the newest first."""
    from e2s_tasks.reporter.units import iso

    return [
        {
            "id": row.run_id,
            "name": row.flow_run_name,
            "flow": row.name,
            "kind": row.kind,
            "solution": row.solution,
            "status": row.status,
            "started_at": iso(row.started_at),
            "ended_at": iso(row.ended_at),
            "duration_s": None if row.ended_at is None else row.ended_at - row.started_at,
            "spans": row.spans,
            "energy_j": row.energy.total,
        }
        for row in _ledger().runs(limit)
    ]


def summary(text: str | None) -> dict[str, Any]:
    """The summary of the run that the text names; of the latest one for None."""
    from e2s_tasks.reporter import summarise_run

    ledger = _ledger()
    return summarise_run(ledger, ledger.find_run(text))


def artifact(text: str, limit: int) -> dict[str, Any]:
    """The last versions of an artifact, with the energy-to-solution of each in the run that wrote it."""
    from e2s_tasks.reporter import artifact_versions

    ledger = _ledger()
    uri = ledger.find_artifact(text)
    return {"uri": uri, "versions": artifact_versions(ledger, uri, limit)}


def export(folder: Path, since: str | None, until: str | None) -> dict[str, Any]:
    """What was written of each record type."""
    done = _ledger().export(folder, since, until)
    return {"folder": str(folder), "records": [asdict(one) for one in done]}


def prune(keep: str, *, dry_run: bool) -> dict[str, Any]:
    """What was folded, or would be, and the ledger's bytes."""
    from e2s_tasks.ledger.times import length_s

    done = _ledger().prune(length_s(keep, "--keep"), dry_run=dry_run)
    return asdict(done) | {"dry_run": dry_run}


def plan(zone: str | None, duration: str, slack: str, trace: Path | None) -> dict[str, Any]:
    """When a run would emit least, and what starting at once would emit."""
    from datetime import UTC, datetime

    from e2s_tasks.core.policy import duration as length
    from e2s_tasks.reporter.units import iso
    from e2s_tasks.scheduler import plan as make_plan

    options = settings()
    if trace is not None:
        if not trace.is_file():
            raise SettingError(f"--trace={trace}: there is no such file; give a CSV or Parquet file.")
        options = replace(options, trace=trace)
    zone = zone or options.zone
    if zone is None:
        raise SettingError("No zone: give one with --zone (for example --zone GB) or set E2S_ZONE.")
    takes = length(duration, "--duration", above_zero=True)
    decision = make_plan(zone, takes, length(slack, "--slack"), datetime.now(UTC), options)
    start, end = decision.start, decision.end
    saving = None
    if decision.run_now and decision.expected is not None and decision.plan.get("rung") in {"trace", "service"}:
        saving = 100 * (1 - decision.expected / decision.run_now)
    return {
        "start": iso(start.timestamp() if start else None),
        "end": iso(end.timestamp() if end else None),
        "expected_gco2eq_per_kwh": decision.expected,
        "run_now_gco2eq_per_kwh": decision.run_now,
        "source": decision.source,
        "reason": decision.reason,
        "zone": decision.zone,
        "signal": decision.signal,
        "decided_at": iso(decision.at.timestamp()),
        "saving_percent": saving,
        "failures": decision.plan.get("failures", []),
    }


def doctor() -> dict[str, Any]:
    """What was found on this host, its hardware profile, and where things are kept."""
    from e2s_tasks.meters.doctor import examine
    from e2s_tasks.meters.profile import profile

    options = settings()
    findings = [*map(asdict, examine(options)), _ledger_finding()]
    return {"findings": findings, "profile": asdict(profile(options)), "data_dir": str(options.data_dir)}


def _ledger_finding() -> dict[str, Any]:
    from e2s_tasks.errors import LedgerError
    from e2s_tasks.ledger import Ledger

    url = settings().ledger
    try:
        Ledger.open(url).runs(1)
    except LedgerError as error:
        return {"name": "ledger", "state": "failed", "provenance": None, "detail": str(error), "fix": ""}
    from sqlalchemy import make_url

    shown = make_url(url).render_as_string()
    return {"name": "ledger", "state": "ok", "provenance": None, "detail": shown, "fix": ""}
