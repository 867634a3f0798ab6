"""What a policy would have saved on a past year: jobs that arrive at slots of a trace, and when each would have run.

All arrays count in slots of the trace, which are equally long. `views[t]` is what was known at the beginning of slot t
of the slots t, t + 1, ...: a forecast made then, the truth, or what the past made expect.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from e2s_tasks.core.capacity import Runs, plan_together
from e2s_tasks.core.interruptible import plan_slots, resumptions, slots_cost
from e2s_tasks.core.policy import MinimumGain
from e2s_tasks.core.profile import FADE_OF_ISSUED_H, PART_OF_USUAL, expected

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Slots = NDArray[np.int64]

SAME = 1e-9  # two means that differ by less, relatively, are the same figure


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs of the same length, in slots: when each arrives, how long it runs, how much later it may end."""

    arrivals: "Slots"
    length: int
    slack: int


@dataclass(frozen=True, slots=True)
class Result:
    """What a policy does to jobs, beside starting at once and beside the best that could have been done (the oracle).

    saving and of_oracle in percent; intensity, now and oracle: mean gCO2eq/kWh; delays in slots; peak: how many jobs
    run at once at most, and peak_now if all start at once; misses: jobs that end after their slack.
    """

    saving: float
    of_oracle: float
    intensity: float
    now: float
    oracle: float
    mean_delay: float
    p95_delay: float
    peak: int
    peak_now: int
    misses: int


# -- what is known when ----------------------------------------------------------------------------------------------


def perfect(trace: "Values", ahead: int) -> "Values":
    """The truth; NaN after the trace's end."""
    return np.lib.stride_tricks.sliding_window_view(np.concatenate([trace, np.full(ahead - 1, np.nan)]), ahead)


def from_past(trace: "Values", per_day: int, ahead: int) -> "Values":
    """What the slots before each one made expect of it and the next ones."""
    longest = 42 * per_day
    views = np.full((len(trace), ahead), np.nan)
    for now in range(per_day, len(trace)):
        views[now] = expected(trace[max(0, now - longest) : now], per_day, ahead)
    return views


