"""All flows together: what they use and emit, which of them most, and whether the figures can be trusted."""

from grafana_foundation_sdk.models.dashboard import Dashboard
from panels import AGO, COUNT, GRAMS, JOULES, SECONDS, SHARE, WATTS, bars, lines, number, page, rows_of

ENERGY = "increase(e2s_energy_joules_total[$__range])"
FAILED = "increase(e2s_failed_energy_joules_total[$__range])"
EMISSIONS = "increase(e2s_emissions_grams_total[$__range])"
REUSED = "increase(e2s_avoided_energy_joules_total[$__range])"
STAGES = "increase(e2s_stage_energy_joules_total[$__range])"
ERRORS = "increase(e2s_exporter_scrape_errors_total[$__range])"
LAST = "max by (flow, solution) (e2s_last_run_{})"

SUMS = [
    number("Energy", JOULES, f"sum({ENERGY})", "Failed attempts included."),
    number("CO2eq", GRAMS, f"sum({EMISSIONS})", "Operational, of the runs whose carbon intensity is known."),
    number(
        "Avoided by waiting", GRAMS, "sum(delta(e2s_avoided_emissions_grams[$__range]))",
        "Against starting at once, as the grid was observed; negative where waiting did not pay.",
    ),
    number(
        "Avoided by reuse", JOULES, f"sum({REUSED})",
        "What producing the results had cost that cached task runs reused.",
    ),
    number(
        "In failed attempts", SHARE, f"sum({FAILED}) / (sum({ENERGY}) > 0)",
        "The part of the energy of attempts that failed, crashed, timed out or were cancelled.", bad_from=0.1,
    ),
    number(
        "Completed runs", COUNT, 'sum(round(delta(e2s_runs{status="completed"}[$__range])))',
        "Root runs: a subflow belongs to the run that started it.",
    ),
]  # fmt: skip
FLOWS = [
    lines(
        "Power by flow", WATTS, "sum by (flow) (rate(e2s_energy_joules_total[$__rate_interval]))", "{{flow}}",
        "Joules per second, as they reach the ledger. A flow of another host shows when it delivers.", stacked=True,
    ),
    bars("Energy by flow", JOULES, f"topk(15, sum by (flow) ({ENERGY}))", "{{flow}}", "The 15 that used most."),
    lines(
        "CO2eq per hour by flow", GRAMS, "sum by (flow) (increase(e2s_emissions_grams_total[1h]))", "{{flow}}",
        "In the hour before each moment.", stacked=True,
    ),
    bars(
        "In failed attempts, by flow", JOULES, f"topk(15, sum by (flow) ({FAILED}))", "{{flow}}",
        "The 15 that lost most.",
    ),
    rows_of(
        "Last completed run of each flow", "A flow's name leads to its own page.",
        {
            "energy": (LAST.format("energy_joules"), JOULES),
            "CO2eq": (LAST.format("emissions_grams"), GRAMS),
            "lower bound": (LAST.format("lower_bound"), COUNT),
            "took": (LAST.format("duration_seconds"), SECONDS),
            "ended": (f"{LAST.format('end_timestamp_seconds')} * 1000", AGO),
        },
        leads=("flow", "/d/e2s-flow?var-flow"),
    ),
]  # fmt: skip
PARTS = [
    bars(
        "Energy by component", JOULES, f"sum by (component, provenance) ({ENERGY})", "{{component}}, {{provenance}}",
        "static: the share of idle power. modelled: no sensor told it, see docs/architecture.md.",
    ),
    bars(
        "Energy by life-cycle stage", JOULES, f"sum by (stage) ({STAGES})", "{{stage}}",
        "Of the flows that declare stages.",
    ),
]  # fmt: skip
TRUST = [
    lines(
        "Forecast carbon intensity", COUNT, "e2s_forecast_intensity_grams_per_kwh", "{{zone}}, {{signal}}",
        "gCO2eq/kWh that the latest decisions expected for each moment.",
    ),
    lines("Runs by status", COUNT, "sum by (status) (e2s_runs)", "{{status}}", "Root runs in the ledger."),
    number(
        "Spans with a gap", COUNT, "sum(e2s_gap_spans) or vector(0)",
        "Spans that lack a component's figure: there the energy is a lower bound.", bad_from=1,
    ),
    number(
        "Runs without CO2eq", COUNT, "sum(e2s_runs_without_emissions) or vector(0)",
        "Ended runs whose carbon intensity, or energy, nobody knows.", bad_from=1,
    ),
    number(
        "Names as `other`", COUNT, "max(e2s_exporter_steps_folded)",
        "Beyond E2S_EXPORTER_STEPS, see docs/prometheus.md.", bad_from=1,
    ),
    number(
        "Ledger read", SECONDS, "max(time() - e2s_exporter_read_timestamp_seconds)", "How long ago.", bad_from=300,
    ),
    number("Reading took", SECONDS, "max(e2s_exporter_read_seconds)", "The last time.", bad_from=10),
    number(
        "Failed readings", COUNT, f"sum({ERRORS})",
        "Scrapes whose reading of the ledger failed: they gave older figures.", bad_from=1,
    ),
]  # fmt: skip


def fleet() -> Dashboard:
    """The dashboard."""
    rows = {
        "In the time above": SUMS,
        "Which flows": FLOWS,
        "What it went into": PARTS,
        "The grid, and can the figures be trusted": TRUST,
    }
    said = "What all measured flows use and emit. docs/prometheus.md says what each metric means."
    return page("e2s-fleet", "E2S: fleet", said, [], rows)
