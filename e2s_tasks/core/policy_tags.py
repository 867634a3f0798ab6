"""A carbon policy as tags of what an orchestrator runs, so that who has never seen its code knows when it may start."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.errors import SettingError

CARBON = "e2s:carbon"  # a run that has it has a policy: what follows it says which
NO_CARBON = "e2s:no-carbon"  # the policy that the other tags say is switched off
NOW = "e2s:now"  # what has it does not wait
EXAMPLES = {"zone": "e2s:zone=GB", "max-delay": "e2s:max-delay=12h"}
TEXTS = {
    "expected-duration": "expected_duration", "p95-duration": "p95_duration", "minimum-gain": "minimum_gain",
    "strategy": "strategy",
}  # fmt: skip
KNOWN = {*EXAMPLES, *TEXTS, "deadline", "threshold", "percentile"}
DEADLINE = "2027-01-31T06:00Z"
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def tags_of(policy: CarbonPolicy) -> list[str]:
    """The tags that say a policy: `e2s:carbon`, `e2s:zone=GB`, `e2s:max-delay=12h`, `e2s:expected-duration=2h`."""
    texts = {
        "zone": policy.zone,
        "max-delay": _written(policy.max_delay),
    }
    for name in ("expected_duration", "p95_duration"):
        if getattr(policy, name) is not None:
            texts[name.replace("_", "-")] = _written(getattr(policy, name))
    for name in ("threshold", "percentile", "minimum_gain"):
        if getattr(policy, name) is not None:
            texts[name.replace("_", "-")] = str(getattr(policy, name))
    if policy.strategy != "window":
        texts["strategy"] = policy.strategy
    if policy.deadline is not None:
        texts["deadline"] = policy.deadline.astimezone(UTC).isoformat(timespec="seconds")
    return [CARBON, *(f"e2s:{name}={text}" for name, text in texts.items())]


def policy_of(tags: Iterable[str]) -> CarbonPolicy | None:
    """The policy that tags say; None where they say none.

    Raises:
        SettingError: the tags of a policy lack a part, say one twice and not the same, or one cannot be read.
    """
    given = sorted(set(tags))
    if CARBON not in given:
        return None
    texts: dict[str, str] = {}
    for tag in given:
        name, is_text, text = tag.removeprefix("e2s:").partition("=")
        if is_text and tag.startswith("e2s:"):
            if name in texts:
                raise SettingError(
                    f"The tags e2s:{name}={texts[name]} and {tag} contradict each other: leave one of them out."
                )
            texts[name] = text
    _check(texts)
    for name, example in EXAMPLES.items():
        if name not in texts:
            raise SettingError(f"The tag {CARBON} says nothing without e2s:{name}=...: add it, for example {example}.")
    deadline = moment_of(texts["deadline"], "The tag e2s:deadline=") if "deadline" in texts else None
    more: dict[str, Any] = {name: texts[tag] for tag, name in TEXTS.items() if tag in texts}
    more |= {name: _number(name, texts[name]) for name in ("threshold", "percentile") if name in texts}
    return CarbonPolicy(texts["zone"], texts["max-delay"], deadline=deadline, **more)


def with_policy(tags: Iterable[str] | None, policy: CarbonPolicy) -> list[str]:
    """The tags, with those of the policy; tags that say a policy already win."""
    given = list(tags or [])
    return given if CARBON in given else given + [tag for tag in tags_of(policy) if tag not in given]


def _written(length: timedelta) -> str:
    """A duration as `duration` reads it: "12h", "1h30m", "0.5s"."""
    left, text = round(length.total_seconds() * 1000), ""
    for unit, seconds in UNITS.items():
        whole, left = divmod(left, seconds * 1000)
        text += f"{whole}{unit}" if whole else ""
    return f"{text}{left / 1000:g}s" if left or not text else text


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingError(f"The tag e2s:{name}={text} is no number: write for example e2s:{name}=25.") from None


def moment_of(text: str, called: str = "deadline=") -> datetime:
    """The moment that a text in ISO 8601 says.

    Raises:
        SettingError: it is none, or has no time zone; the message begins as it is called.
    """
    example = f"write for example {called.rpartition(' ')[2]}{DEADLINE}"
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise SettingError(f"{called}{text} is no time: {example}.") from None
    if at.tzinfo is None:
        raise SettingError(f"{called}{text} has no time zone: {example}.")
    return at


def _check(names: Iterable[str]) -> None:
    """See that a policy's tags are spelt as they are read."""
    unknown = sorted(set(names) - KNOWN)
    if unknown:
        known = ", ".join(sorted(KNOWN))
        raise SettingError(f"The tag e2s:{unknown[0]}=... is none of a policy's, which are {known}: correct it.")