def as_issued(issued: "Values", every: int, ahead: int) -> "Values":
    """Forecasts that are issued every so many slots (`issued[k]` at slot k * every), as known at each slot."""
    views = np.full((len(issued) * every, ahead), np.nan)
    for now in range(len(views)):
        known = issued[now // every][now % every :][:ahead]
        views[now, : len(known)] = known
    return views


def put_right(views: "Values", trace: "Values", usual: "Values", slot_h: float) -> "Values":
    """The same, shifted by how far each is off at the slot of now, and combined with what the past makes expect.

    As `core.profile.corrected` and `combined` do it.
    """
    fade = np.exp(-np.arange(views.shape[1]) * slot_h / FADE_OF_ISSUED_H)
    off = trace[: len(views)] - views[:, 0]
    shifted = np.maximum(views + off[:, None] * fade, views * 0.01)
    other = usual[: len(views)]
    found: Values = np.where(np.isnan(other), shifted, shifted + PART_OF_USUAL * (other - shifted))
    found[:, 0] = shifted[:, 0]
    return found


# -- when each job starts --------------------------------------------------------------------------------------------


def at_once(jobs: Jobs) -> "Slots":
    """As they arrive."""
    return jobs.arrivals


def best_starts(views: "Values", jobs: Jobs, *, replan: bool) -> "Slots":
    """The cheapest window within the slack. replan: looked for again at each slot, until now is the cheapest start."""
    means = window_means(views[: int(jobs.arrivals.max()) + jobs.slack + 1], jobs.length)
    if not replan:
        waits: Slots = np.nanargmin(means[jobs.arrivals, : jobs.slack + 1], axis=1)
        return jobs.arrivals + waits
    later = np.fmin.accumulate(means[:, 1:], axis=1)
    return _waiting(jobs, lambda now, left: means[now, 0] <= later[now, left - 1] * (1 + SAME))


def below(views: "Values", jobs: Jobs, limits: "Values | float") -> "Slots":
    """The first window whose mean is at most the job's limit (gCO2eq/kWh); the cheapest where none is."""
    means = window_means(views[jobs.arrivals], jobs.length)[:, : jobs.slack + 1]
    enough = means <= (limits if isinstance(limits, float) else limits[:, None]) * (1 + SAME)
    waits: Slots = np.where(enough.any(axis=1), enough.argmax(axis=1), np.nanargmin(means, axis=1))
    return jobs.arrivals + waits


def percentiles(views: "Values", jobs: Jobs, percentile: float, per_day: int) -> "Values":
    """The percentile of the 24 hours that follow each job's arrival, as far as they are known."""
    day = views[jobs.arrivals, :per_day]
    found: Values = np.nanpercentile(day, percentile, axis=1, method="inverted_cdf")
    return found


def worth_it(views: "Values", jobs: Jobs, starts: "Slots", gain: MinimumGain | None, g_per_intensity: float) -> "Slots":
    """The starts, those at once that are predicted to save less. g_per_intensity: a run's grams per gCO2eq/kWh and
    slot of delay, for a gain in grams an hour.
    """
    if gain is None:
        return starts
    means, waits = window_means(views[jobs.arrivals], jobs.length), starts - jobs.arrivals
    now, then = means[:, 0], means[np.arange(len(waits)), waits]
    saved = 100 * (1 - then / now) if gain.unit == "%" else (now - then) * g_per_intensity / np.maximum(waits, 1)
    return np.where(saved >= gain.value, starts, jobs.arrivals)


def _waiting(jobs: Jobs, go: Callable[["Slots", int], "NDArray[np.bool_]"]) -> "Slots":
    """For each job the first slot at which `go` says so, given the slots and how many are left; else the last one."""
    starts = jobs.arrivals + jobs.slack
    waiting = np.ones(len(starts), dtype=bool)
    for waited in range(jobs.slack):
        now = jobs.arrivals + waited
        starts_now = waiting & go(now, jobs.slack - waited)
        starts[starts_now] = now[starts_now]
        waiting &= ~starts_now
    return starts


# -- what it was worth -----------------------------------------------------------------------------------------------


def window_means(values: "Values", length: int) -> "Values":
    """The means of `length` consecutive slots along the last axis, by where they start."""
    sums = np.cumsum(values, axis=-1)
    sums = np.concatenate([np.zeros((*values.shape[:-1], 1)), sums], axis=-1)
    means: Values = (sums[..., length:] - sums[..., :-length]) / length
    return means


def result(trace: "Values", jobs: Jobs, starts: "Slots") -> Result:
    """Starts against starting at once, and against the oracle, on what the intensities really were."""
    means = window_means(trace, jobs.length)
    reach = np.lib.stride_tricks.sliding_window_view(means, jobs.slack + 1).min(axis=1)
    chosen, now = float(means[starts].mean()), float(means[jobs.arrivals].mean())
    oracle = float(reach[jobs.arrivals].mean())
    delays = starts - jobs.arrivals
    return Result(
        saving=100 * (1 - chosen / now),
        of_oracle=100 * (now - chosen) / (now - oracle) if now > oracle else float("nan"),
        intensity=chosen, now=now, oracle=oracle,
        mean_delay=float(delays.mean()), p95_delay=float(np.percentile(delays, 95)),
        peak=_peak(starts, jobs.length), peak_now=_peak(jobs.arrivals, jobs.length),
        misses=int((delays > jobs.slack).sum()),
    )  # fmt: skip


def _peak(starts: "Slots", length: int) -> int:
    """How many jobs run at once at most."""
    begin = np.bincount(starts, minlength=int(starts.max()) + length + 1)
    end = np.bincount(starts + length, minlength=len(begin))
    return int(np.cumsum(begin - end).max())


# -- pauses and caps -------------------------------------------------------------------------------------------------


def known(trace: "Values", jobs: Jobs, per_day: int, *, truth_known: bool, least: int = 0) -> "Values":
    """The truth, or what the past made expect, for as long as the jobs may run, and for so many slots at least."""
    ahead = max(jobs.length + jobs.slack, least)
    return perfect(trace, ahead) if truth_known else from_past(trace, per_day, ahead)


def with_pauses(trace: "Values", jobs: Jobs, per_day: int, lost: float, *, truth_known: bool) -> "NDArray[np.bool_]":
    """The slots, from its arrival on, in which each job runs, if it may be suspended; `lost` slots per resumption."""
    views = known(trace, jobs, per_day, truth_known=truth_known)[jobs.arrivals]
    truth = np.lib.stride_tricks.sliding_window_view(trace, views.shape[1])[jobs.arrivals]
    return plan_slots(views, jobs.length, lost, error_sd=float((views - truth).std()), slot_h=24 / per_day)


def paused_result(trace: "Values", jobs: Jobs, chosen: "NDArray[np.bool_]", lost: float) -> tuple[Result, float]:
    """As `result`, with what resumptions cost, and how many there are per job; the delay is that of the end."""
    truth = np.lib.stride_tricks.sliding_window_view(trace, chosen.shape[1])[jobs.arrivals]
    ends = chosen.shape[1] - np.argmax(chosen[:, ::-1], axis=1)
    found = result(trace, jobs, jobs.arrivals + ends - jobs.length)
    spent = float(slots_cost(truth, chosen, lost).mean() / jobs.length)
    running = np.zeros(len(trace), dtype=np.int64)
    rows, slots = np.nonzero(chosen)
    np.add.at(running, jobs.arrivals[rows] + slots, 1)
    best = found.now - found.oracle
    found = replace(
        found, intensity=spent, saving=100 * (1 - spent / found.now), peak=int(running.max()),
        of_oracle=100 * (found.now - spent) / best if best > 0 else float("nan"),
    )  # fmt: skip
    return found, float(resumptions(chosen).mean())


def capped(trace: "Values", jobs: Jobs, cap: int) -> tuple["Slots", int]:
    """Starts of which at most `cap` run at once, planned together on the truth, and how many exceed it."""
    same = np.ones(len(jobs.arrivals), dtype=np.int64)
    plan = plan_together(trace, Runs(jobs.arrivals, same * jobs.length, same * jobs.slack, np.ones(len(same))), cap)
    return plan.starts, len(plan.over)
