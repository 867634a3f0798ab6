"""The report of all runs of a period: where the energy of a fleet went, and when, and what waiting avoided."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import e2s_tasks.reporter.html.run_tables as tables
from e2s_tasks.core.plurals import plural
from e2s_tasks.reporter import phrases, units
from e2s_tasks.reporter.fleet import fleet
from e2s_tasks.reporter.folding import fold, summed
from e2s_tasks.reporter.html import charts, time_charts
from e2s_tasks.reporter.html.page import Card, Row, Table, check, factor_table, lines, render

if TYPE_CHECKING:
    from e2s_tasks.ledger import Ledger

Found = dict[str, Any]
MOST_GROUPS = 30
NO_SOLUTION = "no solution declared"


def render_fleet(ledger: "Ledger", since: float, now: datetime | None = None, processes: int = 1) -> str:
    """The report of all root runs that started from `since` (epoch seconds) on, as HTML. processes: as for `fleet`.

    Raises:
        SettingError: a package that reports need is not installed, or the factor table cannot be used.
        LedgerError: the ledger cannot be read.
    """
    check()
    until = now or datetime.now(UTC)
    found = fleet(ledger, since, until.timestamp(), processes)
    times = [
        time_charts.Time(
            one["from"],
            one["energy_j"] or 0.0,
            one["unsuccessful_j"] or 0.0,
            one["emissions_g"],
            _joules(one),
            _grams(one),
        )
        for one in found["times"]
    ]
    by = f"Energy and emissions by {found['by']}"
    return render(
        "fleet.html.jinja",
        title=f"All runs since {_day(found['since'])}",
        facts=_facts(found),
        cards=_cards(found) if found["runs"] else [],
        sentences=_sentences(found),
        empty=not found["runs"],
        by=by,
        times=time_charts.times("times", times, by) if found["energy_j"] else None,
        times_table=_times(found, by),
        where=charts.bars("flows", _bars(found["flows"], "flow"), "Energy by flow"),
        flows=_groups(found["flows"], "flow", "Flows"),
        solutions=_groups(found["solutions"], "solution", "Solutions"),
        stages=_stages(found["stages"]),
        steps_chart=charts.bars("steps", _step_bars(found), "The costliest steps"),
        steps=_steps(found),
        kpis=[_kpi(one) for one in found["kpis"]],
        runs=_runs(found),
        components=_components(found),
        method=_method(found),
        factors=factor_table(),
        made=f"{until:%Y-%m-%d %H:%M} UTC",
    )


def _day(moment: str) -> str:
    return units.clock(moment)[:10]


def _joules(row: Found) -> str:
    """The energy of some runs, marked where parts of it are missing."""
    return units.at_least(units.joules(row["energy_j"]), row["lower_bounds"])


def _grams(row: Found) -> str:
    """The emissions of some runs, marked where parts of their energy, or those of a run, are missing."""
    return units.at_least(units.grams(row["emissions_g"]), row["lower_bounds"] or row["without_emissions"])


def _runs_of(count: int) -> str:
    return f"{units.count(count)} run{'' if count == 1 else 's'}"


def _facts(found: Found) -> list[tuple[str, str]]:
    told = ", ".join(f"{units.count(count)} {phrases.status(word)}" for word, count in found["statuses"].items())
    return [
        ("from", units.clock(found["since"])),
        ("to", units.clock(found["until"])),
        ("runs", f"{units.count(found['runs'])} ({told})" if told else "none"),
    ]


def _cards(found: Found) -> list[Card]:
    joules = found["energy_j"]
    unknown = found["without_emissions"]
    lost = share_of(found["unsuccessful_j"], joules)
    return [
        Card("Energy", _joules(found), lines(
            None if joules is None else units.watt_hours(joules),
            None if joules is None else f"{phrases.worth(found)}, of {_runs_of(found['runs'])}",
            f"a lower bound: parts are missing in {_runs_of(found['lower_bounds'])}" if found["lower_bounds"] else None,
        )),
        Card("Emissions", _grams(found), lines(
            "CO2eq, each run at its own carbon intensity", f"not known of {_runs_of(unknown)}" if unknown else None,
        )),
        Card("Failed attempts", phrases.lost_joules(found), lines(
            None if lost is None else f"{units.percent(lost)} of the energy", _failed_runs(found),
        )),
        _avoided(found),
    ]  # fmt: skip


def _failed_runs(found: Found) -> str | None:
    """What the runs that failed used, whatever of that their attempts had; some of these are failed attempts, too."""
    if not found["failed_runs"]:
        return None
    lower = found["failed_runs_j"] is not None and found["lower_bounds"]
    used = units.at_least(units.joules(found["failed_runs_j"]), lower)
    return f"{_runs_of(found['failed_runs'])} failed, which used {used} in all"


def share_of(part: float | None, whole: float | None) -> float | None:
    """The part of the whole, from 0 to 1; None where one is not known."""
    return part / whole if part is not None and whole else None


def _avoided(found: Found) -> Card:
    """What waiting avoided, and what reusing results did."""
    waited, reused = found["waited_runs"], found["cached_task_runs"]
    unknown, cached = found["avoided_unknown"], _reused(found) if reused else None
    if not waited:
        return Card("Avoided by waiting", "nothing", lines("No run waited for a cleaner grid.", cached))
    said = f"CO2eq, in {_runs_of(waited)} that waited"
    predicted = f"expected: {units.grams(found['predicted_avoided_g'])}"
    return Card("Avoided by waiting", units.grams(found["avoided_g"]), lines(
        said, predicted, f"not known of {_runs_of(unknown)}" if unknown else None, cached,
    ))  # fmt: skip


def _reused(found: Found) -> str:
    """What reusing results avoided, as far as that is known."""
    count, unknown = found["cached_task_runs"], found["cached_unknown"]
    results = f"{units.count(count)} reused {plural('result', count)}"
    if found["avoided_j"] is None:
        return f"{results}: what that avoided is not known"
    avoided = f"{units.joules(found['avoided_j'])} avoided by {results}"
    return f"{avoided} (not known of {units.count(unknown)})" if unknown else avoided


def _sentences(found: Found) -> list[str]:
    said = []
    if found["flows"] and found["flows"][0]["share"]:
        top = found["flows"][0]
        said.append(f"{units.percent(top['share'])} of the energy went into {units.printable(top['flow'])}.")
    if found["steps"] and found["steps"][0]["share"]:
        step = found["steps"][0]
        name, flow = units.printable(step["name"]), units.printable(step["flow"])
        said.append(f"The costliest step: {name} in {flow}, {phrases.sum_joules(step)}.")
    return said


def _bars(rows: list[Found], by: str) -> list[charts.Bar]:
    shown, rest = fold(rows, charts.MOST)
    return [*(_bar(row[by] or NO_SOLUTION, row) for row in shown), *_rest_bar(rest)]


def _bar(name: str, row: Found, *, rest: bool = False) -> charts.Bar:
    said = f"{_row_joules(row)}, {units.percent(row['share'])}"
    lost, lower = row["unsuccessful_j"] or 0.0, row["unsuccessful_lower_bound"]
    return charts.Bar(name, row["energy_j"] or 0.0, said, lost, rest=rest, lost_lower_bound=lower)


def _rest_bar(rows: list[Found]) -> list[charts.Bar]:
    """The bar of what has none of its own, if there is any."""
    of_all = summed(rows)
    return [_bar(f"{units.count(of_all['rows'])} others", of_all, rest=True)] if rows else []


def _row_joules(row: Found) -> str:
    return _joules(row) if "lower_bounds" in row else phrases.sum_joules(row)


def _step_bars(found: Found) -> list[charts.Bar]:
    more = [found["smaller_steps"]] if found["other_steps"] else []
    shown, rest = fold(found["steps"], charts.MOST)
    return [*(_bar(f"{row['name']} in {row['flow']}", row) for row in shown), *_rest_bar([*rest, *more])]


def _groups(rows: list[Found], by: str, caption: str) -> Table:
    """A row for each group, the smaller ones as one."""
    head = [by, "runs", "failed runs", "energy", "share", "in failed attempts", "CO2eq"]
    shown, rest = fold(rows, MOST_GROUPS)
    cells = [
        Row([
            units.printable(row[by] or NO_SOLUTION), units.count(row["runs"]), units.count(row["failed_runs"]),
            *_sums(row), _grams(row),
        ])
        for row in shown
    ]  # fmt: skip
    if rest:
        counts = [units.count(sum(row[name] for row in rest)) for name in ("runs", "failed_runs")]
        cells.append(Row([f"{len(rest)} others", *counts, *_sums(summed(rest)), ""], "more"))
    return Table(caption, head, cells)


def _sums(row: Found) -> list[str]:
    """The energy, its share and what failed attempts used of it."""
    return [_row_joules(row), units.percent(row["share"]), phrases.lost_joules(row)]


def _stages(rows: list[Found]) -> Table:
    cells = [
        Row([row["stage"].replace("_", " "), phrases.sum_joules(row), units.percent(row["share"])]) for row in rows
    ]
    return Table("Energy by life-cycle stage", ["stage", "energy", "share"], cells)


def _steps(found: Found) -> Table:
    rows = [Row([units.printable(row["name"]), units.printable(row["flow"]), *_sums(row)]) for row in found["steps"]]
    if found["other_steps"]:
        name = f"{units.count(found['other_steps'])} smaller steps"
        rows.append(Row([name, "", *_sums(found["smaller_steps"])], "more"))
    return Table("The costliest steps", ["step", "flow", "energy", "share", "in failed attempts"], rows, texts=(0, 1))


def _times(found: Found, caption: str) -> Table:
    rows = [Row([one["from"], *_time(one)]) for one in found["times"]]
    head = [
        found["by"] if found["by"] == "day" else f"{found['by']} from",
        "runs",
        "energy",
        "in failed attempts",
        "CO2eq",
    ]
    return Table(caption, head, rows)


def _time(one: Found) -> list[str]:
    """What a day, week or month used: where nothing ran there is no figure that nobody knows."""
    if not one["runs"]:
        return ["no runs", "", "", ""]
    return [units.count(one["runs"]), _joules(one), phrases.lost_joules(one), _grams(one)]


def _kpi(one: Found) -> Found:
    """A solution's KPIs with their intervals; of which runs, where these are not all."""
    counted = sum(one["runs"].values())
    part = None
    if counted < one["all_runs"]:
        of = f"{units.count(counted)} of {units.count(one['all_runs'])} runs"
        part = f"Of the latest {of}, since {units.clock(one['since'])}."
    return {
        "solution": units.printable(one["solution"]),
        "table": tables.kpis(one["kpis"], one["interval_level"], units.printable(one["solution"])),
        "notes": tables.kpi_notes(one["kpis"]),
        "part": part,
        "why_none": _why_none(one),
    }


