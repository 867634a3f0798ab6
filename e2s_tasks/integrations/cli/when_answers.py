"""What `e2s forecast` and `e2s backtest` answer, and how it is printed."""

import math
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2s_tasks.errors import SettingError
from e2s_tasks.integrations.cli.keys import NO_ZONE, options_with_keys
from e2s_tasks.integrations.cli.lengths import length

if TYPE_CHECKING:
    import numpy as np

    from e2s_tasks.scheduler.backtest import Jobs

STRATEGIES = ("window", "replan", "now", "threshold", "percentile", "interruptible")
BY_WINDOWS = ("window", "threshold", "percentile")
OF_STRATEGY = {"threshold": "threshold", "percentile": "percentile", "checkpoint": "interruptible"}
MOST_HOURS = 24 * 14
BAR = 40  # columns at most


@dataclass(frozen=True, slots=True)
class Case:
    """Runs on a trace, as they were asked for; power in W."""

    trace: Path
    zone: str | None
    duration: str
    slack: str
    every: str
    power: float


def forecast(zone: str | None, hours: float, trace: Path | None) -> dict[str, Any]:
    """The slots (gCO2eq/kWh) that are expected from now on."""
    from e2s_tasks.grid.ladder import forecast_for

    if not 0 < hours <= MOST_HOURS:
        raise SettingError(f"--hours={hours:g}: give more than 0, and at most {MOST_HOURS}.")
    options = options_with_keys()
    if trace is not None:
        options = replace(options, trace=_existing(trace))
    zone = zone or options.zone
    if zone is None and options.trace is None:
        raise SettingError(NO_ZONE)
    now = datetime.now(UTC)
    until = now + timedelta(hours=hours)
    outlook = forecast_for(zone, now, until, options)
    found = outlook.forecast
    slots = [
        {"start": slot.start.isoformat(), "end": slot.end.isoformat(), "gco2eq_per_kwh": slot.intensity}
        for slot in found.between(now, until)
    ]
    return {
        "zone": found.zone, "signal": found.signal, "source": found.source, "failures": list(outlook.failures),
        "slots": slots,
    }  # fmt: skip


def print_forecast(found: dict[str, Any]) -> None:
    """A line and a bar per slot."""
    from rich.text import Text

    from e2s_tasks.reporter.terminal import console

    out = console()
    out.print(Text(f"{found['source']} ({found['signal']}), zone {found['zone']}; gCO2eq/kWh, times in UTC"))
    slots = found["slots"]
    top = max((slot["gco2eq_per_kwh"] for slot in slots), default=1.0)
    begins = [
        f"{datetime.fromisoformat(slot['start']):%a %d %b %H:%M} {slot['gco2eq_per_kwh']:7.1f} " for slot in slots
    ]
    bar = max(1, min(BAR, out.width - max(map(len, begins), default=0)))
    for begin, slot in zip(begins, slots, strict=True):
        out.print(Text(begin + "█" * max(1, round(bar * slot["gco2eq_per_kwh"] / top))))
    for failure in found["failures"]:
        out.print(Text(f"not used: {failure}"))


@dataclass(frozen=True, slots=True)
class How:
    """How runs are planned, as it was asked for; None: not said.

    Raises:
        SettingError: something that cannot be used, or that says nothing beside the rest.
    """

    strategy: str
    threshold: float | None = None
    percentile: float | None = None
    minimum_gain: str | None = None
    checkpoint: str | None = None
    cap: int | None = None
    perfect: bool = False

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise SettingError(f"--strategy={self.strategy}: give one of {', '.join(STRATEGIES)}.")
        for option, strategy in OF_STRATEGY.items():
            if getattr(self, option) is not None and self.strategy != strategy:
                raise SettingError(
                    f"--{option}={getattr(self, option)} is for --strategy {strategy}: leave one of them out."
                )
        if self.strategy == "threshold" and not (self.threshold is not None and 0 < self.threshold < math.inf):
            raise SettingError(f"--threshold={self.threshold}: give gCO2eq/kWh above 0, for example --threshold 150.")
        if self.percentile is not None and not 0 <= self.percentile <= 100:
            raise SettingError(f"--percentile={self.percentile:g}: give a number from 0 to 100.")
        if self.cap is not None and self.strategy not in {"window", "replan"}:
            raise SettingError(f"--cap={self.cap} plans windows together: use --strategy window, or leave --cap out.")
        if self.minimum_gain is not None and (self.strategy not in BY_WINDOWS or self.cap is not None):
            raise SettingError(
                f"--minimum-gain={self.minimum_gain} is for one of {', '.join(BY_WINDOWS)}, without --cap."
            )
        if self.perfect and self.strategy == "now":
            raise SettingError("--perfect says nothing with --strategy now, which looks at no forecast: leave it out.")

    @property
    def knows(self) -> str:
        """What the plans are made on."""
        if self.strategy == "now":
            return "nothing: it starts at once"
        return "the truth" if self.perfect or self.cap is not None else "the past"


