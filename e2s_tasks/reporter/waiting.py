"""What the terminal and the Prefect page say of waiting: what it avoided, or what it would have saved."""

from datetime import datetime
from typing import Any

from e2s_tasks.core.planning import told_apart
from e2s_tasks.core.records import Status
from e2s_tasks.reporter import phrases, units

Summary = dict[str, Any]
MOST_NAMED = 2  # of several steps that wait


def waited(summary: Summary) -> str | None:
    """What waiting for a cleaner grid avoided and used, if the run waited."""
    found, used = summary.get("waited"), summary["waiting_j"]
    lower = summary["waiting_lower_bound"]
    spent = f"{units.at_least(units.joules(used), lower)} went into waiting" if used else None
    if found is None:
        return spent
    if found["began_at"] is None:
        return "; ".join(filter(None, (_still(summary, found), spent)))
    grams = found["avoided_g"]
    what = "nobody knows what that avoided" if grams is None else _avoided(grams, found["signal"], summary)
    said = f"waited {units.seconds(found['waited_s'])} for a cleaner grid: {what}"
    return "; ".join(filter(None, (said, still_waits(summary), spent)))


def still_waits(summary: Summary) -> str | None:
    """What waits for a cleaner grid, and until when: the run, or steps of it; None where nothing does, or no more."""
    found = summary.get("waited")
    if found is None or not found["not_begun"] or not phrases.goes_on(summary):
        return None
    if summary["flow_run"]["status"] == Status.SUSPENDED and _is_over(summary):
        return None
    named, start = _named(found), _until(found)
    verb = "wait" if len(named) > 1 else "waits"
    return f"{_who(named)}{verb} for a cleaner grid{', the first' if len(named) > 1 else ''} until {start}"


def _is_over(summary: Summary) -> bool:
    """Whether the run was suspended for another reason, after it had waited."""
    untils = [one["until"] for one in summary["waited"]["not_begun"] if one["until"]]
    ended = summary["flow_run"]["ended_at"]
    return ended is not None and all(datetime.fromisoformat(one) <= datetime.fromisoformat(ended) for one in untils)


def _still(summary: Summary, found: dict[str, Any]) -> str:
    said, named = still_waits(summary), _named(found)
    if said is not None:
        return said
    has, it = ("have", "they were") if len(named) > 1 else ("has", "it was")
    return f"{_who(named)}{has} not begun: {it} to wait for a cleaner grid"


def _named(found: dict[str, Any]) -> list[str]:
    """The steps that wait, each once; none where the whole run does."""
    steps = list(dict.fromkeys(one["step"] for one in found["not_begun"]))
    return [] if None in steps else steps


def _who(steps: list[str]) -> str:
    """What begins a sentence on these steps: nothing where it is on the whole run."""
    told = [f"`{units.printable(one)}`" for one in steps[:MOST_NAMED]]
    if len(steps) > MOST_NAMED:
        told.append(f"{len(steps) - MOST_NAMED} more")
    return " and ".join(filter(None, (", ".join(told[:-1]), *told[-1:]))) + " " * bool(told)


def _until(found: dict[str, Any]) -> str:
    """The time at which the first of what waits is to begin."""
    start = min((one["until"] for one in found["not_begun"] if one["until"]), default=None)
    return units.clocks(start, found["arrived_at"])[0]


def avoided(summary: Summary) -> str | None:
    """What waiting avoided; of a run with a policy that did not wait, that, and what waiting would have saved."""
    plan, said = summary["carbon"], waited(summary)
    if said is not None or plan is None or plan["reason"].startswith("no policy"):
        return said
    saving = plan["potential_saving_percent"]
    if saving is None or saving < 0.5:
        return "did not wait for a cleaner grid, so nothing was avoided"
    return f"did not wait for a cleaner grid: waiting would have saved {saving:.0f} % of {emissions(plan)}"


def emissions(plan: dict[str, Any]) -> str:
    """Whose emissions a decision was about: the run's, or those of the only step that it had wait or start."""
    return "the emissions" if plan["step"] is None else f"the emissions of `{units.printable(plan['step'])}`"


