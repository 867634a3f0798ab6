"""Two runs side by side: each figure of their summaries in A and in B, and by how much it changed.

Nothing is computed here but differences: every figure is one of `summarise`'s. docs/report.md describes the shape.
"""

from collections.abc import Iterable
from typing import Any

from e2s_tasks.core.energy import COMPONENTS
from e2s_tasks.reporter import phrases, provenance, units
from e2s_tasks.reporter.steps import ORCHESTRATION

Summary = dict[str, Any]
Row = dict[str, Any]
DOUBT = "a change of figures that are bounds is told only where it is certain, else '-'"
ELSE = "; of what is"
BY_TIME = {"dram": "DRAM", "static": "idle power"}  # what is charged by the time that passes, not by CPU time
TOLD_FROM = 5.0  # a difference of the energy, in percent, from which on it is said that CPU time does not differ so
OF_SPANS = {
    "failed attempts": "unsuccessful", "orchestration": "orchestration", "waiting": "waiting",
    "no final product": "unclaimed",
}  # fmt: skip
OF_ARTIFACTS = ("in_run_j", "fully_loaded_j", "attributed_j", "emissions_g")


def compare(a: Summary, b: Summary) -> dict[str, Any]:
    """The comparison of two summaries as plain JSON values. A change is of B against A, in percent."""
    tables: dict[str, list[Row]] = {
        "totals": list(_totals(a, b)),
        "components": [_component(name, a, b) for name in COMPONENTS],
        "steps": _steps(a, b),
        "artifacts": _artifacts(a, b),
        "kpis": list(_kpis(a, b)),
    }
    pairs = (pair for rows in tables.values() for row in rows for pair in (row, row.get("in_run_j") or row))
    doubt = [DOUBT] if any(pair.get("change_unknown") for pair in pairs) else []
    return {
        "a": a["flow_run"],
        "b": b["flow_run"],
        "same_flow": a["flow_run"]["flow"] == b["flow_run"]["flow"],
        **tables,
        "without_figure": {side: dict(_without_figure(run)) for side, run in (("a", a), ("b", b))},
        "notes": [*_notes(a, b), *_by_time(a, b, tables["totals"]), *doubt],
    }


def _avoided(*runs: Summary) -> list[float | None]:
    """What waiting avoided in each: a run that did not wait nothing, beside one that did."""
    nothing = 0.0 if any(one["waited"] for one in runs) else None
    return [nothing if one["waited"] is None else one["waited"]["avoided_g"] for one in runs]


def change(before: float | None, after: float | None) -> float | None:
    """By how many percent the second differs from the first; None where one is missing or the first is 0."""
    return 100 * (after - before) / before if before and after is not None else None


def bounded(row: Row) -> Row:
    """The row of a pair with the change that can be told of it where A or B is a bound, else None.

    change_at_least: B is a bound and A is not, so that it changed by so much or more. change_unknown: by how much, and
    which way, nobody knows.
    """
    bounds = {side: {end for end in ("lower", "upper") if row.get(f"{side}_{end}_bound")} for side in ("a", "b")}
    percent = row["change_percent"]
    if percent is None or not (bounds["a"] or bounds["b"]):
        return row | {"change_at_least": False, "change_unknown": False}
    certain = not bounds["a"] and bounds["b"] == {"lower" if percent > 0 else "upper"} and percent != 0
    told = percent if certain else None
    return row | {"change_percent": told, "change_at_least": certain, "change_unknown": not certain}


def _pair(name: str, unit: str, a: float | None, b: float | None) -> Row:
    return {"name": name, "unit": unit, "a": a, "b": b, "change_percent": change(a, b)}


