"""Runs that a real server holds for later, and a grid whose intensity changes every ten minutes."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect import flow
from prefect.states import Scheduled

from e2s_tasks import CarbonPolicy
from e2s_tasks.core.policy_tags import tags_of
from e2s_tasks.integrations.prefect.rescheduling import Rescheduler
from e2s_tasks.settings import settings
from tests.planning.traces import write_trace

MINUTE = timedelta(minutes=1)
POLICY = CarbonPolicy("GB", max_delay="1h", expected_duration="10m")


@flow
def held():
    pass


@dataclass
class World:
    """What the scheduler looks at: the runs made here are deleted when the test has ended."""

    folder: object
    client: object
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    planned: list = field(default_factory=list)
    mine: list = field(default_factory=list)
    deployment_id: UUID | None = None

    def grid(self, *intensities):
        self.trace = write_trace(self.folder / "grid.csv", self.started, intensities, 10 * MINUTE)

    def run(self, minutes, *tags, state=None):
        at = self.started + minutes * MINUTE
        state, tags = state or Scheduled(scheduled_time=at), tags or tags_of(POLICY)
        if self.deployment_id is None:
            made = self.client.create_flow_run(held, tags=tags, state=state)
        else:
            made = self.client.create_flow_run_from_deployment(self.deployment_id, tags=tags, state=state)
        self.mine.append(made.id)
        return made.id

    def round(self, **options):
        scheduler = Rescheduler(
            self.client, replace(settings(), trace=self.trace), lambda *one: self.planned.append(one), **options
        )
        moves = scheduler.round(datetime.now(UTC))
        self.complaints = scheduler.complaints
        return {UUID(move.run_id): move for move in moves if UUID(move.run_id) in self.mine}

    def state(self, run_id):
        return self.client.read_flow_run(run_id).state

    def slot(self, run_id):
        """Which of the grid's slots a run is to start in."""
        at = self.state(run_id).state_details.scheduled_time
        return (datetime.fromtimestamp(at.timestamp(), UTC) - self.started) // (10 * MINUTE)