def backtest(case: Case, how: How) -> dict[str, Any]:
    """Savings, delays, misses, resumptions and the peak, beside starting at once and the oracle."""
    from e2s_tasks.scheduler import backtest as past

    strategy, cap = how.strategy, how.cap
    if not (math.isfinite(case.power) and case.power > 0):
        raise SettingError(f"--power={case.power:g}: give more than 0, in W.")
    values, step = _values(case)
    jobs = _jobs(case, values, step)
    per_day = round(timedelta(days=1) / step)
    resumed, over = 0.0, 0
    if strategy == "interruptible":
        lost = length(how.checkpoint or "15m", "--checkpoint") / step
        chosen = past.with_pauses(values, jobs, per_day, lost, truth_known=how.perfect)
        found, resumed = past.paused_result(values, jobs, chosen, lost)
    elif cap is not None:
        starts, over = past.capped(values, jobs, cap)
        found = past.result(values, jobs, starts)
    else:
        found = past.result(values, jobs, _starts(values, jobs, how, per_day, case.power))
    step_h = step / timedelta(hours=1)
    kwh = case.power / 1000 * jobs.length * step_h
    of_oracle = None if math.isnan(found.of_oracle) else found.of_oracle
    rows = asdict(found) | {"of_oracle": of_oracle}
    return {
        "strategy": strategy, "knows": how.knows,
        "runs": len(jobs.arrivals), "power_w": case.power, "slot_s": step.total_seconds(),
        "saving_percent": rows["saving"], "of_oracle_percent": of_oracle,
        "g_per_run": found.intensity * kwh, "now_g_per_run": found.now * kwh, "oracle_g_per_run": found.oracle * kwh,
        "gco2eq_per_kwh": found.intensity, "mean_delay_h": found.mean_delay * step_h,
        "p95_delay_h": found.p95_delay * step_h, "misses": found.misses, "resumptions_per_run": resumed,
        "peak": found.peak, "peak_now": found.peak_now, "above_cap": over,
    }  # fmt: skip


def print_backtest(found: dict[str, Any]) -> None:
    """One line per figure."""
    from rich.text import Text

    from e2s_tasks.reporter.terminal import console

    out = console()
    part = found["of_oracle_percent"]
    lines = {
        "saving": f"{found['saving_percent']:.1f} %"
        + ("" if part is None else f", {part:.0f} % of what the oracle saves"),
        "emissions": f"{found['g_per_run']:.0f} g a run at {found['power_w']:g} W; at once {found['now_g_per_run']:.0f}"
        f", oracle {found['oracle_g_per_run']:.0f}",
        "delay": f"{found['mean_delay_h']:.1f} h in the mean, P95 {found['p95_delay_h']:.1f} h",
        "at once": f"{found['peak']} runs at most, {found['peak_now']} without waiting; {found['above_cap']} above the"
        " cap",
        "misses": f"{found['misses']} of {found['runs']} runs; {found['resumptions_per_run']:.2f} resumptions a run",
        "planned on": found["knows"],
    }
    for word, line in lines.items():
        out.print(Text(f"{word:<11}{line}"))


def _existing(trace: Path) -> Path:
    if not trace.is_file():
        raise SettingError(f"--trace={trace}: there is no such file; give a CSV or Parquet file.")
    return trace


def _values(case: Case) -> tuple["np.ndarray[Any, Any]", timedelta]:
    """The intensities of the trace's slots, and how long a slot is."""
    import numpy as np

    from e2s_tasks.grid.trace import read_trace

    always = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
    slots = read_trace(_existing(case.trace)).forecast(case.zone, *always).slots
    return np.array([slot.intensity for slot in slots]), slots[0].end - slots[0].start


def _jobs(case: Case, values: "np.ndarray[Any, Any]", step: timedelta) -> "Jobs":
    """The runs in slots; the first arrives when a week of the past is known."""
    import numpy as np

    from e2s_tasks.scheduler.backtest import Jobs

    takes, every = (
        math.ceil(length(text, name, above_zero=True) / step)
        for text, name in ((case.duration, "--duration"), (case.every, "--every"))
    )
    slack = length(case.slack, "--slack") // step
    if timedelta(days=1) % step:
        raise SettingError(f"--trace={case.trace} has slots of {step}: give one whose slots divide a day.")
    arrivals = np.arange(timedelta(days=7) // step, len(values) - takes - slack, every)
    if not len(arrivals):
        raise SettingError(
            f"--trace={case.trace} has {len(values)} slots of {step}: it takes a week, the duration and the slack."
        )
    return Jobs(arrivals, takes, slack)


def _starts(
    values: "np.ndarray[Any, Any]", jobs: "Jobs", how: How, per_day: int, power: float
) -> "np.ndarray[Any, Any]":
    from e2s_tasks.core.policy import DEFAULT_PERCENTILE, minimum_gain_of
    from e2s_tasks.scheduler import backtest as past

    gain = minimum_gain_of(how.minimum_gain)
    if how.strategy == "now":
        return past.at_once(jobs)
    views = past.known(values, jobs, per_day, truth_known=how.perfect, least=per_day)
    if how.strategy == "threshold":
        starts = past.below(views, jobs, float(how.threshold or 0.0))
    elif how.strategy == "percentile":
        part = DEFAULT_PERCENTILE if how.percentile is None else how.percentile
        starts = past.below(views, jobs, past.percentiles(views, jobs, part, per_day))
    else:
        views = views[:, : jobs.length + jobs.slack]
        starts = past.best_starts(views, jobs, replan=how.strategy == "replan")
    return past.worth_it(views, jobs, starts, gain, power / 1000 * jobs.length)
