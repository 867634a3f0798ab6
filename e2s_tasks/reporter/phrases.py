"""What the summary says in sentences: the same words in the terminal and on the Prefect page. Plain text, ASCII."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from e2s_tasks.core.energy import add
from e2s_tasks.core.plurals import plural
from e2s_tasks.core.records import Kind, Status
from e2s_tasks.reporter import units
from e2s_tasks.reporter.steps import ORCHESTRATION, WITHIN

Summary = dict[str, Any]
WAITS = "waiting"  # a run that waits for a cleaner grid, in its process or without one
STATUS = {"completed": "ok", "timed_out": "timed out", "suspended": WAITS}
GOES_ON = {"running", "suspended"}
MOST_FLOWS = 3  # that a sentence names
BROKEN = {"failed", "crashed", "cancelled", "timed_out"}
_GIVEN = re.compile(r"-[0-9a-f]{3}$")  # what Prefect adds to a task's name
SEPARATORS = " -_:#/."


def title(summary: Summary) -> str:
    """What ran, how it ended and how long it took."""
    run = summary["flow_run"]
    name = units.printable(run["flow"] or run["id"])
    which = f" '{units.printable(run['name'])}'" if run["name"] and run["name"] != run["flow"] else ""
    solution = f" for {units.printable(run['solution'])}" if run["solution"] else ""
    took = f" in {units.seconds(duration(summary))}" if duration(summary) is not None else ""
    waits = any(row["kind"] == Kind.WAIT and row["status"] == Status.RUNNING for row in summary.get("steps", ()))
    return f"{name}{which}{solution}: {WAITS if waits else status(run['status'])}{took}"


def duration(summary: Summary) -> float | None:
    """Seconds from the run's start to its end; None while it goes on."""
    start, end = summary["flow_run"]["started_at"], summary["flow_run"]["ended_at"]
    if goes_on(summary) or not (start and end):
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def goes_on(summary: Summary) -> bool:
    """Whether the run has not ended: it works, or waits in its process or without one."""
    return summary["flow_run"]["status"] in GOES_ON


def status(word: str | None) -> str:
    """A status in words."""
    return units.UNKNOWN if word is None else WAITS if word == Status.SUSPENDED else word.replace("_", " ")


def mark(row: dict[str, Any]) -> str:
    """How a step's attempt ended, in a word for a table."""
    return "" if row["status"] is None else STATUS.get(row["status"], row["status"])


def one_line(summary: Summary) -> str:
    """The run in one line: energy, emissions and the most telling KPI that has a value; of one that goes on, so far."""
    found = summary["emissions_g"]["total"]
    mark = "at least " if summary["gaps"] else ""
    grams = "" if found is None else f", {mark}{units.grams(found)} CO2eq"
    kpis = [_kpi(kpi) for kpi in main_kpis(summary) if kpi["value"] is not None][:1]
    line = "; ".join([whole(summary) + grams, *kpis]).replace(">= ", "at least ").replace("<= ", "at most ")
    return f"{so_far(summary)} {line}".strip()


def so_far(summary: Summary) -> str:
    """What stands after a figure of a run that goes on: " so far"."""
    return " so far" if goes_on(summary) else ""


def energy(summary: Summary) -> str:
    """The run's energy, with its range and what it rests on."""
    joules = summary["energy_j"]["total"]
    if joules is None:
        return f"energy unknown: {_why_unknown(summary)}"
    return f"{whole(summary)}{so_far(summary)} ({units.watt_hours(joules)}), {worth(summary)}"


def _why_unknown(summary: Summary) -> str:
    if not summary["begun"]:
        return not_begun(summary)
    if summary["cut_short"]:
        return "it was killed within a second, before anything was measured"
    return "no source gave a figure (`e2s doctor` says why)"


def not_begun(summary: Summary) -> str:
    """Why nothing is known of a run that is in its orchestrator's database alone."""
    if goes_on(summary):
        return "no attempt has begun yet, or none is measured"
    return "no attempt began, or none was measured"


def whole(summary: Summary) -> str:
    """The run's energy, marked where it is a lower bound."""
    return units.at_least(units.joules(summary["energy_j"]["total"]), summary["gaps"])


def worth(found: dict[str, Any]) -> str:
    """What the energy of a run, or of a period, rests on, with its range: no upper end where parts are missing."""
    what = rests_on(found)
    low, high = found["energy_j_range"]["total"] or (None, None)
    if what == "measured":
        return what if high is not None else f"{what}, but parts are missing"
    if high is None:
        return f"{what} ({units.between([low, high])}; parts are missing)"
    return f"{what} (between {units.joules(low)} and {units.joules(high)})"


