"""What is said of where an artifact came from, and of how it changed. Plain text, ASCII."""

from datetime import UTC, datetime
from typing import Any

from e2s_tasks.core.edges import EXTERNAL
from e2s_tasks.reporter import phrases, units
from e2s_tasks.reporter.folding import fold

MOST_REASONS = 4
DEEPEST = 12  # levels of indentation
WEEK_DAYS = 7


def artifact(found: dict[str, Any]) -> list[str]:
    """What a version cost, in a few lines."""
    mark = ">= " if found["fully_loaded_lower_bound"] else ""
    grams = "" if found["fully_loaded_g"] is None else f", {mark}{units.grams(found['fully_loaded_g'])} CO2eq"
    runs = found["upstream_runs"]
    others = f" with what {runs} earlier run{'s' if runs > 1 else ''} put into it" if runs else ""
    whole = f"fully loaded {phrases.fully_loaded(found)}{grams}{others}"
    lines = [f"{whole}; in its own run {phrases.in_run(found)}"]
    if found["amortised_j"] is not None:
        lines.append(f"amortised {phrases.amortised(found)}, with what it came from over its declared uses")
    said = change(found)
    return [*lines, said] if said else lines


def ancestor(row: dict[str, Any], above: dict[str, Any] | None) -> list[tuple[str, str, str, str]]:
    """A row of an artifact's tree, below another one, in the cells name, energy, share and what it rests on.

    What is not known of it follows in lines of its own.
    """
    indent = "  " * min(row["depth"], DEEPEST)
    name = indent + _name(row)
    if above is not None and above["run_id"] != row["run_id"]:
        name += f" (run {units.printable(row['run'] or (row['run_id'] or units.UNKNOWN)[:8])})"
    if row["repeated"]:
        return [(f"{name} (see above)", "", "", "")]
    worth = row["provenance"] if row["own_j"] is not None else ""
    missing = [(f"{indent}  ? {_shortened(reason)}", units.UNKNOWN, "", "missing") for reason in row["reasons"]]
    joules = units.at_least(units.joules(row["joules"]), row["lower_bound"])
    return [(name, joules, units.percent(row["share"]), worth), *missing]


def _name(row: dict[str, Any]) -> str:
    if row["kind"] == "version":
        number = f" v{row['version']}" if row["version"] is not None else ""
        return phrases.artifact_name(row["uri"]) + number + (", what was added then" if row["part"] else "")
    attempts = f", {row['attempts']} attempts" if (row["attempts"] or 1) > 1 else ""
    return phrases.named(row["name"], row["run_name"]) + attempts


def _shortened(reason: str) -> str:
    """The reason in few words, with the last part of a URI alone."""
    words = units.printable(reason).replace(EXTERNAL, "external input").split(" ")
    return " ".join(phrases.artifact_name(word) if "://" in word else word for word in words)


def loaded_reasons(found: dict[str, Any]) -> list[str]:
    """Why the fully loaded figure is a lower bound."""
    reasons, more = fold(phrases.alike(found["fully_loaded_reasons"]), MOST_REASONS)
    shown = [f">= a lower bound: {reason}" for reason in reasons]
    return [*shown, f"   and {len(more)} more reasons: --json"] if more else shown


def ratio(found: dict[str, Any] | None) -> str:
    """A change of energy: "+18 %"; "2.1x" from a doubling on; marked where it may be more, "-" where nobody knows."""
    change = None if found is None else found["in_run_ratio"]
    if found is None or change is None:
        return units.UNKNOWN
    return units.at_least(_times(change) if change >= 2 else units.change(100 * (change - 1)), found["in_run_at_least"])


def _times(change: float) -> str:
    return f"{units.number(change, 2)}x"


def change(found: dict[str, Any], today: datetime | None = None) -> str | None:
    """What changed since the version before, and the steps that changed most: "+18 % since Tuesday: train 2.1x"."""
    said = found["change"]
    if said is None or (said["in_run_ratio"] is None and not said["in_run_unknown"]):
        return None
    steps = [step for step in said["steps"] if not step["unknown"] and step["from_j"] != step["to_j"]]
    told = ", ".join(map(_step_change, steps[:2]))
    since, number = _since(said["since"], today or datetime.now(UTC)), said["since_version"]
    if said["in_run_unknown"]:
        doubt = f"in its own run since {since} (v{number}): which took more is not known"
        return f"{doubt}; of what is: {told}" if told else doubt
    line = f"in its own run {ratio(said).replace('>=', 'at least')} since {since} (v{number})"
    return f"{line}: {told}" if told else line


def _step_change(step: dict[str, Any]) -> str:
    name = units.printable(step["name"])
    before, after = (
        units.at_least(units.joules(step[f"{side}_j"]), step[f"{side}_lower_bound"]) for side in ("from", "to")
    )
    if step["only_in"] is not None:
        return f"{name} is new ({after})" if step["only_in"] == "to" else f"{name} is gone ({before})"
    if step["ratio"] is None:
        return f"{name} {before} to {after}"
    return f"{name} {'at least ' if step['at_least'] else ''}{_times(step['ratio'])}"


def _since(moment: str, now: datetime) -> str:
    """A time in the words of somebody who reads it now, in UTC."""
    at = datetime.fromisoformat(moment).astimezone(UTC)
    days = (now.date() - at.date()).days
    if days == 0:
        return at.strftime("%H:%M UTC")
    return at.strftime("%A") if 0 < days < WEEK_DAYS else at.strftime("%Y-%m-%d")
