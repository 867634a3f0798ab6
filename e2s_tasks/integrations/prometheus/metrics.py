"""The metrics: their names, labels and what they say. Joules and grams, as everywhere inside; docs/prometheus.md."""

from dataclasses import dataclass

COUNTER, GAUGE = "counter", "gauge"
JOULE, GRAM, ONE = 10**6, 10**9, 1  # what sums are counted in: micro-joules, nano-grams, whole numbers
_KEPT = (
    " It never falls while the ledger keeps its runs, also after `e2s prune` and a restart: a figure that is put right"
    " to a smaller one holds it still until later runs have made up for it. Another ledger in its place begins it anew."
)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric by its name in Prometheus. scale: how many of what its sum is counted in make one of its unit."""

    name: str
    kind: str
    text: str
    labels: tuple[str, ...]
    scale: int = ONE


ENERGY = Metric(
    "e2s_energy_joules",
    COUNTER,
    "Energy of all runs, in joules: the sum over steps and components is that of the runs. What nobody knows is not in"
    " it, see e2s_gap_spans." + _KEPT,
    ("flow", "step", "component", "provenance"),
    JOULE,
)
STAGES = Metric(
    "e2s_stage_energy_joules",
    COUNTER,
    "Energy of the runs that have life-cycle stages, by stage, in joules." + _KEPT,
    ("solution", "stage"),
    JOULE,
)
EMISSIONS = Metric(
    "e2s_emissions_grams",
    COUNTER,
    "Operational emissions of all runs whose carbon intensity is known, with the facility's PUE, in gCO2eq." + _KEPT,
    ("flow", "signal"),
    GRAM,
)
FAILED = Metric(
    "e2s_failed_energy_joules",
    COUNTER,
    "Energy of attempts that failed, crashed, timed out or were cancelled, in joules; a part of e2s_energy_joules."
    + _KEPT,
    ("flow",),
    JOULE,
)
WAITING = Metric(
    "e2s_waiting_energy_joules",
    COUNTER,
    "Energy that went into waiting for a cleaner grid, in joules; a part of e2s_energy_joules." + _KEPT,
    ("flow",),
    JOULE,
)
REUSED = Metric(
    "e2s_avoided_energy_joules",
    COUNTER,
    "What producing the results had cost that cached task runs reused, in joules; where that is known." + _KEPT,
    ("flow",),
    JOULE,
)
AVOIDED = Metric(
    "e2s_avoided_emissions_grams",
    GAUGE,
    "What waiting for a cleaner grid has avoided over all runs, in gCO2eq; it falls where waiting did not pay.",
    ("flow",),
    GRAM,
)
RUNS = Metric(
    "e2s_runs",
    GAUGE,
    "Root runs in the ledger, by the status of their last life; a gauge, for a status can be put right.",
    ("flow", "status"),
)
GAPS = Metric(
    "e2s_gap_spans",
    GAUGE,
    "Spans of all runs that lack a component's figure: there the energy is a lower bound.",
    ("flow", "component"),
)
UNKNOWN = Metric(
    "e2s_runs_without_emissions",
    GAUGE,
    "Ended root runs whose emissions nobody knows: no energy, or no carbon intensity; not in e2s_emissions_grams.",
    ("flow",),
)
SUMS = (ENERGY, STAGES, EMISSIONS, FAILED, WAITING, REUSED, AVOIDED, RUNS, GAPS, UNKNOWN)

LAST_ENERGY = Metric(
    "e2s_last_run_energy_joules", GAUGE, "Energy of the flow's last completed run, in joules.", ("flow", "solution")
)
LAST_EMISSIONS = Metric(
    "e2s_last_run_emissions_grams",
    GAUGE,
    "Emissions of the flow's last completed run, in gCO2eq.",
    ("flow", "solution"),
)
LAST_LENGTH = Metric(
    "e2s_last_run_duration_seconds",
    GAUGE,
    "From the start to the end of the flow's last completed run.",
    ("flow", "solution"),
)
LAST_END = Metric(
    "e2s_last_run_end_timestamp_seconds",
    GAUGE,
    "When the flow's last completed run ended, in seconds since 1970.",
    ("flow", "solution"),
)
LAST_LOWER_BOUND = Metric(
    "e2s_last_run_lower_bound",
    GAUGE,
    "1 where parts of the energy of the flow's last completed run are missing: its figures are then lower bounds.",
    ("flow", "solution"),
)
KPI = Metric(
    "e2s_last_run_kpi",
    GAUGE,
    "KPIs of the flow's last completed run, in their own unit; docs/kpis.md.",
    ("flow", "solution", "kpi", "unit"),
)
KPI_BOUND = Metric(
    "e2s_last_run_kpi_bound",
    GAUGE,
    "1 where a KPI of the flow's last completed run is at least its figure, -1 where it is at most that, else 0.",
    ("flow", "solution", "kpi"),
)
FORECAST = Metric(
    "e2s_forecast_intensity_grams_per_kwh",
    GAUGE,
    "Carbon intensity that the latest decision of a run expected for the present hour, in gCO2eq/kWh.",
    ("zone", "signal"),
)

BUILD = Metric("e2s_build_info", GAUGE, "1, with the version of e2s-tasks.", ("version",))
LEDGER_UP = Metric(
    "e2s_ledger_up", GAUGE, "Whether the ledger could be read the last time; if not, the figures are older ones.", ()
)
READY = Metric(
    "e2s_exporter_ready", GAUGE, "Whether the first reading is done: until then there is none of the ledger's.", ()
)
ERRORS = Metric("e2s_exporter_scrape_errors", COUNTER, "Scrapes whose reading of the ledger failed.", ())
READ = Metric("e2s_exporter_runs_read", COUNTER, "Runs that were read from the ledger, each time anew.", ())
TOOK = Metric("e2s_exporter_read_seconds", GAUGE, "How long the last reading of the ledger took.", ())
READ_AT = Metric(
    "e2s_exporter_read_timestamp_seconds", GAUGE, "When the ledger was last read, in seconds since 1970.", ()
)
OVERFLOW = Metric(
    "e2s_exporter_steps_folded",
    GAUGE,
    "Distinct steps, and other names, beyond E2S_EXPORTER_STEPS, which are shown together as `other`.",
    (),
)