def rests_on(found: dict[str, Any]) -> str:
    """Whether the energy is measured, modelled, or partly each."""
    kinds = {kind for kind in found["provenance"].values() if kind != "missing"}
    return str(kinds.pop()) if kinds in ({"measured"}, {"modelled"}) else "partly measured, partly modelled"


def emissions(summary: Summary) -> str:
    """The run's emissions, with the zone and signal that they rest on."""
    found = summary["emissions_g"]
    if found["total"] is None:
        missing = "energy figure" if summary["energy_j"]["total"] is None else "carbon intensity"
        return f"gCO2eq unknown: no {missing}"
    return f"{whole_grams(summary)} CO2eq{so_far(summary)} ({signal(summary)})"


def whole_grams(summary: Summary) -> str:
    """The run's emissions, marked where they are a lower bound."""
    return units.at_least(units.grams(summary["emissions_g"]["total"]), summary["gaps"])


def signal(summary: Summary) -> str:
    """The zone and the signal that the emissions rest on."""
    found = summary["emissions_g"]
    return ", ".join(one for one in (found["zone"], found["signal"]) if one)


def grid(summary: Summary) -> str | None:
    """The carbon intensity that the emissions use, and who says so."""
    found = summary["emissions_g"]
    if found["intensity_gco2eq_per_kwh"] is None:
        return None
    return f"{units.number(found['intensity_gco2eq_per_kwh'])} gCO2eq/kWh, {found['source']}"


def kpi_lines(summary: Summary) -> list[str]:
    """The main KPIs with numerator and denominator, the most telling first; `e2s kpi` shows them all."""
    return [_kpi(kpi) for kpi in main_kpis(summary)]


def main_kpis(summary: Summary) -> list[dict[str, Any]]:
    """The KPIs that a headline tells, the most telling first."""
    known = list(summary["kpis"].values())
    joules = [kpi for kpi in known if kpi["unit"] == "J" and _to_be_told(kpi, summary)]
    ranking = sorted(joules, key=lambda kpi: -len(kpi["per"].split()))
    beside = [_first(known, word) for word in ("SCI", "energy cost")]
    return [kpi for kpi in (*ranking, *beside) if kpi is not None]


def _to_be_told(kpi: dict[str, Any], summary: Summary) -> bool:
    """Not that there was no outcome, of a run that belongs to no solution: its one KPI says so."""
    without_outcome = len(summary["kpis"]) == 1 and kpi["value"] is None
    return not without_outcome or summary["flow_run"]["solution"] is not None


def no_outcome(summary: Summary) -> str:
    """Why there is nothing to divide the energy by: what really happened, or that nobody recorded an outcome."""
    why = next((kpi["reason"] for kpi in summary["kpis"].values() if kpi["value"] is None), None)
    return units.printable((why or "no outcome was recorded").partition(":")[0])


def _first(kpis: list[dict[str, Any]], word: str) -> dict[str, Any] | None:
    """The first KPI of a kind whose inputs were declared."""
    return next((kpi for kpi in kpis if kpi["value"] is not None and kpi["label"].startswith(word)), None)


def _kpi(kpi: dict[str, Any]) -> str:
    per = units.printable(kpi["per"])
    if kpi["value"] is None:
        return f"{units.printable(kpi['label'])}: undefined, {kpi['reason']}"
    kind = "SCI " if kpi["label"].startswith("SCI") else ""
    spent = units.at_least(units.quantity(kpi["numerator"], kpi["unit"]), kpi["lower_bound"])
    count = units.count(kpi["denominator"])
    value = kpi_bound(kpi) + kind + units.quantity(kpi["value"], kpi["unit"])
    return f"{value} per {per} = {spent} / {count} {plural(per, kpi['denominator'])}"


def kpi_bound(kpi: dict[str, Any]) -> str:
    """The mark of a KPI that is at least, or at most, what it says."""
    return ">= " if kpi["lower_bound"] else "<= " if kpi["upper_bound"] else ""


def facility(summary: Summary) -> str | None:
    """The facility's energy beside the host's, where a PUE is declared, and what it cost where a tariff is."""
    parts = []
    if summary["facility_j"] is not None:
        joules = units.at_least(units.joules(summary["facility_j"]), summary["gaps"])
        parts.append(f"{joules} with the facility (PUE {summary['declared']['pue']:g})")
    if summary["cost"]["value"] is not None:
        cost = units.quantity(summary["cost"]["value"], summary["cost"]["currency"])
        parts.append(f"{units.at_least(cost, summary['gaps'])} of energy")
    return ", ".join(parts) or None


def stages(summary: Summary) -> str | None:
    """The energy by life-cycle stage, if anything has one."""
    rows = [(row["stage"].replace("_", " "), sum_joules(row), row["share"]) for row in summary["stages"]]
    return ", ".join(f"{name} {joules} ({units.percent(share)})" for name, joules, share in rows) or None


