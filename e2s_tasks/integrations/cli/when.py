"""`e2s plan`, `e2s forecast`, `e2s backtest`: when to run, what the grid will do, what a policy would have saved."""

from pathlib import Path

from e2s_tasks.integrations.cli.arguments import Json, Length, print_json


def plan(
    flow: str | None = None,
    /,
    *,
    zone: str | None = None,
    duration: Length | None = None,
    slack: Length | None = None,
    trace: Path | None = None,
    json: Json = False,
) -> None:
    """Say when a run would emit least: of a flow that has run before, or of one that takes `--duration`.

    Parameters
    ----------
    flow: str
        A flow's name. Its latest run's policy, and the length and energy of its completed runs, stand in for what is
        not given.
    zone: str
        The grid zone, for example GB; E2S_ZONE by default, then that of the flow's latest runs.
    duration: str
        How long the run takes, for example 2h or 1h30m.
    slack: str
        How much later than at once it may finish, for example 12h; 0 by default.
    trace: Path
        A carbon-intensity trace (CSV or Parquet) to plan with instead of a service.
    json: bool
        Print JSON.
    """
    from e2s_tasks.integrations.cli import plan_answers

    found = plan_answers.plan(flow, zone, duration, slack, trace)
    if json:
        print_json(found)
    else:
        plan_answers.print_plan(found)


def forecast(*, zone: str | None = None, hours: float = 24, trace: Path | None = None, json: Json = False) -> None:
    """Show the carbon intensity that is expected, by the hour or half hour.

    Parameters
    ----------
    zone: str
        The grid zone, for example GB; E2S_ZONE by default.
    hours: float
        How far to look.
    trace: Path
        A carbon-intensity trace (CSV or Parquet) instead of a service.
    json: bool
        Print JSON.
    """
    from e2s_tasks.integrations.cli import when_answers

    found = when_answers.forecast(zone, hours, trace)
    if json:
        print_json(found)
    else:
        when_answers.print_forecast(found)


def backtest(
    *,
    trace: Path,
    zone: str | None = None,
    duration: Length,
    slack: Length = "24h",
    strategy: str = "window",
    threshold: float | None = None,
    percentile: float | None = None,
    minimum_gain: str | None = None,
    every: Length = "1h",
    checkpoint: Length | None = None,
    cap: int | None = None,
    perfect: bool = False,
    power: float | None = None,
    json: Json = False,
) -> None:
    """Say what a policy would have saved on a past trace, beside starting at once and the best possible (the oracle).

    Parameters
    ----------
    trace: Path
        A carbon-intensity trace (CSV or Parquet), best of a year.
    zone: str
        The zone in it, where it has several.
    duration: str
        How long each run takes.
    slack: str
        How much later than at once it may start.
    strategy: str
        window, replan (window, looked for again in each slot), now, threshold, percentile, or interruptible.
    threshold: float
        The gCO2eq/kWh at which a run starts, for that strategy.
    percentile: float
        Of the next 24 hours, for that strategy; 25 by default.
    minimum_gain: str
        What waiting must save by the plan: 5%, or 20 g/h (at the power given).
    every: str
        How often a run arrives.
    checkpoint: str
        What a resumption costs, for interruptible; 15m by default.
    cap: int
        How many runs may run at once; planned together, on the truth.
    perfect: bool
        Plan on the truth instead of on what the past made expect.
    power: float
        What a run draws, in W; 1000 by default, so that grams are per kW.
    json: bool
        Print JSON.
    """
    from e2s_tasks.integrations.cli import when_answers

    case = when_answers.Case(trace, zone, duration, slack, every, power=1000.0 if power is None else power)
    how = when_answers.How(strategy, threshold, percentile, minimum_gain, checkpoint, cap, perfect)
    found = when_answers.backtest(case, how)
    if json:
        print_json(found)
    else:
        when_answers.print_backtest(found)