def _why_none(one: Found) -> str:
    """Why a solution has no KPI, in a few words."""
    why = next((kpi["reason"] for kpi in one["kpis"].values() if kpi["value"] is None), None) or "no KPI is defined"
    short = units.printable(why).partition(":")[0]
    return f"{short[:1].upper()}{short[1:]}."


def _runs(found: Found) -> Table:
    rows = [
        Row(
            [
                one["id"][:8], units.printable(one["flow"]), units.printable(one["name"] or ""),
                phrases.STATUS.get(one["status"], one["status"]), units.clock(one["started_at"])[:16],
                units.at_least(units.joules(one["energy_j"]), one["lower_bound"]),
                units.at_least(units.grams(one["emissions_g"]), one["lower_bound"]),
            ],
            "lost" if one["status"] in phrases.BROKEN else "",
        )
        for one in found["top_runs"]
    ]  # fmt: skip
    if found["other_runs"]:
        rows.append(Row([f"{units.count(found['other_runs'])} more runs", *[""] * 6], "more"))
    head = ["run", "flow", "name", "status", "started (UTC)", "energy", "CO2eq"]
    return Table("The runs with the most energy", head, rows, texts=(0, 1, 2, 3))


def _components(found: Found) -> Table:
    rows = [_component(one) for one in found["components"]]
    head = ["component", "energy", "of it measured", "runs without a figure"]
    return Table("What is measured, what is modelled, what is missing", head, rows)


def _component(one: Found) -> Row:
    part = share_of(one["measured_j"], one["energy_j"])
    told = "as declared" if one["component"] == "remote" and one["energy_j"] is not None else units.percent(part)
    name = tables.NAMES[one["component"]]
    return Row([name, _joules(one), told, units.count(one["runs_without"])])


def _method(found: Found) -> list[tuple[str, str]]:
    waiting = units.at_least(units.joules(found["waiting_j"]), found["waiting_lower_bound"])
    facts = [
        ("counted", "each root run with all its attempts and subflows, at the time (UTC) at which it started"),
        ("emissions", "each run's energy, with its PUE where one is declared, at the carbon intensity that it met"),
        ("waiting", f"{waiting} went into waiting; it is in the totals, and in no KPI"),
        ("KPIs", "the ratio of the sums over runs, with Fieller's interval; failed runs count with what they used"),
        ("one run", "`e2s report RUN` has each step and artifact of one run"),
    ]
    if found["lower_bounds"]:
        facts.append(
            ("gaps", f"parts of the energy are missing in {_runs_of(found['lower_bounds'])}: sums are lower bounds")
        )
    return facts