def _avoided(grams: float, signal: str, summary: Summary) -> str:
    return f"{_less(grams)}{phrases.so_far(summary)} ({signal})"


def _less(grams: float) -> str:
    return f"{units.grams(abs(grams))} CO2eq {'more than at once' if grams < 0 else 'avoided'}"


def _seen(part: float) -> str:
    if part > 0.99:
        return "as observed"
    return f"observed for {100 * part:.0f} % of the time" if part else "as forecast"


def _realised(found: dict[str, Any], plan: dict[str, Any], summary: Summary) -> str:
    """What waiting avoided, beside what had been expected of it."""
    began, arrived = units.clocks(found["began_at"], found["arrived_at"])
    text = f"began at {began} instead of {arrived}"
    if found["realised_gco2eq_per_kwh"] is not None and found["would_have_been_gco2eq_per_kwh"] is not None:
        then, at_once = told_apart(found["realised_gco2eq_per_kwh"], found["would_have_been_gco2eq_per_kwh"])
        text += f": {then} instead of {at_once} g/kWh ({_seen(found['observed_part'])})"
    if found["avoided_g"] is not None:
        text += f", {_avoided(found['avoided_g'], found['signal'], summary)}"
    if found["predicted_avoided_g"] is not None:
        then, at_once = told_apart(found["predicted_gco2eq_per_kwh"], found["predicted_run_now_gco2eq_per_kwh"])
        price = f", without the {units.grams(found['waiting_g'])} of waiting itself" if found["waiting_g"] else ""
        text += f"; expected: {then} instead of {at_once} g/kWh, {_less(found['predicted_avoided_g'])}{price}"
    return f"{text} ({plan['source']})"


def carbon(summary: Summary) -> str:
    """What waiting within the policy would have saved, or why nothing can be said."""
    plan = summary["carbon"]
    if plan is None:
        return "nothing can be said about waiting: no carbon intensity was looked up for this run"
    found = summary.get("waited")
    if found is None:
        return _not_waited(plan)
    return _realised(found, plan, summary) if found["began_at"] is not None else _not_begun(summary, found, plan)


def _not_begun(summary: Summary, found: dict[str, Any], plan: dict[str, Any]) -> str:
    said, named, start = still_waits(summary), _named(found), _until(found)
    _, arrived = units.clocks(plan["start"], found["arrived_at"])
    if said is not None:
        return f"{said}, instead of beginning at {arrived}: nothing is avoided yet ({plan['source']})"
    was, has = ("were", "have") if len(named) > 1 else ("was", "has")
    begin = f"{_who(named)}{was} to begin at {start} instead of {arrived}, and {has} not begun"
    return f"{begin}: nothing was avoided ({plan['source']})"


def _not_waited(plan: dict[str, Any]) -> str:
    if plan["start"] is None and not plan["reason"].startswith("no policy"):
        return f"nothing was planned: {plan['reason']}"
    if plan["start"] is None:
        how = "`e2s plan`" if plan["zone"] else "`e2s plan`, with --zone,"  # it needs one
        return f"no policy, so no waiting was planned{_intensity(plan)}; {how} shows when it would be cleaner"
    saving = plan["potential_saving_percent"]
    if saving is None:
        return f"nothing can be said about waiting: {plan['reason'].removeprefix('start now: ')}"
    if saving < 0.5:
        return f"waiting within the policy would have saved nothing: {plan['reason']} ({plan['source']})"
    grams = f" ({units.grams(plan['potential_saving_g'])})" if plan["potential_saving_g"] is not None else ""
    start, _ = units.clocks(plan["start"], plan["decided_at"])
    then, now = told_apart(plan["expected_gco2eq_per_kwh"], plan["run_now_gco2eq_per_kwh"])
    return (
        f"starting at {start} (within the policy) would have saved {saving:.0f} % of {emissions(plan)}{grams}:"
        f" forecast {then} instead of {now} g/kWh ({plan['source']})"
    )


def _intensity(plan: dict[str, Any]) -> str:
    return f" ({plan['source']})" if plan["source"] and plan["source"] != "none" else ""
