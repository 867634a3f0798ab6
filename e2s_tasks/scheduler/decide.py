"""The decision for a run: the best source of carbon intensity, and the best window in it."""

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from e2s_tasks.core.planning import UNIT, Plan, figure
from e2s_tasks.core.policy import CarbonPolicy, Duration, aware
from e2s_tasks.core.records import DecisionRecord
from e2s_tasks.core.strategies import choose
from e2s_tasks.errors import GridError, ZoneError
from e2s_tasks.grid.ladder import Outlook, average_for, forecast_for, nothing_for

if TYPE_CHECKING:
    from e2s_tasks.settings import Settings

HALF_HOUR = timedelta(minutes=30)
_REQUEST = re.compile(r"GET \S+ ")


@dataclass(frozen=True, slots=True)
class Decision:
    """When a run should start, and the carbon intensities (gCO2eq/kWh) that speak for it.

    intensity: what the emissions of a run that starts now use: the mean over its expected duration or, without a
    policy, the figure of the moment. expected and run_now: the means over the planned window and the immediate one.
    plan: the policy, the rung of the source, why higher rungs failed, and the slots [start, end, intensity] (epoch s).
    """

    at: datetime
    zone: str | None
    signal: str
    source: str
    reason: str
    intensity: float | None = None
    start: datetime | None = None
    end: datetime | None = None
    expected: float | None = None
    run_now: float | None = None
    plan: dict[str, Any] = field(default_factory=dict)


def decide(policy: CarbonPolicy, now: datetime, settings: "Settings", *, energy_j: float | None = None) -> Decision:
    """The start that the policy chooses; now, where nothing is known about the hours to come.

    Takes at most about twice `settings.grid_timeout_s`, however dead the network is.
    energy_j: what the run is expected to use (J); with it the plan holds grams too.

    Raises:
        PolicyError: the policy's deadline has passed, or nobody knows how long the run takes: see `policy.lasting`.
        ZoneError, TraceError: see `forecast_for`.
    """
    now = aware(now, "now").astimezone(UTC)
    duration, latest_end = policy.expected_duration, policy.latest_end(now)
    outlook = forecast_for(policy.zone, now, max(latest_end, now + duration), settings, duration)
    best = None
    if outlook.knows_timing:
        try:
            best = choose(policy, outlook.forecast, now, energy_j=energy_j)
        except GridError as error:
            outlook = average_for(policy.zone, now, latest_end, (str(error),))
    flat = outlook.forecast.at(now)
    return Decision(
        at=now,
        zone=outlook.forecast.zone,
        signal=outlook.forecast.signal,
        source=outlook.forecast.source,
        reason=best.reason if best else _no_timing(outlook),
        intensity=best.run_now if best else flat,
        start=best.start if best else now,
        end=best.end if best else now + duration,
        expected=best.expected if best else flat,
        run_now=best.run_now if best else flat,
        plan=_plan(policy, latest_end, outlook, now) | _grams(best),
    )


def plan(zone: str, duration: Duration, slack: Duration, now: datetime, settings: "Settings") -> Decision:
    """The decision for a run in `zone` that takes `duration` and may finish up to `slack` later than if started now.

    Raises:
        SettingError: a duration that cannot be used.
        ZoneError, TraceError: see `forecast_for`.
    """
    return decide(CarbonPolicy(zone, max_delay=slack, expected_duration=duration), now, settings)


def intensity_now(zone: str | None, now: datetime, settings: "Settings") -> Decision:
    """The carbon intensity at `now`, for a run without a policy: it plans nothing, so `start` stays None.

    Raises:
        ZoneError, TraceError: see `forecast_for`.
    """
    outlook = forecast_for(zone, aware(now, "now"), now + HALF_HOUR, settings)
    if outlook.knows_timing and outlook.forecast.at(now) is None:
        failure = f"{outlook.forecast.source} has no figure for {now:%Y-%m-%d %H:%M}"
        outlook = average_for(zone, now, now + HALF_HOUR, (failure,))
    return _unplanned(zone, now, outlook, "no policy: the run starts at once" + _why(outlook))


