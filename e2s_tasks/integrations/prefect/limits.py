"""How many runs Prefect lets run at once where a run will run: the limits of its deployment, queue and work pool."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    WorkPoolFilter,
    WorkPoolFilterName,
    WorkQueueFilter,
    WorkQueueFilterId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` runs at once, as `name` says; where: the filter that finds the runs it is for."""

    name: str
    most: int
    where: tuple[str, str]

    def filters(self) -> dict[str, Any]:
        """Arguments of `read_flow_runs` for the runs that share it."""
        kind, key = self.where
        if kind == "work pool":
            return {"work_pool_filter": WorkPoolFilter(name=WorkPoolFilterName(any_=[key]))}
        if kind == "work queue":
            return {"work_queue_filter": WorkQueueFilter(id=WorkQueueFilterId(any_=[UUID(key)]))}
        return {"deployment_filter": DeploymentFilter(id=DeploymentFilterId(any_=[UUID(key)]))}


@dataclass
class Limits:
    """What Prefect allows, each thing asked for once."""

    client: SyncPrefectClient
    _known: dict[Any, Any] = field(default_factory=dict)

    def of(self, run: FlowRun) -> Limit | None:
        """The tightest limit of a run; None where there is none."""
        found = [limit for limit in self._all(run) if limit is not None]
        return min(found, key=lambda limit: limit.most, default=None)

    def frozen(self, run: FlowRun) -> bool:
        """Whether somebody has paused where the run will run, or lets nothing run there."""
        paused = (getattr(one, "is_paused", False) or getattr(one, "paused", False) for one in self._places(run))
        limit = self.of(run)
        return any(paused) or (limit is not None and limit.most < 1)

    def _places(self, run: FlowRun) -> list[Any]:
        """The run's deployment, queue and work pool; None for each that it has not."""
        return [
            self._once(run.deployment_id, self.client.read_deployment),
            self._once(run.work_queue_id, self.client.read_work_queue),
            self._once(run.work_pool_name, self.client.read_work_pool),
        ]

    def _all(self, run: FlowRun) -> list[Limit | None]:
        deployment, queue, pool = self._places(run)
        shared = deployment and deployment.global_concurrency_limit
        return [
            _limit("deployment", deployment, shared.limit if shared else None, str(run.deployment_id)),
            _limit("work queue", queue, queue and queue.concurrency_limit, str(run.work_queue_id)),
            _limit("work pool", pool, pool and pool.concurrency_limit, str(run.work_pool_name)),
        ]

    def _once(self, key: Any, ask: Callable[[Any], Any]) -> Any:
        if key is None:
            return None
        if key not in self._known:
            try:
                self._known[key] = ask(key)
            except ObjectNotFound:  # it has been deleted, and its runs stay
                self._known[key] = None
        return self._known[key]


def _limit(kind: str, place: Any, most: int | None, key: str) -> Limit | None:
    return None if place is None or most is None else Limit(f"{kind} {place.name!r}", most, (kind, key))
