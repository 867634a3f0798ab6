"""Tells an MLflow server of a measured run. Telling it again changes what is different, and doubles nothing.

The flow run is one MLflow run: the user's own where there is one (`owners.py`), else one that is made here. A run of
the user's gets tags, metrics and artifacts; its status, name and times are its own.
"""

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2s_tasks.core.lineage import lineage_of
from e2s_tasks.core.steps import Step
from e2s_tasks.errors import TrackingError
from e2s_tasks.integrations.mlflow import figures
from e2s_tasks.integrations.mlflow.owners import Started, started
from e2s_tasks.integrations.mlflow.spans_table import write_spans
from e2s_tasks.integrations.mlflow.where import Tracking
from e2s_tasks.reporter import phrases, summarise_run
from e2s_tasks.reporter.tree import adopted, tree

if TYPE_CHECKING:
    from e2s_tasks.ledger import Ledger

MOST_CHILDREN = 200
MOST_METRICS = 1000  # in one batch, of MLflow
MOST_TAGS = 100
OURS = "e2s.created"  # tag of the runs that are made here
PARENT = "mlflow.parentRunId"
GONE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "NOT_FOUND"}


class OutOfTimeError(TrackingError):
    """There was no time for the rest."""


def _always() -> None:
    """There is time."""


@dataclass(slots=True)
class Batch:
    """What one run is told in one call."""

    metrics: list[Any] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def send(ledger: "Ledger", run_id: str, where: Tracking, in_time: Callable[[], None] = _always) -> str:
    """Tell the server of a run; the id of its MLflow run.

    in_time: called between requests, to end the sending by raising OutOfTimeError; what was sent stays.

    Raises:
        NotFoundError: the ledger holds no such run.
        TrackingError: the server did not take it; the message names its URI.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    run = ledger.run(run_id)
    spans = tree(run.spans, run_id)
    lineage = lineage_of(adopted(run, spans))
    summary = summarise_run(ledger, run_id)
    try:
        of_user = started(run, spans, lineage.step_of)
        client = MlflowClient(tracking_uri=where.uri)
        return _Sending(client, where, summary, lineage.steps, of_user, in_time, run_id).all()
    except MlflowException as error:
        raise TrackingError(f"The MLflow server {where.uri} did not take the run {run_id}: {error}") from error


@dataclass(slots=True)
class _Sending:
    """One run on its way to one server."""

    client: Any
    where: Tracking
    summary: dict[str, Any]
    steps: tuple[Step, ...]
    of_user: Started
    in_time: Callable[[], None]
    run_id: str
    now_ms: int = field(default_factory=lambda: int(time.time() * 1000))

    def all(self) -> str:
        parent = self._parent()
        parent_id: str = parent.info.run_id
        batches: dict[str, Batch] = defaultdict(Batch)
        children = self.steps if len(self.steps) <= MOST_CHILDREN else ()
        self._tell_parent(batches[parent_id], parent, () if children else self.steps)
        self._tell_models(batches, parent_id)
        for run_id, batch in batches.items():
            self.in_time()
            self._log(run_id, batch)
        self._log_artifacts(parent)
        self._nest(parent_id)
        self._tell_steps(parent, children)
        if parent.data.tags.get(OURS):
            self._end(parent_id, self.summary["flow_run"]["status"], self._ended_ms())
        return parent_id

    # -- the flow run's MLflow run ------------------------------------------------------------------------------------

    def _parent(self) -> Any:
        for run in self._search(f"tags.`e2s.run_id` = '{self.run_id}'"):
            return run
        users = self._get(self.of_user.parent(self.where.around))
        if users is not None and users.data.tags.get("e2s.run_id") in {None, self.run_id}:
            return users
        flow = self.summary["flow_run"]
        tags = {OURS: "true", "e2s.run_id": self.run_id, "mlflow.note.content": phrases.one_line(self.summary)}
        tags |= figures.texts({"mlflow.source.name": flow["flow"], "mlflow.source.type": "JOB"})
        if users is not None:  # it stands for another flow run already
            tags[PARENT] = users.info.run_id
        experiment = users.info.experiment_id if users is not None else self._experiment()
        return self.client.create_run(
            experiment, start_time=_milliseconds(flow["started_at"]), tags=tags, run_name=flow["name"] or flow["flow"]
        )

    def _experiment(self) -> str:
        """The experiment that runs of this process go to, as MLflow finds it."""
        if self.where.experiment_id is not None:
            return self.where.experiment_id
        if self.where.experiment_name is None:
            return "0"
        found = self.client.get_experiment_by_name(self.where.experiment_name)
        return str(found.experiment_id if found else self.client.create_experiment(self.where.experiment_name))

    def _search(self, condition: str) -> list[Any]:
        """The runs that meet a condition, in whatever experiment."""
        experiments = [one.experiment_id for one in _pages(self.client.search_experiments)]
        return _pages(self.client.search_runs, experiment_ids=experiments, filter_string=condition)

    def _get(self, run_id: str | None) -> Any:
        """A run of the user's; None if this server does not have it, or it has been deleted."""
        if run_id is None:
            return None
        run = _unless_gone(self.client.get_run, run_id)
        return None if run is None or run.info.lifecycle_stage != "active" else run

    def _tell_parent(self, batch: Batch, parent: Any, steps: tuple[Step, ...]) -> None:
        metrics = figures.known(figures.run_figures(self.summary)) | figures.steps_on_the_run(steps)
        batch.metrics += self._changed(metrics, parent.data.metrics)
        batch.tags |= figures.run_tags(self.summary)
        batch.params |= {
            name: value for name, value in figures.run_params(self.summary).items() if name not in parent.data.params
        }

    def _changed(
        self, metrics: Mapping[str, float], there: Mapping[str, float], model_id: str | None = None
    ) -> list[Any]:
        """The metrics that are not there yet with these values."""
        from mlflow.entities import Metric

        return [
            Metric(name, value, self.now_ms, 0, model_id=model_id)
            for name, value in metrics.items()
            if there.get(name) != value
        ]

    def _log(self, run_id: str, batch: Batch) -> None:
        """One call, unless there is more than MLflow takes in one."""
        from mlflow.entities import Param, RunTag

        params = [Param(name, value) for name, value in batch.params.items()]
        tags = [RunTag(name, value) for name, value in batch.tags.items()]
        metrics = batch.metrics
        while metrics or tags or params:
            room = MOST_METRICS - len(tags[:MOST_TAGS]) - len(params)
            self.client.log_batch(run_id, metrics=metrics[:room], params=params, tags=tags[:MOST_TAGS])
            metrics, params, tags = metrics[room:], [], tags[MOST_TAGS:]

    def _log_artifacts(self, parent: Any) -> None:
        """The span table and the summary; once, unless they have changed: MLflow writes over files of one name."""
        self.in_time()
        with tempfile.TemporaryDirectory(prefix="e2s-mlflow-") as name:
            folder = Path(name)
            write_spans(self.summary, folder / "spans.parquet")
            (folder / "summary.json").write_text(json.dumps(self.summary, indent=1))
            self.client.log_artifacts(parent.info.run_id, str(folder), artifact_path="e2s")

    def _nest(self, parent_id: str) -> None:
        """The user's runs that the flow run's work started lie below its run; those that lie below another stay."""
        for run_id in self.of_user.all:
            self.in_time()
            run = None if run_id == parent_id else self._get(run_id)
            if run is not None and PARENT not in run.data.tags:
                self.client.set_tag(run_id, PARENT, parent_id)

    def _ended_ms(self) -> int | None:
        return _milliseconds(self.summary["flow_run"]["ended_at"])

    def _end(self, run_id: str, status: str | None, ended_ms: int | None) -> None:
        """As `set_terminated`, which would print a line on the user's stdout."""
        from mlflow.entities import RunStatus

        store = self.client._tracking_client.store  # noqa: SLF001
        store.update_run_info(run_id, RunStatus.from_string(figures.run_status(status)), ended_ms, None)

    # -- steps --------------------------------------------------------------------------------------------------------

    def _tell_steps(self, parent: Any, steps: tuple[Step, ...]) -> None:
        if not steps:
            return
        there = {run.data.tags.get("e2s.step_id"): run for run in self._search(f"tags.`e2s.step_of` = '{self.run_id}'")}
        for index, step in enumerate(steps):
            self.in_time()
            run = there.get(step.id) or self._get(self.of_user.of_step(index)) or self._new_child(step, parent)
            batch = Batch(tags=figures.step_tags(step, self.run_id))
            batch.metrics = self._changed(figures.known(figures.step_figures(step)), run.data.metrics)
            if batch.metrics or any(run.data.tags.get(name) != value for name, value in batch.tags.items()):
                self._log(run.info.run_id, batch)
            if run.data.tags.get(OURS) and run.info.status != figures.run_status(step.status):
                self._end(run.info.run_id, step.status, None if step.ended_at is None else int(step.ended_at * 1000))

    def _new_child(self, step: Step, parent: Any) -> Any:
        tags = {OURS: "true", PARENT: parent.info.run_id} | figures.step_tags(step, self.run_id)
        started_ms = int(step.started_at * 1000)
        return self.client.create_run(parent.info.experiment_id, start_time=started_ms, tags=tags, run_name=step.name)

    # -- models -------------------------------------------------------------------------------------------------------

    def _tell_models(self, batches: dict[str, Batch], parent_id: str) -> None:
        """The figures of each model that the run wrote, tied to the model, in the run that logged it."""
        for artifact in self.summary["artifacts"]:
            scheme, _, name = artifact["uri"].partition(":/")
            if scheme != "models":
                continue
            self.in_time()
            if "/" in name:
                self._tell_registered(artifact, *name.rsplit("/", 1))
                continue
            model = _unless_gone(self.client.get_logged_model, name)
            if model is None:
                continue
            there = {one.key: one.value for one in model.metrics or []}
            changed = self._changed(figures.model_figures(artifact), there, name)
            if changed:
                batches[model.source_run_id or parent_id].metrics += changed
            tags = figures.model_tags(artifact, self.run_id)
            if any(model.tags.get(key) != value for key, value in tags.items()):
                self.client.set_logged_model_tags(name, tags)

    def _tell_registered(self, artifact: dict[str, Any], name: str, version: str) -> None:
        """A version in the registry has no metrics: its figures are tags."""
        known = _unless_gone(self.client.get_model_version, name, version)
        tags = figures.texts(figures.model_figures(artifact)) | figures.model_tags(artifact, self.run_id)
        for key, value in tags.items():
            if known is not None and known.tags.get(key) != value:
                self.client.set_model_version_tag(name, version, key, value)


def _milliseconds(moment: str | None) -> int | None:
    from datetime import datetime

    return None if moment is None else int(datetime.fromisoformat(moment).timestamp() * 1000)


def _unless_gone(ask: Callable[..., Any], *of: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return ask(*of)
    except MlflowException as error:
        if error.error_code in GONE:
            return None
        raise


def _pages(search: Callable[..., Any], **wanted: Any) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = search(max_results=1000, page_token=token, **wanted)
        found += page
        token = page.token
        if not token:
            return found