def biggest(summary: Summary) -> str | None:
    """Where most of the energy went."""
    if not summary["consumers"] or summary["consumers"][0]["share"] is None:
        return None
    top = summary["consumers"][0]
    return f"{units.percent(top['share'])} of it in {units.printable(top['name'])}{_runs(top)}, {row_joules(top)}"


def _runs(top: dict[str, Any]) -> str:
    """How many task runs a step had, and how many attempts, where there was more than one."""
    runs, attempts = top["task_runs"], top["count"]
    told = [f"{units.count(runs)} task runs"] if runs > 1 else []
    told += [f"{units.count(attempts)} attempts"] if attempts > runs > 0 else []
    return f" ({', '.join(told)})" if told else ""


def row_joules(row: dict[str, Any]) -> str:
    """The energy of a row of steps, marked where a part of it is missing."""
    return units.at_least(units.joules(row["inclusive_j"]), row["lower_bound"])


def together(rows: list[dict[str, Any]]) -> str:
    """The energy of several rows, marked where a part of one is missing."""
    return row_joules({
        "inclusive_j": add(row["inclusive_j"] for row in rows), "lower_bound": any(row["lower_bound"] for row in rows)
    })  # fmt: skip


def sum_joules(row: dict[str, Any]) -> str:
    """The energy of a stage, or of a step over many runs, marked where a part of it is missing."""
    return units.at_least(units.joules(row["energy_j"]), row["lower_bound"])


def flow_joules(row: dict[str, Any]) -> str:
    """The energy of a step in a product, marked where a part of the step's is missing."""
    return units.at_least(units.joules(row["joules"]), row["lower_bound"])


def lost(summary: Summary) -> str | None:
    """What attempts that did not succeed had used, and which flows inside, or earlier lives of it, failed."""
    joules = f"{lost_joules(summary)} of it in attempts that did not succeed" if summary["unsuccessful_j"] else None
    return "; ".join(filter(None, (joules, _again(summary), _failed_inside(summary)))) or None


def _again(summary: Summary) -> str | None:
    """How often the flow had failed before it was run again."""
    lives = [span for span in summary["spans"] if span["parent_id"] is None and span["kind"] == Kind.FLOW]
    failed = sum(life["status"] in BROKEN for life in lives[:-1])
    return f"the flow failed {'once' if failed == 1 else f'{failed} times'} and was run again" if failed else None


def _failed_inside(summary: Summary) -> str | None:
    """Which flows that it ran failed."""
    inside = (span for span in summary["spans"] if span["parent_id"] is not None and span["kind"] == Kind.FLOW)
    names = list(dict.fromkeys(f"`{units.printable(span['name'])}`" for span in inside if span["status"] in BROKEN))
    if not names:
        return None
    more = [f"{len(names) - MOST_FLOWS} more"] if len(names) > MOST_FLOWS else []
    return f"the {plural('flow', len(names))} {', '.join([*names[:MOST_FLOWS], *more])} inside it failed"


def lost_joules(row: dict[str, Any]) -> str:
    """The energy of attempts that did not succeed, marked where a part of it is missing."""
    return units.at_least(units.joules(row["unsuccessful_j"]), row["unsuccessful_lower_bound"])


def cached(summary: Summary) -> str | None:
    """What cached results avoided, if a task run was cached."""
    origins = [span["result_from"] for span in summary["spans"] if span["status"] == "cached"]
    here = origins.count("this_run")
    parts = []
    if here < len(origins):
        runs = _task_runs(len(origins) - here)
        if summary["avoided_j"] is None:
            parts.append(f"{runs}: what that avoided is not known, the run that made a result is not in the ledger")
        else:
            parts.append(f"{runs} avoided {units.joules(summary['avoided_j'])}")
    if here:
        parts.append(f"{_task_runs(here)} reused what this run itself had made, so nothing is credited")
    return "; ".join(parts) or None


def _task_runs(count: int) -> str:
    return f"{count} cached task run{'s' if count > 1 else ''}"


def step_name(row: dict[str, Any]) -> str:
    """A step's name; of one with a name of its own for the task run, that too. Prefect's "train-3fa" says nothing."""
    name = named(row["name"], row["run_name"])
    alone = name == units.printable(row["name"])
    return name + (f" x {row['spans']}" if alone and row["spans"] > 1 and row["depth"] else "")


