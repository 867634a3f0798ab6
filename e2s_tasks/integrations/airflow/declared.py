"""What a DAG or task declares for its energy: by tags of the DAG, or by the param `e2s`.

with DAG("delays", tags=["e2s:solution=delay-forecast", "e2s:carbon", "e2s:zone=GB", "e2s:max-delay=6h"]):
train = PythonOperator(task_id="train", ..., params={"e2s": {"stage": "training"}})
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.core.policy_tags import CARBON, NO_CARBON, NOW, moment_of, policy_of
from e2s_tasks.core.stages import stage_of
from e2s_tasks.errors import SettingError
from e2s_tasks.recorder.guard import warn_once

PARAM = "e2s"
SOLUTION = "e2s:solution="
KNOWN = ("solution", "stage", "zone", "max_delay", "expected_duration", "p95_duration", "minimum_gain", "strategy",
         "threshold", "percentile", "deadline", "wait")  # fmt: skip
OF_A_POLICY = KNOWN[2:-1]
LIKE = 0.8  # of 1: a key in a mapping of somebody else's that is more like one of ours was meant for us


def told(dag: Any, task: Any = None) -> dict[str, Any]:
    """What the param `e2s` says for a task, else for its DAG.

    The tag `e2s:now` of the DAG says that nothing of it waits.

    Raises:
        SettingError: it says something that nobody knows, or that cannot be used.
    """
    return _by_tag(dag) | ours(param_of(dag)) | ours(param_of(task))


def told_in_a_run(dag: Any, task: Any, conf: Any) -> dict[str, Any]:
    """The same with what the run's `conf` says for this run; one of the three that is mistaken is left out and told.

    A policy in the conf is none: no task waits by it (`conf`).
    """
    found = _by_tag(dag)
    for param, left_out in ((param_of(dag), ()), (param_of(task), ()), (param_in(conf), OF_A_POLICY)):
        try:
            found |= {name: value for name, value in ours(param).items() if name not in left_out}
        except SettingError as error:
            warn_once(f"reading the param {PARAM} (it is left out)", error)
    return found


def _by_tag(dag: Any) -> dict[str, Any]:
    return {"wait": False} if NOW in (getattr(dag, "tags", None) or ()) else {}


def ours(param: Any) -> dict[str, Any]:
    """What a param `e2s` declares, once it is sure that all of it is known; nothing where it is somebody else's.

    It is ours where it is a mapping with a key that we know, or with one so like it that it was meant for us.

    Raises:
        SettingError: it is, and says something that nobody knows, or that cannot be used.
    """
    given = param if isinstance(param, Mapping) else {}
    unknown = [key for key in given if key not in KNOWN]
    is_ours = len(unknown) < len(given)
    for key in unknown:
        if is_ours or _is_meant_for_us(key):
            raise SettingError(_unknown_key(key))
    if not is_ours:
        return {}
    stage(given)
    waits(given)
    solution_of((), given)
    return dict(given)


def _is_meant_for_us(key: Any) -> bool:
    """Whether it is one of our keys with a mistake in it: two letters that changed places are much of a short one."""
    text = str(key).lower()
    swapped = any(sorted(text) == sorted(name) for name in KNOWN)
    return swapped or bool(get_close_matches(text, KNOWN, n=1, cutoff=LIKE))


def _unknown_key(key: Any) -> str:
    """What is said of something that the param has and nobody knows."""
    near = get_close_matches(str(key).lower(), KNOWN, n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return f"The param {PARAM} has {key!r}, which nobody knows.{meant} There are: {', '.join(KNOWN)}."


def param_of(declaring: Any) -> Any:
    """The param `e2s` of a DAG or a task, which has its DAG's where it has none of its own; None without one."""
    return param_in(getattr(declaring, "params", None))


def param_in(params: Any) -> Any:
    """The param `e2s` among params, or in a run's `conf`; None without one."""
    try:
        return params[PARAM]
    except Exception:  # noqa: BLE001 - there is none, or one that only a run's `conf` gives a value
        return None


def solution_of(tags: Iterable[str], given: Mapping[str, Any]) -> str | None:
    """The solution that a run works for.

    Raises:
        SettingError: it is no name, or tags say several.
    """
    named = [tag.removeprefix(SOLUTION) for tag in sorted(tags) if tag.startswith(SOLUTION)]
    if len(named) > 1:
        raise SettingError(
            f"The tags name the solutions {' and '.join(named)}: a run has one, so leave the others out."
        )
    found = given.get("solution", named[0] if named else None)
    if found is not None and (not isinstance(found, str) or not found.strip()):
        raise SettingError(f"solution={found!r}: give a name, for example 'delay-forecast'.")
    return found


def stage(given: Mapping[str, Any]) -> str | None:
    """The stage of the solution's life cycle that a task is of.

    Raises:
        SettingError: there is no such stage.
    """
    return None if given.get("stage") is None else str(stage_of(given["stage"]))


def waits(given: Mapping[str, Any]) -> bool:
    """Whether work with a carbon policy may wait: not where `{"e2s": {"wait": false}}` is said, as in a run's `conf`.

    Raises:
        SettingError: it is neither true nor false.
    """
    found = given.get("wait", True)
    if not isinstance(found, bool):
        raise SettingError(f"The param {PARAM} has wait={found!r}: give true or false.")
    return found


def policy(tags: Iterable[str], given: Mapping[str, Any], beside: CarbonPolicy | None = None) -> CarbonPolicy | None:
    """The carbon policy that a DAG's tags, or the param, say; None where they say none, or the tags `e2s:no-carbon`.

    beside: the policy that holds for what the param leaves out.

    Raises:
        SettingError: a part of it is missing, or cannot be used.
    """
    if not any(name in given for name in OF_A_POLICY):
        tags = [tag for tag in tags if not tag.startswith(SOLUTION)]
        return policy_of(tags) if CARBON in tags and NO_CARBON not in tags else None
    options = {name: given[name] for name in OF_A_POLICY if given.get(name) is not None}
    if isinstance(options.get("deadline"), str):
        options["deadline"] = moment_of(options["deadline"])
    if beside is not None:
        if options.get("strategy", beside.strategy) != beside.strategy:  # it has no use for the numbers of another one
            beside = replace(beside, strategy="window", threshold=None, percentile=None)
        return replace(beside, **options)
    missing = " and ".join(name for name in ("zone", "max_delay") if name not in options)
    if missing:
        raise SettingError(f"The param {PARAM} is a carbon policy without {missing}: add {missing}.")
    return CarbonPolicy(**options)