def average_now(zone: str | None, now: datetime, reason: str) -> Decision:
    """The yearly average of the zone, for a run whose own source said nothing, for this reason.

    Where nobody knows the zone the intensity is None.
    """
    try:
        outlook = average_for(zone, aware(now, "now"), now + HALF_HOUR, (reason,))
    except ZoneError:
        outlook = nothing_for(zone, (reason,))
    return _unplanned(zone, now, outlook, reason)


def not_planned_by(policy: CarbonPolicy | None, found: Decision, reason: str) -> Decision:
    """The decision of a run that starts at once for this reason, though it may have a policy: the plan names that."""
    named = {} if policy is None else {"policy": _values(policy)}
    return replace(found, reason=reason, plan=found.plan | named)


def _unplanned(zone: str | None, now: datetime, outlook: Outlook, reason: str) -> Decision:
    """A decision that plans nothing, with the intensity of the moment."""
    return Decision(
        at=now,
        zone=None if zone is None else outlook.forecast.zone,
        signal=outlook.forecast.signal,
        source=outlook.forecast.source,
        reason=reason,
        intensity=outlook.forecast.at(now),
        plan={"rung": str(outlook.rung), "failures": list(outlook.failures)},
    )


def to_record(decision: Decision, run_id: str) -> DecisionRecord:
    """The decision as it is written down for the run; the same one always gets the same id."""
    return DecisionRecord(
        id=uuid5(NAMESPACE_URL, f"e2s:decision:{run_id}:{decision.at.timestamp()}").hex,
        run_id=run_id,
        at=decision.at.timestamp(),
        zone=decision.zone,
        signal=decision.signal,
        source=decision.source,
        reason=decision.reason,
        intensity=decision.intensity,
        start=_epoch(decision.start),
        end=_epoch(decision.end),
        expected=decision.expected,
        run_now=decision.run_now,
        plan=decision.plan,
    )


def _epoch(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _no_timing(outlook: Outlook) -> str:
    """Why a run starts now when only an average, or nothing, is known."""
    zone = outlook.forecast.zone
    if not outlook.forecast.slots:
        return f"start now: no carbon intensity for {zone}{_why(outlook)}"
    average = f"the {outlook.forecast.source}, {figure(outlook.forecast.slots[0].intensity)} {UNIT},"
    return f"start now: no forecast for {zone}{_why(outlook)}; {average} says nothing about timing"


def _why(outlook: Outlook) -> str:
    """Why the best source failed, in short, to be added to a reason; the plan's `failures` hold all of it."""
    if not outlook.failures:
        return ""
    why = outlook.failures[0].partition(". ")[0]
    asked = _REQUEST.match(why)
    return f" (the service {why[asked.end() :].partition(' (')[0]})" if asked else f" ({why})"


def _grams(best: Plan | None) -> dict[str, float]:
    """The predicted emissions, where the expected energy is known."""
    if best is None or best.energy_j is None or best.expected_g is None or best.run_now_g is None:
        return {}
    return {"energy_j": best.energy_j, "expected_g": best.expected_g, "run_now_g": best.run_now_g}


def _plan(policy: CarbonPolicy, latest_end: datetime, outlook: Outlook, now: datetime) -> dict[str, Any]:
    """What the decision was made from, as JSON values."""
    slots = outlook.forecast.between(now, latest_end)
    return {
        "policy": _values(policy),
        "latest_end": latest_end.timestamp(),
        "latest_start": policy.latest_start(now).timestamp(),
        "rung": str(outlook.rung),
        "failures": list(outlook.failures),
        "slots": [[slot.start.timestamp(), slot.end.timestamp(), slot.intensity] for slot in slots],
    }


def _values(policy: CarbonPolicy) -> dict[str, Any]:
    """The policy as JSON values; a part that it does not say is left out."""
    expected = policy.expected_duration
    chosen = {
        "expected_duration_s": None if expected is None else expected.total_seconds(),
        "strategy": policy.strategy if policy.strategy != "window" else None,
        "threshold": policy.threshold,
        "percentile": policy.percentile,
        "minimum_gain": None if policy.minimum_gain is None else str(policy.minimum_gain),
        "p95_duration_s": None if policy.p95_duration is None else policy.p95_duration.total_seconds(),
    }
    return {
        "zone": policy.zone,
        "max_delay_s": policy.max_delay.total_seconds(),
        "deadline": _epoch(policy.deadline),
        **{name: value for name, value in chosen.items() if value is not None},
    }
