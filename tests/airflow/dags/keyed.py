"""A DAG whose task waits in a trigger that looks at the grid every few seconds."""

import time

from airflow.sdk import DAG, BaseOperator

from e2s_tasks.integrations.airflow.trigger import CleanerGridTrigger


class Waits(BaseOperator):
    """Waits for some seconds, as if it had arrived earlier."""

    def execute(self, context):
        policy, now = ["e2s:carbon", "e2s:zone=DE", "e2s:max-delay=1h", "e2s:expected-duration=10s"], time.time()
        trigger = CleanerGridTrigger(
            start=now + 15, latest=now + 60, arrived=now - 1000, policy=policy, run="run", step="step", every_s=3.0
        )
        self.defer(trigger=trigger, method_name="go_on")

    def go_on(self, context, event=None):
        return event["start"]


with DAG("keyed", schedule=None, catchup=False):
    Waits(task_id="waits")
