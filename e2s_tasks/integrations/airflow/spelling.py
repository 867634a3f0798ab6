"""That what a DAG and its tasks declare for their energy is spelt as it is read.

A tag or a param with a mistake in it would say nothing, and nobody would know: it is an import error of the DAG.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from e2s_tasks.core.policy_tags import CARBON, KNOWN, NO_CARBON, NOW
from e2s_tasks.errors import SettingError
from e2s_tasks.integrations.airflow import declared

OURS = "e2s:"
OF_A_POLICY = tuple(f"{OURS}{name}=" for name in sorted(KNOWN))
TAGS = (CARBON, NO_CARBON, NOW, declared.SOLUTION, *OF_A_POLICY)


def check_dag(dag: Any) -> None:
    """See that a DAG's tags and its param are known.

    Raises:
        SettingError: one is not; the message names it and the nearest known one.
    """
    tags = sorted(dag.tags or ())
    for tag in tags:
        _check_tag(tag)
    _check_that_policies_are_said(tags)
    tagged = declared.solution_of(tags, {})
    named = declared.ours(declared.param_of(dag)).get("solution")
    if tagged is not None and named is not None and tagged != named:
        raise SettingError(
            f"The tag {declared.SOLUTION}{tagged} and the param {declared.PARAM} with solution={named!r} contradict"
            " each other: a run has one solution, so leave one of them out."
        )


def check_task(task: Any) -> None:
    """See that a task's own param is known, and names no solution but its DAG's.

    Raises:
        SettingError: it is not, or does.
    """
    own, of_dag = declared.ours(declared.param_of(task)), declared.ours(declared.param_of(task.dag))
    if own == of_dag:
        return
    named = own.get("solution")
    if named is not None and named != declared.solution_of(task.dag.tags or (), of_dag):
        raise SettingError(
            f"The param {declared.PARAM} of a task says solution={named!r}, but a solution is its whole run's: put it"
            f" in the DAG's tags ({declared.SOLUTION}{named}) or its params ({{'e2s': {{'solution': {named!r}}}}})."
        )


def _check_tag(tag: str) -> None:
    name, equals, text = tag.partition("=")
    if not tag.strip().lower().startswith(OURS) or name + equals in TAGS:
        return
    key = name.strip().lower().removeprefix(OURS).replace("-", "_")
    if key in set(declared.KNOWN) - set(declared.OF_A_POLICY) - {"solution"}:
        raise SettingError(f"The tag {tag} says nothing: {key} is told by params={{'e2s': {{{key!r}: ...}}}}.")
    (near,) = get_close_matches((name + equals).strip().lower(), TAGS, n=1, cutoff=0.0)
    meant = f"{near}{text}" if near.endswith("=") else near
    raise SettingError(f"The tag {tag} is unknown: did you mean {meant}? There are: {', '.join(TAGS)}.")


def _check_that_policies_are_said(tags: Iterable[str]) -> None:
    if {CARBON, NO_CARBON, NOW}.isdisjoint(tags):
        for tag in tags:
            if tag.startswith(OF_A_POLICY):
                raise SettingError(
                    f"The tag {tag} says nothing without {CARBON}: add that, or {NO_CARBON} to switch the policy off."
                )