def named(task: str, run_name: str | None) -> str:
    """A task's name, after the subflow that it is part of, with that of its task run where it tells more."""
    name, run_name = units.printable(task), units.printable(run_name or "")
    given = _GIVEN.sub("", run_name)
    if not run_name or any(f"{WITHIN}{name}".endswith(f"{WITHIN}{one}") for one in (run_name, given)):
        return name
    own = name if run_name.startswith(name) else name.rpartition(WITHIN)[2]
    if run_name.startswith(f"{own}["):  # an instance of a mapped task
        return name.removesuffix(own) + run_name
    return f"{name}: {_own_part(run_name, own)}"


def _own_part(run_name: str, name: str) -> str:
    """A task run's name without its task's name before a separator: "large trees" of "train large trees"."""
    rest = run_name.removeprefix(name)
    return rest.strip(SEPARATORS) or run_name if rest[:1] in SEPARATORS else run_name


def in_run(artifact: dict[str, Any]) -> str:
    """The energy within its run, marked where it is a lower bound."""
    return units.at_least(units.joules(artifact["in_run_j"]), artifact["lower_bound"])


def fully_loaded(artifact: dict[str, Any]) -> str:
    """The fully loaded energy, marked where it is a lower bound."""
    return units.at_least(units.joules(artifact["fully_loaded_j"]), artifact["fully_loaded_lower_bound"])


def amortised(artifact: dict[str, Any]) -> str:
    """The amortised energy, of the same sources as the fully loaded one and marked as that is."""
    return units.at_least(units.joules(artifact["amortised_j"]), artifact["fully_loaded_lower_bound"])


def unclaimed(summary: Summary) -> str:
    """The energy that led to no final product, marked where a part of it is missing."""
    return units.at_least(units.joules(summary["unclaimed_j"]), summary["unclaimed_lower_bound"])


def artifact_name(uri: str) -> str:
    """The last part of a URI; of a model in MLflow all but the scheme, for the last part is only its version."""
    if uri.startswith("models:/"):
        return units.printable(uri.removeprefix("models:/"))
    last = uri.rstrip("/").rsplit("/", 1)[-1]
    return units.printable((unquote(last) if uri.startswith("file:") else last) or uri)


def reasons(summary: Summary) -> list[str]:
    """Why figures of artifacts are lower bounds."""
    return alike(why for one in summary["artifacts"] for why in one["reasons"])


def attributed(summary: Summary) -> str | None:
    """By what shared steps were divided over several final products, where that is not their bytes."""
    by = summary["attributed_by"]
    return None if by == "bytes" else f"attributed by {by}"


def not_made(summary: Summary) -> str | None:
    """The declared products that the run did not write."""
    names = [artifact_name(uri) for uri in summary["not_made"]]
    return f"declared, but not written in this run: {', '.join(names)}" if names else None


def alike(reasons: Iterable[str]) -> list[str]:
    """Each reason once; those that differ in their last word together."""
    lasts_of: dict[str, list[str]] = {}
    for reason in dict.fromkeys(reasons):
        start, _, last = units.printable(reason).rpartition(" ")
        lasts_of.setdefault(start, []).append(artifact_name(last) if "://" in last else last)
    return [f"{start} {', '.join(dict.fromkeys(lasts))}".strip() for start, lasts in lasts_of.items()]


def top_rows(summary: Summary, most: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows to show and those to fold: of depth 0 the biggest, then what lies inside.

    A third of the rows is for broken ones of depth 0, where there are as many. They are in the order of time, but the
    biggest first where steps are folded: see `steps_title`. A single one is not.
    """
    rows = summary["steps"]
    if len(rows) <= most:
        return rows, []
    order = sorted(range(len(rows)), key=lambda i: (rows[i]["depth"], -(rows[i]["inclusive_j"] or 0.0), i))
    broken = [i for i in order if rows[i]["status"] in BROKEN and rows[i]["depth"] == 0][: most // 3]
    kept = {*broken, *[i for i in order if i not in broken][: most - len(broken)]}
    kept |= {i for i, row in enumerate(rows) if row["kind"] == ORCHESTRATION}
    folded = [i for i, row in enumerate(rows) if i not in kept and row["depth"] == 0]
    if len(folded) == 1:  # it takes no more room itself
        kept, folded = kept | {*folded}, []
    shown = [rows[i] for i in sorted(kept)]
    if folded:
        shown.sort(key=lambda row: -(row["inclusive_j"] or 0.0))
    return shown, [rows[i] for i in folded]


def others(folded: list[dict[str, Any]]) -> str:
    """What the row says that stands for the folded ones."""
    broken = sum(row["status"] in BROKEN for row in folded)
    return f"{len(folded)} other steps" + (f", {broken} of them failed" if broken else "")


def steps_title(folded: list[dict[str, Any]]) -> str:
    """The title of a table of steps, of which these are folded."""
    return "Steps, the biggest first" if folded else "Steps"
