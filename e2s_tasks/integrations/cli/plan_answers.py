"""What `e2s plan` answers, and how it is printed."""

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.errors import SettingError
from e2s_tasks.integrations.cli.keys import NO_ZONE, options_with_keys
from e2s_tasks.integrations.cli.lengths import length

if TYPE_CHECKING:
    from e2s_tasks.ledger.learned import Learned
    from e2s_tasks.scheduler import Decision

HOW = ("strategy", "threshold", "percentile", "minimum_gain")  # parts of a policy that a plan takes as they were
NO_TIMING = {"average", "nothing"}


def plan(
    flow: str | None, zone: str | None, duration: str | None, slack: str | None, trace: Path | None
) -> dict[str, Any]:
    """When a run would emit least, and what starting at once would emit."""
    from e2s_tasks.ledger import Ledger
    from e2s_tasks.scheduler import decide

    options = options_with_keys()
    if trace is not None:
        if not trace.is_file():
            raise SettingError(f"--trace={trace}: there is no such file; give a CSV or Parquet file.")
        options = replace(options, trace=trace)
    known: dict[str, Any] = {}
    lesson = seen = None
    if flow is not None:
        ledger = Ledger.open(options.ledger)
        known, lesson, seen = ledger.latest_policy(flow) or {}, ledger.learned(flow), ledger.latest_zone(flow)
    if duration is not None:
        lesson = None  # of a run of another length nobody knows what it uses
    p95_s = known.get("p95_duration_s", lesson.p95_s if lesson is not None else None)
    policy = CarbonPolicy(
        _zone(zone or known.get("zone") or options.zone or seen, flow),
        max_delay=length(slack, "--slack") if slack is not None else timedelta(seconds=known.get("max_delay_s", 0)),
        expected_duration=_takes(duration, lesson, known, flow),
        deadline=None if known.get("deadline") is None else datetime.fromtimestamp(known["deadline"], UTC),
        p95_duration=p95_s or None,
        **{name: known[name] for name in HOW if name in known},
    )
    decision = decide(policy, datetime.now(UTC), options, energy_j=lesson.energy_j if lesson else None)
    return _told(flow, policy, lesson, decision)


def _zone(zone: str | None, flow: str | None) -> str:
    """The zone, if there is one. Tags beside `e2s:no-carbon` say none, which who wrote them may not expect."""
    if zone is None:
        none = "" if flow is None else f" No run of {flow} had one, for which tags beside e2s:no-carbon do not count."
        raise SettingError(NO_ZONE + none)
    return zone


def _takes(duration: str | None, lesson: "Learned | None", known: dict[str, Any], flow: str | None) -> timedelta:
    """How long the run takes: as given; else what the flow's runs tell; else its policy."""
    if duration is not None:
        return length(duration, "--duration", above_zero=True)
    if lesson is not None and lesson.p50_s > 0:
        return timedelta(seconds=lesson.p50_s)
    if "expected_duration_s" in known:
        return timedelta(seconds=known["expected_duration_s"])
    policy = "its policy says no expected_duration" if known else "it has no policy"
    unknown = "" if flow is None else f" (fewer than five runs of {flow} have completed, and {policy})"
    raise SettingError(f"Nobody knows how long the run takes{unknown}: give --duration, for example 2h.")


def _told(flow: str | None, policy: CarbonPolicy, lesson: "Learned | None", decision: "Decision") -> dict[str, Any]:
    from e2s_tasks.reporter.units import iso

    start, end = decision.start, decision.end
    saving = None
    if decision.run_now and decision.expected is not None and decision.plan.get("rung") not in NO_TIMING:
        saving = 100 * (1 - decision.expected / decision.run_now)
    return {
        "flow": flow,
        "start": iso(start.timestamp() if start else None),
        "end": iso(end.timestamp() if end else None),
        "expected_gco2eq_per_kwh": decision.expected,
        "run_now_gco2eq_per_kwh": decision.run_now,
        "expected_g": decision.plan.get("expected_g"),
        "run_now_g": decision.plan.get("run_now_g"),
        "source": decision.source,
        "reason": decision.reason,
        "zone": decision.zone,
        "signal": decision.signal,
        "decided_at": iso(decision.at.timestamp()),
        "saving_percent": saving,
        "duration_s": policy.expected_duration.total_seconds(),
        "slack_s": policy.max_delay.total_seconds(),
        "learned": None if lesson is None else asdict(lesson),
        "latest_end": iso(decision.plan["latest_end"]),
        "slots": [
            {"start": iso(begin), "end": iso(until), "gco2eq_per_kwh": value}
            for begin, until, value in decision.plan["slots"]
        ],
        "failures": decision.plan.get("failures", []),
    }


def print_plan(found: dict[str, Any]) -> None:
    """The plan in a few lines, over the grid as it is expected to be."""
    from rich.text import Text

    from e2s_tasks.integrations.cli.tables import facts
    from e2s_tasks.reporter import units
    from e2s_tasks.reporter.terminal import console

    out = console()
    out.print(Text(found["reason"], style="bold"))
    if len(found["slots"]) > 1 and found["slack_s"]:
        out.print(_chart(found, out.width))
    table = facts()
    table.add_row("start", units.clock(found["start"]))
    table.add_row("end", units.clock(found["end"]))
    for word, key in (("expected", "expected"), ("at once", "run_now")):
        value, grams = found[f"{key}_gco2eq_per_kwh"], found[f"{key}_g"]
        known = units.UNKNOWN if value is None else f"{units.number(value)} gCO2eq/kWh"
        table.add_row(word, known + ("" if grams is None else f", {units.grams(grams)}"))
    if found["learned"]:
        table.add_row("learned", _learned(**found["learned"]))
    table.add_row("source", Text(f"{found['source']} ({found['signal']}), zone {found['zone']}"))
    for failure in found["failures"]:
        table.add_row("not used", Text(failure))
    out.print(table)


def _learned(*, runs: int, p50_s: float, p95_s: float, energy_j: float | None) -> str:
    from e2s_tasks.reporter import units

    used = "" if energy_j is None else f", {units.joules(energy_j)}"
    return f"from {runs} runs: {units.seconds(p50_s)} in the median, P95 {units.seconds(p95_s)}{used}"


def _chart(found: dict[str, Any], width: int) -> Any:
    from e2s_tasks.core.planning import Slot
    from e2s_tasks.integrations.cli.chart import chart

    at = datetime.fromisoformat
    slots = [Slot(at(one["start"]), at(one["end"]), one["gco2eq_per_kwh"]) for one in found["slots"]]
    end = min(at(found["latest_end"]), slots[-1].end)
    return chart(slots, at(found["decided_at"]), end, (at(found["start"]), at(found["end"])), width)
