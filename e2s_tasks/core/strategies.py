"""The start that a policy chooses on a forecast, and whether a plan that was made moves: pure functions."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from e2s_tasks.core.planning import (
    SAME,
    UNIT,
    Forecast,
    Plan,
    Slot,
    best_window,
    clock,
    figure,
    mean_intensity,
    window_starts,
)
from e2s_tasks.core.policy import CarbonPolicy, aware
from e2s_tasks.errors import GridError

DAY = timedelta(days=1)
HYSTERESIS = 0.02


def choose(
    policy: CarbonPolicy,
    forecast: Forecast,
    now: datetime,
    latest_start: datetime | None = None,
    *,
    energy_j: float | None = None,
) -> Plan:
    """The start that the policy chooses between `now` and `latest_start`, by default the policy's own.

    Never one that is predicted to be dirtier than now. A threshold is compared with the mean over the whole run; where
    no start meets it, the cleanest is chosen.
    energy_j: what the run is expected to use (J), for grams.

    Raises:
        PolicyError: the deadline has passed, or no duration is known.
        GridError: the forecast does not cover even the window that starts now.
    """
    now = aware(now, "now").astimezone(UTC)
    latest = policy.latest_start(now) if latest_start is None else max(latest_start.astimezone(UTC), now)
    end = latest + policy.expected_duration
    if policy.deadline is not None:
        end = min(end, policy.deadline)
    plan = best_window(forecast, now, policy.expected_duration, end)
    if policy.strategy == "now":
        plan = _at_once(plan, now, "the policy says so")
    elif policy.strategy in {"threshold", "percentile"}:
        plan = _below(policy, forecast, plan, now, end)
    return _worth_it(policy, replace(plan, energy_j=energy_j), now)


def _at_once(plan: Plan, now: datetime, why: str) -> Plan:
    return replace(
        plan, start=now, end=now + (plan.end - plan.start), expected=plan.run_now, reason=f"start now: {why}"
    )


def _below(policy: CarbonPolicy, forecast: Forecast, best: Plan, now: datetime, end: datetime) -> Plan:
    """The first window that is clean enough; the cleanest where none is."""
    limit, told = _limit(policy, forecast, now)
    enough = limit * (1 + SAME)
    if best.run_now <= enough:
        return _at_once(best, now, f"{figure(best.run_now)} {UNIT} is not above {told}")
    for start, mean in window_starts(forecast, now, policy.expected_duration, end):
        if mean <= enough:
            reason = f"start at {clock(start, now)} UTC, the first at {told} or below: {figure(mean)} {UNIT}"
            return replace(best, start=start, end=start + policy.expected_duration, expected=mean, reason=reason)
    return replace(best, reason=f"{best.reason}; no start is at {told} or below")


def _limit(policy: CarbonPolicy, forecast: Forecast, now: datetime) -> tuple[float, str]:
    """What intensity (gCO2eq/kWh) is clean enough, and how to call it."""
    if policy.threshold is not None:
        return policy.threshold, f"the threshold {figure(policy.threshold)} {UNIT}"
    percentile = policy.percentile or 0.0
    limit = time_percentile(forecast.between(now, now + DAY), percentile)
    return limit, f"P{percentile:g} of the next 24 h, {figure(limit)} {UNIT},"


def time_percentile(slots: Sequence[Slot], percentile: float) -> float:
    """The least intensity (gCO2eq/kWh) that so many percent of the slots' time do not exceed.

    Raises:
        GridError: there is no slot.
    """
    if not slots:
        raise GridError("There is no figure to take a percentile of: use another source, or a threshold.")
    ordered = sorted(slots, key=lambda slot: slot.intensity)
    total = sum((slot.end - slot.start for slot in slots), timedelta())
    passed = timedelta()
    for slot in ordered:
        passed += slot.end - slot.start
        if passed >= total * (percentile / 100):
            return slot.intensity
    return ordered[-1].intensity


def _worth_it(policy: CarbonPolicy, plan: Plan, now: datetime) -> Plan:
    """The plan; starting now, where it saves less than the policy asks for."""
    least = policy.minimum_gain
    if least is None or plan.start <= now:
        return plan
    if least.unit == "%":
        gain = 100 * (1 - plan.expected / plan.run_now)
    elif plan.run_now_g is not None and plan.expected_g is not None:
        gain = (plan.run_now_g - plan.expected_g) / ((plan.start - now) / timedelta(hours=1))
    else:
        return replace(plan, reason=f"{plan.reason} (the energy is not known, so {least} was not asked for)")
    if gain >= least.value:
        return plan
    return _at_once(plan, now, f"waiting until {clock(plan.start, now)} UTC saves {gain:.2g} {least.unit}, not {least}")


def replan(
    stored: Plan,
    policy: CarbonPolicy,
    forecast: Forecast,
    now: datetime,
    latest_start: datetime,
    *,
    hysteresis: float = HYSTERESIS,
) -> Plan:
    """The stored plan, or the one that a newer forecast makes better; never one that starts after `latest_start`.

    latest_start: counted from when the run could first have started. A plan whose start is still to come moves only for
    a gain of more than `hysteresis` (a part); one that is due starts, unless a later start is predicted to be cleaner
    at all. What the forecast does not cover any more is planned anew.

    Raises:
        PolicyError, GridError: as for `choose`.
    """
    now, latest_start = aware(now, "now").astimezone(UTC), aware(latest_start, "latest_start").astimezone(UTC)
    fresh = choose(policy, forecast, now, latest_start, energy_j=stored.energy_j)
    if policy.strategy != "window" or not now < stored.start <= latest_start:
        return fresh
    try:
        kept = mean_intensity(forecast, stored.start, policy.expected_duration)
    except GridError:
        return fresh
    if kept > fresh.run_now or fresh.expected < kept * (1 - hysteresis):
        return fresh
    reason = f"still start at {clock(stored.start, now)} UTC, now at {figure(kept)} {UNIT}"
    end = stored.start + policy.expected_duration
    return _worth_it(policy, Plan(stored.start, end, kept, fresh.run_now, reason, stored.energy_j), now)
