"""One flow: its last run, its KPIs over time, its steps."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import Dashboard, VariableRefresh, VariableSort
from panels import AGO, COUNT, GRAMS, JOULES, SECONDS, SHARE, SOURCE, WATTS, bars, lines, number, page

FLOW = 'flow="$flow"'  # one flow, which Grafana puts in as it is: a regex would read its dots and brackets
MINE = f"{{{FLOW}}}"
ENERGY = f"increase(e2s_energy_joules_total{MINE}[$__range])"
LAST_ENERGY = f"e2s_last_run_energy_joules{MINE}"

LAST_RUN = [
    number("Energy", JOULES, f"max({LAST_ENERGY})", "Failed attempts included."),
    number("CO2eq", GRAMS, f"max(e2s_last_run_emissions_grams{MINE})", "Operational."),
    number("Took", SECONDS, f"max(e2s_last_run_duration_seconds{MINE})", "From its start to its end."),
    number("Ended", AGO, f"max(e2s_last_run_end_timestamp_seconds{MINE}) * 1000", "How long ago."),
    number(
        "Against its median", SHARE, f"max({LAST_ENERGY} / quantile_over_time(0.5, {LAST_ENERGY}[$__range])) - 1",
        "The energy, against the median of the time above.", bad_from=0.2,
    ),
    number(
        "Lower bound", COUNT, f"max(e2s_last_run_lower_bound{MINE})",
        "1 where parts of its energy are missing: then it used, and emitted, at least these figures.", bad_from=1,
    ),
]  # fmt: skip
KPIS = [
    lines(
        "Joules per unit", JOULES, f'e2s_last_run_kpi{{{FLOW}, kpi=~"joules_per_.+"}}', "{{kpi}}",
        "Of the last completed run at each moment: what a unit of the result cost.",
    ),
    lines(
        "CO2eq per unit", GRAMS, f'e2s_last_run_kpi{{{FLOW}, unit="gCO2eq"}}', "{{kpi}}",
        "Carbon per unit; SCI where the embodied hardware is declared.",
    ),
]  # fmt: skip
STEPS = [
    bars(
        "Energy by step", JOULES, f"topk(20, sum by (step) ({ENERGY}))", "{{step}}",
        "In the time above, with everything inside them: the step worth optimising is at the top.",
    ),
    lines(
        "Power by step", WATTS, f"sum by (step) (rate(e2s_energy_joules_total{MINE}[$__rate_interval]))", "{{step}}",
        "Joules per second, as they reach the ledger.", stacked=True,
    ),
    bars(
        "Energy by component", JOULES, f"sum by (component, provenance) ({ENERGY})", "{{component}}, {{provenance}}",
        "static: the share of idle power. modelled: no sensor told it.",
    ),
    lines(
        "Energy of its runs", JOULES, f"max by (solution) ({LAST_ENERGY})", "{{solution}}",
        "Of the last completed run at each moment.",
    ),
]  # fmt: skip
LOST = [
    number(
        "In failed attempts", JOULES, f"sum(increase(e2s_failed_energy_joules_total{MINE}[$__range]))",
        "Attempts that failed, crashed, timed out or were cancelled.",
    ),
    number(
        "In waiting", JOULES, f"sum(increase(e2s_waiting_energy_joules_total{MINE}[$__range]))", "For a cleaner grid.",
    ),
    number("CO2eq", GRAMS, f"sum(increase(e2s_emissions_grams_total{MINE}[$__range]))", "Of all its runs."),
    number(
        "Avoided by waiting", GRAMS, f"sum(delta(e2s_avoided_emissions_grams{MINE}[$__range]))",
        "Against starting at once, as the grid was observed.",
    ),
    number(
        "Avoided by reuse", JOULES, f"sum(increase(e2s_avoided_energy_joules_total{MINE}[$__range]))",
        "What producing the reused results had cost.",
    ),
    number(
        "Failed runs", COUNT, f'sum(round(delta(e2s_runs{{{FLOW}, status=~"failed|crashed|cancelled"}}[$__range])))',
        "Root runs that failed, crashed or were cancelled.", bad_from=1,
    ),
]  # fmt: skip


def flow() -> Dashboard:
    """The dashboard."""
    chosen = dashboard.QueryVariable("flow").label("Flow").datasource(SOURCE).sort(VariableSort.ALPHABETICAL_ASC)
    chosen = chosen.query("label_values(e2s_runs, flow)").refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    rows = {
        "Its last completed run": LAST_RUN,
        "KPIs": KPIS,
        "Steps": STEPS,
        "What was lost, and what was avoided, in the time above": LOST,
    }
    said = "What one flow costs, by step and over time. docs/prometheus.md says what each metric means."
    return page("e2s-flow", "E2S: flow", said, [chosen], rows)