def _totals(a: Summary, b: Summary) -> Iterable[Row]:
    """What the runs cost as a whole; figures that neither has are left out."""
    currencies = {one["cost"]["currency"] for one in (a, b) if one["cost"]["value"] is not None}
    found = {
        ("energy", "J"): [one["energy_j"]["total"] for one in (a, b)],
        ("emissions", "gCO2eq"): [one["emissions_g"]["total"] for one in (a, b)],
        ("carbon intensity", "gCO2eq/kWh"): [one["emissions_g"]["intensity_gco2eq_per_kwh"] for one in (a, b)],
        ("time", "s"): [phrases.duration(one) for one in (a, b)],
        **{(name, "J"): [one[f"{key}_j"] for one in (a, b)] for name, key in OF_SPANS.items()},
        ("avoided by caching", "J"): [one["avoided_j"] for one in (a, b)],
        ("avoided by waiting", "gCO2eq"): _avoided(a, b),
        ("with the facility", "J"): [one["facility_j"] for one in (a, b)],
        ("embodied", "gCO2eq"): [one["embodied_g"] for one in (a, b)],
    }
    if len(currencies) == 1:
        found["energy cost", next(iter(currencies))] = [one["cost"]["value"] for one in (a, b)]
    always = {"energy", "emissions", "time", "failed attempts"}
    for (name, unit), (one, other) in found.items():
        if name in always or one or other:
            lower = [_is_lower_bound(name, run) for run in (a, b)]
            yield bounded(_pair(name, unit, one, other) | {"a_lower_bound": lower[0], "b_lower_bound": lower[1]})


def _is_lower_bound(name: str, run: Summary) -> bool:
    """Whether a total lacks parts."""
    if name in OF_SPANS:
        return bool(run[f"{OF_SPANS[name]}_lower_bound"])
    return name in {"energy", "emissions", "with the facility", "energy cost"} and bool(run["gaps"])


def _component(name: str, a: Summary, b: Summary) -> Row:
    worth = {f"{side}_provenance": one["provenance"][name] for side, one in (("a", a), ("b", b))}
    lower = {f"{side}_lower_bound": name in one["gaps"] for side, one in (("a", a), ("b", b))}
    return bounded(_pair(name, "J", a["energy_j"][name], b["energy_j"][name]) | worth | lower)


def _without_figure(run: Summary) -> Iterable[tuple[str, str]]:
    """What has no figure in a run, by the word for it: missing, not present, none recorded."""
    return [(word, said) for word, said in provenance.provenance(run) if word not in {"measured", "modelled"}]


def headline(found: dict[str, Any]) -> str:
    """How the energy of B differs from that of A, and the step that made the most of it.

    A step that went the other way by more is named, too.
    """
    energy = next(row for row in found["totals"] if row["name"] == "energy")
    if energy["a"] is None or energy["b"] is None:
        return "nothing can be said about the energy: it is unknown in " + ("A" if energy["a"] is None else "B")
    said = f"{_marked(energy, 'a')} in A, {_marked(energy, 'b')} in B: "
    said += f"which took more is not known{ELSE}" if energy["change_unknown"] else changed(energy)
    differing = [(joules, row) for row in found["steps"] if abs(joules := _difference(row) or 0.0) > units.ROUNDING]
    differing.sort(key=lambda one: -abs(one[0]))
    way = 0.0 if energy["change_unknown"] else energy["b"] - energy["a"]
    most = next((one for one in differing if one[0] * way >= 0), None)
    if most is None:
        return said.removesuffix(ELSE)
    said += f", most in {_told(*most)}"
    return said if differing[0] is most else f"{said}, against {_told(*differing[0])}"


def _difference(row: Row) -> float | None:
    """By how many joules a step differs in B, as far as is known; one that only one of the runs has, by all of it."""
    a, b = (0.0 if row["only_in"] == other else row[side] for side, other in (("a", "b"), ("b", "a")))
    return None if a is None or b is None or row["change_unknown"] else b - a


def _told(joules: float, row: Row) -> str:
    """A step with its difference: at least that where it is a bound."""
    bound = "at least " if row["a_lower_bound"] or row["b_lower_bound"] else ""
    return f"{units.printable(row['name'])} ({bound}{'+' if joules > 0 else ''}{units.joules(joules)})"


def changed(row: Row) -> str:
    """The change in percent, as far as it can be told: "at least +18 %" where B is a lower bound."""
    return ("at least " if row.get("change_at_least") else "") + units.change(row["change_percent"])


def _marked(row: Row, run: str) -> str:
    """A run's joules, marked where they are a lower bound."""
    return units.at_least(units.joules(row[run]), row[f"{run}_lower_bound"])


