"""What a run's figures rest on, in sentences: measured, modelled or missing, and what is not in them. Plain text."""

from typing import Any

from e2s_tasks.core.energy import COMPONENTS, MOVEMENT
from e2s_tasks.reporter import figures, phrases, units

Summary = dict[str, Any]
TOLD_FROM, MOMENT_S = 0.01, 0.001  # of the CPU time, and seconds: less is not worth a line
MOST_NAMED = 4
DEVICES = {"gpu": "GPU", "cpu": "CPU", "dram": "DRAM"}


def provenance(summary: Summary) -> list[tuple[str, str]]:
    """(measured | modelled | missing | not present | none recorded, which components and why)."""
    if not summary["begun"]:
        return [("missing", f"everything: {phrases.not_begun(summary)}")]
    lines = [(kind, ", ".join(_component(summary, name, kind) for name in COMPONENTS if _is(summary, name, kind)))
             for kind in ("measured", "modelled")]  # fmt: skip
    unknown: dict[str, list[str]] = {}
    for name in COMPONENTS:
        if _is(summary, name, "missing"):
            word, why = missing(summary, name)
            unknown.setdefault(word, []).append(why)
    lines += [(word, "; ".join(whys)) for word, whys in unknown.items()]
    return [(word, text) for word, text in lines if text]


def _is(summary: Summary, component: str, kind: str) -> bool:
    return bool(summary["provenance"][component] == kind)


def _component(summary: Summary, component: str, kind: str) -> str:
    between = f" ({units.between(summary['energy_j_range'][component])})" if kind == "modelled" else ""
    return f"{component} {component_joules(summary, component)}{between}"


def component_joules(summary: Summary, component: str) -> str:
    """The energy of a component, marked where spans lack a part of it."""
    return units.at_least(units.joules(summary["energy_j"][component]), component in summary["gaps"])


def missing(summary: Summary, component: str) -> tuple[str, str]:
    """How a component without a figure is told: a device that is not there is no gap."""
    name = DEVICES.get(component, component)
    of_component = [source for source in summary["sources"] if source["component"] == component]
    if of_component and all(source["absent"] for source in of_component):
        return "not present", f"no {name} on this host"
    known = [source for source in of_component if source["provenance"] != "missing"]
    if component in MOVEMENT and (known or not of_component):
        return "none recorded", name
    if known and component in summary["cut_short"]:
        return "missing", f"{name} (it was killed before anything was measured)"
    detail = "; ".join(units.printable(source["detail"]) for source in of_component if source["detail"])
    return "missing", f"{name} ({detail})" if detail else name


def gaps(summary: Summary) -> str | None:
    """Which figures are lower bounds because spans lack a part."""
    if not summary["gaps"]:
        return None
    parts = ", ".join(figures.why_lower(summary["gaps"], summary["cut_short"]))
    said = [f"no figure for {parts}"] if parts else []
    said += [figures.CUT_SHORT] if summary["cut_short"] else []
    lower = "" if summary["energy_j"]["total"] is None else ": the sums are lower bounds"
    return "; ".join(said) + lower


def idle_policy(summary: Summary) -> str:
    """Who pays for idle power, and by what."""
    policy = " and ".join(summary["static_policy"]) or units.UNKNOWN
    return f"idle power: policy {policy}; it and resting memory go to steps by time, none to what is inside them"


def divided(summary: Summary) -> str | None:
    """What several steps used at once, so that its division is an estimate; None where that is next to nothing."""
    whole_s, shared_s = (sum(one[name] for one in summary["spans"]) for name in ("cpu_s", "shared_cpu_s"))
    if shared_s < max(TOLD_FROM * whole_s, MOMENT_S):
        return None
    most = sorted(summary["spans"], key=lambda one: -one["shared_cpu_s"])
    names = list(dict.fromkeys(one["name"] for one in most if one["shared_cpu_s"] > TOLD_FROM * shared_s))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    named = ", ".join(f"`{units.printable(name)}`" for name in names[:MOST_NAMED])
    return (
        f"{units.seconds(shared_s)} of {units.seconds(whole_s)} of CPU time were of threads or of a pool's processes"
        f" that several used at once, and are divided between them: {named}{more}"
    )


def not_attributed(summary: Summary) -> str:
    """What the host used beside the run."""
    beside = summary["not_attributed_j"]
    if beside["other"] is None and beside["idle"] is None:
        return "what other programs and idle power used is not known: no process measured the run from end to end"
    idle = units.joules(beside["idle"])
    others = "" if idle == units.joules(0.0) else ", what other measured processes have of that included"
    return (
        f"other programs {units.joules(beside['other'])}, idle {idle}{others}"
        " (figures of the host while the run went on: not additive over runs)"
    )


def unrecorded(summary: Summary) -> str | None:
    """What the processes read and wrote besides what spans recorded; None where the system does not tell."""
    found = summary["io"]
    if found["read_bytes"] is None:
        return None
    left = f"{units.size(found['unrecorded_read'])} read, {units.size(found['unrecorded_written'])} written"
    whole = f"{units.size(found['read_bytes'])} and {units.size(found['written_bytes'])}"
    return (
        f"{left}, of {whole} by all read() and write() calls of the run's processes (Python's own imports, cached"
        " files and pipes among them; no sockets)" + _unknown_processes(found["unknown"])
    )


def _unknown_processes(count: int) -> str:
    return f"; not known of {count} more process{'es' if count > 1 else ''}" if count else ""
