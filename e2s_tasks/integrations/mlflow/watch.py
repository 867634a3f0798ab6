"""Watches MLflow in measured work: the runs that it starts, and the models that it logs, registers and loads.

MLflow loads `MeasuredWork` by its entry point while it is imported, so that a process without MLflow pays nothing.
A logged model is an artifact with the URI `models:/<model id>`, a registered one `models:/<name>/<version>`: MLflow's
own names. Outside measured work nothing is noted.
"""

import functools
import importlib.util
import os
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from e2s_tasks.recorder.open_span import OpenSpan

RUNS = "mlflow_runs"  # of a span's attributes: the runs without a parent that its work started, in their order
FORMAT = "mlflow"
MOST_SIZES = 100
_sizes: dict[str, int] = {}  # model id -> bytes, of the last models


class MeasuredWork:
    """MLflow's run context provider: every run that measured work starts carries the tags of its flow run."""

    def in_context(self) -> bool:
        """Whether measured work is going on here."""
        return _span() is not None and _allowed()

    def tags(self) -> dict[str, str]:
        """The root flow run, and the step (the outermost task) in which the run was started."""
        span = _span()
        if span is None:
            return {}
        tags = {"e2s.flow_run_id": span.run_id, "e2s.span_id": span.id}
        step = _step_of(span)
        return tags if step is None else tags | {"e2s.step": step}


def _span() -> "OpenSpan | None":
    recorder = sys.modules.get("e2s_tasks.recorder.open_span")  # without it nothing is measured here
    return None if recorder is None else recorder.current_span()


def _allowed() -> bool:
    from e2s_tasks.integrations.mlflow.where import enabled

    return enabled()


def _step_of(span: "OpenSpan") -> str | None:
    step, around = None, span
    while around is not None:
        step = around.name if around.kind == "attempt" else step
        around = around.outer  # type: ignore[assignment]
    return step


# -- what is noted --------------------------------------------------------------------------------------------------


def _run_started(run: Any) -> None:
    span = _span()
    if span is None or "mlflow.parentRunId" in run.data.tags:
        return
    noted = span.record.attributes.get(RUNS, [])
    if run.info.run_id not in noted:
        span.note({RUNS: [*noted, run.info.run_id]})


def _model_uploaded(model_id: str, folder: str) -> None:
    if _span() is not None:
        while len(_sizes) >= MOST_SIZES:
            del _sizes[next(iter(_sizes))]
        _sizes[model_id] = sum(
            os.path.getsize(os.path.join(root, name))  # noqa: PTH118, PTH202 - as os.walk gives them
            for root, _, names in os.walk(folder)
            for name in names
        )


def _model_ready(model: Any) -> None:
    span, size = _span(), _sizes.get(model.model_id)
    if span is None or str(model.status) not in {"READY", "LoggedModelStatus.READY"}:
        return
    span.wrote(logged(model.model_id), size=size, rows=None, format=FORMAT)
    if size is not None:
        span.moved(bytes_written=size)


def _model_registered(version: Any, model_id: str | None) -> None:
    span = _span()
    if span is None:
        return
    if model_id:
        span.read(logged(model_id))
    size = _sizes.get(model_id) if model_id else None
    span.wrote(registered(version.name, version.version), size=size, rows=None, format=FORMAT)


def _model_loaded(repository: Any) -> None:
    span = _span()
    if span is None:
        return
    if repository.model_name is not None and repository.model_version is not None:
        span.read(registered(repository.model_name, repository.model_version))
    else:
        span.read(str(repository.artifact_uri).rstrip("/"))


def logged(model_id: str) -> str:
    """The URI of a logged model."""
    return f"models:/{model_id}"


def registered(name: str, version: Any) -> str:
    """The URI of a version of a registered model."""
    return f"models:/{name}/{version}"


# -- how MLflow is watched ------------------------------------------------------------------------------------------


Note = Callable[[Any, tuple[Any, ...], dict[str, Any]], None]


def _after(call: Callable[..., Any], note: Note) -> Callable[..., Any]:
    """The call, after which `note(result, args, kwargs)` is made; what goes wrong there is one warning."""

    @functools.wraps(call)
    def watched(*args: Any, **kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        if _span() is not None:
            from e2s_tasks.recorder.guard import warn_once

            try:
                note(result, args, kwargs)
            except Exception as error:  # noqa: BLE001 - law 5
                warn_once("watching MLflow", error)
        return result

    return watched


def _watch_runs(fluent: Any) -> None:
    fluent.start_run = _after(fluent.start_run, lambda run, _, __: _run_started(run))


def _watch_models(client: ModuleType) -> None:
    cls = client.TrackingServiceClient
    cls.log_model_artifacts = _after(cls.log_model_artifacts, lambda _, args, kwargs: _uploaded(*args[1:], **kwargs))
    cls.finalize_logged_model = _after(cls.finalize_logged_model, lambda model, _, __: _model_ready(model))


def _uploaded(model_id: str, local_dir: str, artifact_path: str | None = None) -> None:  # noqa: ARG001 - as MLflow's
    _model_uploaded(model_id, local_dir)


def _watch_registry(client: ModuleType) -> None:
    cls = client.ModelRegistryClient
    cls.create_model_version = _after(
        cls.create_model_version, lambda version, _, kwargs: _model_registered(version, kwargs.get("model_id"))
    )


def _watch_loading(repository: ModuleType) -> None:
    cls = repository.ModelsArtifactRepository
    cls.download_artifacts = _after(cls.download_artifacts, lambda _, args, __: _model_loaded(args[0]))


PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "mlflow.tracking.fluent": _watch_runs,
    "mlflow.tracking._tracking_service.client": _watch_models,
    "mlflow.tracking._model_registry.client": _watch_registry,
    "mlflow.store.artifact.models_artifact_repo": _watch_loading,
}


class _WhenImported(MetaPathFinder):
    """Applies each patch once its module has been executed."""

    def __init__(self, patches: dict[str, Callable[[ModuleType], None]]) -> None:
        self._waiting = dict(patches)

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        """The module's own spec, whose loader applies the patch at its end."""
        if self._waiting.pop(name, None) is None:
            return None
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def and_patch(module: ModuleType) -> None:
                execute(module)
                _patch(name, module)

            spec.loader.exec_module = and_patch  # type: ignore[method-assign]
        return spec


def _patch(name: str, module: ModuleType) -> None:
    try:
        PATCHES[name](module)
    except Exception as error:  # noqa: BLE001 - another MLflow than is known here: its models are no artifacts
        from e2s_tasks.recorder.guard import warn_once

        warn_once(f"watching {name}", error)


def _watch() -> None:
    loaded = {name: sys.modules[name] for name in PATCHES if name in sys.modules}
    for name, module in loaded.items():
        _patch(name, module)
    sys.meta_path.insert(0, _WhenImported({name: patch for name, patch in PATCHES.items() if name not in loaded}))


_watch()