def _steps(a: Summary, b: Summary) -> list[Row]:
    """The steps by name, the one with the most energy in either run first, and in which of the runs each is."""
    known = [_by_name(run) for run in (a, b)]
    rows = []
    for key in dict.fromkeys([*known[0], *known[1]]):
        of_a, of_b = (side.get(key) for side in known)
        kind, name = key[0], (of_a or of_b or {})["name"]
        joules = [None if one is None else one["inclusive_j"] for one in (of_a, of_b)]
        counts = {"a_count": (of_a or {}).get("count", 0), "b_count": (of_b or {}).get("count", 0)}
        lower = {f"{side}_lower_bound": bool((of or {}).get("lower_bound")) for side, of in (("a", of_a), ("b", of_b))}
        more = {"kind": kind, **counts, **lower, "only_in": _only_in(of_a, of_b)}
        rows.append(bounded(_pair(name, "J", *joules) | more))
    return sorted(rows, key=lambda row: -max(row["a"] or 0.0, row["b"] or 0.0))


def _by_name(run: Summary) -> dict[tuple[str, str], Row]:
    """The run's consumers, and its steps without a figure."""
    found = {_key(one): one for one in run["consumers"]}
    for row in run["steps"]:
        if row["depth"] == 0 and row["inclusive_j"] is None:
            found.setdefault(_key(row), {"name": row["name"], "count": 1, "inclusive_j": None})
    return found


def _key(row: Row) -> tuple[str, str]:
    """What is alike in both runs; a run has one orchestration, whatever that is called."""
    return row["kind"], "" if row["kind"] == ORCHESTRATION else row["name"]


def _only_in(of_a: object, of_b: object) -> str | None:
    return "b" if of_a is None else "a" if of_b is None else None


def _artifacts(a: Summary, b: Summary) -> list[Row]:
    """The last version of each artifact in either run: the same URI, else the same name where it is the only one."""
    lasts = [{one["uri"]: one for one in run["artifacts"]} for run in (a, b)]
    pairs = [(uri, uri if uri in lasts[1] else _alike(uri, *lasts)) for uri in lasts[0]]
    matched = {other for _, other in pairs}
    everyone: list[tuple[str | None, str | None]] = [*pairs, *((None, uri) for uri in lasts[1] if uri not in matched)]
    return [_artifact(lasts[0].get(one or ""), lasts[1].get(other or "")) for one, other in everyone]


def _alike(uri: str, of_a: dict[str, Any], of_b: dict[str, Any]) -> str | None:
    """The URI in B that has the name of this one of A, where both are alone with it and in one run only."""
    name = phrases.artifact_name(uri)
    named = [
        [one for one in mine if one not in others and phrases.artifact_name(one) == name]
        for mine, others in ((of_a, of_b), (of_b, of_a))
    ]
    return named[1][0] if [len(one) for one in named] == [1, 1] else None


def _artifact(of_a: Row | None, of_b: Row | None) -> Row:
    either = of_a or of_b or {}
    sides = [dict.fromkeys(OF_ARTIFACTS) if one is None else one for one in (of_a, of_b)]
    return {
        "name": phrases.artifact_name(either["uri"]),
        "a_uri": of_a and of_a["uri"],
        "b_uri": of_b and of_b["uri"],
        "only_in": _only_in(of_a, of_b),
        "a_lower_bound": bool(of_a and of_a["lower_bound"]),
        "b_lower_bound": bool(of_b and of_b["lower_bound"]),
        "a_bytes": of_a and of_a["bytes"],
        "b_bytes": of_b and of_b["bytes"],
        **{name: _of_artifact(name, sides) for name in OF_ARTIFACTS},
    }


def _of_artifact(name: str, sides: list[Row]) -> Row:
    """A figure of an artifact in A and in B, and its change, as far as that can be told."""
    figures = {"a": sides[0][name], "b": sides[1][name]}
    key = "fully_loaded_lower_bound" if name.startswith("fully_loaded") else "lower_bound"
    lower = {f"{side}_lower_bound": bool(one.get(key)) for side, one in zip(("a", "b"), sides, strict=True)}
    return figures | bounded({"change_percent": change(*figures.values())} | lower)


