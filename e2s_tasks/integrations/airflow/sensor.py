"""A task of its own that waits for a cleaner grid, for who wants to see the waiting in the graph."""

from dataclasses import replace
from datetime import datetime, timedelta
from time import time
from typing import Any

from airflow.sdk import BaseSensorOperator

from e2s_tasks.core.policy import CarbonPolicy, Duration
from e2s_tasks.errors import SettingError
from e2s_tasks.integrations.airflow.gate import HOUR_HAS_COME
from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.scheduler import Decision


class CarbonIntensitySensor(BaseSensorOperator):
    """Succeeds when a cleaner hour for what follows has come, or when that has to start at the latest.

    CarbonIntensitySensor(task_id="clean", zone="GB", max_delay="6h", expected_duration="1h") >> train

    It waits in the triggerer. policy: in place of zone, max_delay and the further options of a `CarbonPolicy`;
    expected_duration: of what follows; left out, what completed runs of the DAG teach. timeout: the longest that it
    waits, if that is shorter than max_delay (a timedelta or seconds); what follows starts then, for it never fails. Its
    result is the decision as plain JSON: start, at, zone, intensities (gCO2eq/kWh), source and reason.

    Raises:
        SettingError: a policy that is none, or cannot be used, or is given beside an option that is a part of one.
    """

    def __init__(
        self,
        *,
        policy: CarbonPolicy | None = None,
        zone: str | None = None,
        max_delay: Duration | None = None,
        expected_duration: Duration | None = None,
        deadline: datetime | None = None,
        strategy: str | None = None,
        threshold: float | None = None,
        percentile: float | None = None,
        minimum_gain: str | None = None,
        p95_duration: Duration | None = None,
        timeout: timedelta | float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs if timeout is None else kwargs | {"timeout": timeout})
        parts = {
            "zone": zone, "max_delay": max_delay, "expected_duration": expected_duration, "deadline": deadline,
            "strategy": strategy, "threshold": threshold, "percentile": percentile, "minimum_gain": minimum_gain,
            "p95_duration": p95_duration,
        }  # fmt: skip
        self.policy = _policy(policy, {name: value for name, value in parts.items() if value is not None})
        if timeout is not None:
            longest = timedelta(seconds=self.timeout)
            self.policy = replace(self.policy, max_delay=min(self.policy.max_delay, longest))

    def execute(self, context: Any) -> dict[str, Any]:
        """The decision, if what follows starts now.

        Raises:
            TaskDeferred: it waits.
        """
        from e2s_tasks.integrations.airflow.arriving import Arrived, arrive

        try:
            arrived = arrive(context["ti"], self.policy, held_back=self._what_follows())
        except Exception as error:  # noqa: BLE001 - law 5
            warn_once("waiting for a cleaner grid", error, "what follows starts now")
            arrived = Arrived()
        told = _told(arrived.decision)
        if arrived.trigger is not None:
            self.defer(trigger=arrived.trigger, method_name=HOUR_HAS_COME, kwargs={"decision": told})
        return told

    def _what_follows(self) -> list[str]:
        """The keys of the tasks that come after it, as the ledger has them."""
        return [f"{self.dag_id}.{one.task_id}" for one in self.get_flat_relatives(upstream=False)]

    def the_hour_has_come(
        self,
        context: Any,  # noqa: ARG002 - Airflow's signature
        decision: dict[str, Any],
        event: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The decision, with the start as it was moved in between."""
        from e2s_tasks.integrations.airflow.arriving import begins

        begins(event)
        moved = (event or {}).get("decision")
        return decision if moved is None else {name: moved.get(name) for name in decision}


def _policy(policy: CarbonPolicy | None, parts: dict[str, Any]) -> CarbonPolicy:
    """The policy, or the one that the parts say.

    Raises:
        SettingError: it is none, lacks a part, or both are given.
    """
    if policy is None:
        for missing in ("zone", "max_delay"):
            if missing not in parts:
                raise SettingError(f"A CarbonIntensitySensor without {missing}: give it, or policy=CarbonPolicy(...).")
        return CarbonPolicy(**parts)
    if not isinstance(policy, CarbonPolicy):
        raise SettingError(
            f"policy={policy!r} is no carbon policy: give for example CarbonPolicy('GB', max_delay='6h')."
        )
    if parts:
        names = " and ".join(parts)
        raise SettingError(
            f"A CarbonIntensitySensor takes either policy or {names}: put {names} into the policy,"
            f" CarbonPolicy(..., {next(iter(parts))}=...)."
        )
    return policy


NAMES = ("at", "start", "end", "zone", "signal", "source", "reason", "intensity", "expected", "run_now")


def _told(decision: Decision | None) -> dict[str, Any]:
    """The decision as plain JSON, also where none was made; times as seconds since the epoch."""
    if decision is None:
        now = time()
        return dict.fromkeys(NAMES) | {"at": now, "start": now, "reason": "start now: nothing was to be decided"}
    found = {name: getattr(decision, name) for name in NAMES}
    return {name: value.timestamp() if isinstance(value, datetime) else value for name, value in found.items()}
