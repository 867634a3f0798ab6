"""What a measured function is declared to read and to make, recorded as it is called and as it returns."""

import inspect
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from prefect.context import AssetContext
from prefect.tasks import MaterializingTask, Task

from e2s_tasks.core.energy import Provenance
from e2s_tasks.errors import SettingError
from e2s_tasks.io.places import PathLike, uri_of
from e2s_tasks.recorder.artifacts import record_artifact, record_input
from e2s_tasks.recorder.guard import guarded, warn_once
from e2s_tasks.recorder.open_span import OpenSpan, Unmeasured

Declared = str | os.PathLike[str] | Callable[..., Any]
PARAMETER = re.compile(r"\{(\w+)\}")


def checked(option: str, given: Any) -> tuple[Declared, ...]:
    """The declared things as a tuple; one alone may stand without a list.

    Raises:
        SettingError: something is neither a path, a URI nor a function.
    """
    if given is None:
        return ()
    several = given if isinstance(given, list | tuple | set) else [given]
    for one in several:
        if not callable(one) and (not isinstance(one, str | os.PathLike) or not os.fspath(one).strip()):
            raise SettingError(
                f"{option}={one!r}: give paths or URIs, in which {{name}} stands for a parameter, or functions of the "
                "call's arguments that return them"
            )
    return tuple(several)


class Files:
    """Records what each call of a function reads (`inputs`) and, once it has succeeded, makes (`outputs`).

    Raises:
        SettingError: a name in braces is no parameter of the function.
    """

    def __init__(self, fn: Callable[..., Any], inputs: tuple[Declared, ...], outputs: tuple[Declared, ...]) -> None:
        self._signature, self._name = inspect.signature(fn), getattr(fn, "__name__", "task")
        self._inputs, self._outputs = inputs, outputs
        for one in (*inputs, *outputs):
            names = [] if callable(one) else PARAMETER.findall(os.fspath(one))
            unknown = [name for name in names if name not in self._signature.parameters]
            if unknown:
                known = ", ".join(self._signature.parameters) or "none"
                raise SettingError(f"{one!r} names {unknown[0]!r}, which is no parameter. There are: {known}.")
            if not callable(one) and set("{}") & set(PARAMETER.sub("", os.fspath(one))):
                raise SettingError(f"{one!r}: in braces stands the name of a parameter alone; else give a function.")

    @guarded
    def begun(self, span: OpenSpan | Unmeasured, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The call has begun. An input that cannot be named makes what comes from the call a lower bound."""
        for uri in self._named("inputs", self._inputs, args, kwargs):
            if uri is None:
                span.read(f"unknown:input-of-{self._name}")
            else:
                record_input(uri)

    @guarded
    def succeeded(self, span: OpenSpan | Unmeasured, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The call has succeeded: what it made, unless a measured write has already said so."""
        for uri in self._named("outputs", self._outputs, args, kwargs):
            if uri is not None and uri_of(uri) not in (span.made if isinstance(span, OpenSpan) else ()):
                record_artifact(uri)

    def _named(
        self, option: str, declared: tuple[Declared, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[PathLike | None]:
        """The paths and URIs of a call; None, with a warning, for each declaration that gives none."""
        for one in declared:
            try:
                yield from [*self._of(one, args, kwargs)]
            except Exception as error:  # noqa: BLE001 - law 5
                what = f"{option}={one!r} of {self._name!r} (give paths or URIs, or a function that returns them)"
                warn_once(what, error, "it is left out")
                yield None

    def _of(self, one: Declared, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[PathLike]:
        if not callable(one):
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            yield PARAMETER.sub(lambda match: str(bound.arguments[match[1]]), os.fspath(one))
            return
        found = one(*args, **kwargs)
        for name in [found] if isinstance(found, str | os.PathLike) else found or ():
            if not isinstance(name, str | os.PathLike) or not os.fspath(name).strip():
                raise TypeError(f"{name!r} is neither a path nor a URI")
            yield name


class Assets:
    """The Prefect assets of a task: what it reads and makes; the event of each that it makes carries the joules."""

    def __init__(self, task: "Task[Any, Any]") -> None:
        self._keys = [asset.key for asset in getattr(task, "assets", [])]
        self.inputs = tuple(partial(_always, asset.key) for asset in task.asset_deps or [])
        self.outputs = tuple(partial(_always, key) for key in self._keys)

    @classmethod
    def of(cls, task: "Task[Any, Any]") -> "Assets | None":
        """The assets of a task; None: it has none."""
        return cls(task) if isinstance(task, MaterializingTask) or task.asset_deps else None

    def begun(self, span: OpenSpan | Unmeasured) -> None:
        """The attempt has begun."""
        if self._keys and isinstance(span, OpenSpan):
            span.sum_up()

    @guarded
    def ended(self, span: OpenSpan | Unmeasured) -> None:
        """The attempt has succeeded: its host energy, settled at once, goes into the metadata of its assets."""
        context = AssetContext.get()
        if not self._keys or context is None or not isinstance(span, OpenSpan):
            return
        recorder = span.recorder
        recorder.meter.tick()
        recorder.meter.settle(force=True)
        worth = {one.provenance for one in recorder.process.sources if one.component in span.joules}
        told = {
            "e2s_host_energy_j": span.inclusive_j,
            "e2s_provenance": str(Provenance.MEASURED if worth == {Provenance.MEASURED} else Provenance.MODELLED),
            "e2s_run_id": span.run_id,
        }
        for key in self._keys:
            context.add_asset_metadata(key, told)


def _always(uri: str, *_: Any, **__: Any) -> str:
    return uri