def _kpis(a: Summary, b: Summary) -> Iterable[Row]:
    for name in dict.fromkeys([*a["kpis"], *b["kpis"]]):
        sides = [run["kpis"].get(name) for run in (a, b)]
        either = sides[0] or sides[1]
        alike = len({one["unit"] for one in sides if one is not None}) == 1
        values = [None if one is None else one["value"] for one in sides]
        row = _pair(either["label"], either["unit"], *values) | {
            "kpi": name,
            "per": either["per"],
            "a_lower_bound": bool(sides[0] and sides[0]["lower_bound"]),
            "b_lower_bound": bool(sides[1] and sides[1]["lower_bound"]),
            "a_upper_bound": bool(sides[0] and sides[0]["upper_bound"]),
            "b_upper_bound": bool(sides[1] and sides[1]["upper_bound"]),
            "a_reason": sides[0]["reason"] if sides[0] else "not in this run",
            "b_reason": sides[1]["reason"] if sides[1] else "not in this run",
        }
        yield bounded(row) if alike else row | {"b": None, "change_percent": None, "b_reason": "it is in another unit"}


def _notes(a: Summary, b: Summary) -> Iterable[str]:
    """What must be known before the two are compared."""
    one, other = a["flow_run"], b["flow_run"]
    if one["id"] == other["id"]:
        yield "A and B are the same run"
    if one["flow"] != other["flow"]:
        yield f"the flows differ: {_name(one)} and {_name(other)}; steps and artifacts are matched by their names"
    for word, run in (("A", one), ("B", other)):
        if run["status"] != "completed":
            yield f"{word} has not completed: it is {phrases.status(run['status'])}"
    for name in COMPONENTS:
        worth = [run["provenance"][name] for run in (a, b)]
        if worth[0] != worth[1]:
            yield f"{name} is {worth[0]} in A and {worth[1]} in B"
    for word, run in (("A", a), ("B", b)):
        if run["gaps"]:
            yield f"{word}: {provenance.gaps(run)}"
    if a["static_policy"] != b["static_policy"]:
        yield f"idle power is shared by different policies: {_policy(a)} in A and {_policy(b)} in B"
    if a["emissions_g"]["signal"] != b["emissions_g"]["signal"] or a["emissions_g"]["zone"] != b["emissions_g"]["zone"]:
        yield f"emissions rest on different grids: {_grid(a)} in A and {_grid(b)} in B"


def _by_time(a: Summary, b: Summary, totals: list[Row]) -> Iterable[str]:
    """That CPU time hardly differs, where most of a difference is made by what is charged by the wall time."""
    energy = next(row for row in totals if row["name"] == "energy")
    of_cpu = change(*(sum(one["cpu_s"] for one in run["spans"]) for run in (a, b)))
    if of_cpu is None or abs(energy["change_percent"] or 0.0) <= max(TOLD_FROM, 3 * abs(of_cpu)):
        return
    more = energy["b"] - energy["a"]
    parts = {name: (b["energy_j"][name] or 0.0) - (a["energy_j"][name] or 0.0) for name in BY_TIME}
    named = [word for name, word in BY_TIME.items() if parts[name] * more > 0]
    if sum(parts.values()) / more < 0.5:
        return
    cpu = "is the same" if abs(of_cpu) <= TOLD_FROM else "differs by less"
    said = f"CPU time {cpu} ({units.change(of_cpu)}): the difference is mostly {' and '.join(named)} over the wall time"
    others = [run["not_attributed_j"]["other"] for run in (a, b)]
    if None not in others:
        said += f"; other programs used {units.joules(others[0])} in A and {units.joules(others[1])} in B"
    yield said


def _name(run: Row) -> str:
    return units.printable(run["flow"] or run["id"])


def _policy(run: Summary) -> str:
    return " and ".join(run["static_policy"]) or units.UNKNOWN


def _grid(run: Summary) -> str:
    found = run["emissions_g"]
    return ", ".join(one for one in (found["zone"], found["signal"]) if one) or "an unknown one"
