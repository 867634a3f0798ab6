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
from e2s_tasks.io.places import uri_of
from e2s_tasks.recorder.artifacts import record_artifact, record_input
from e2s_tasks.recorder.guard import guarded
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
        self._signature = inspect.signature(fn)
        self._inputs, self._outputs = inputs, outputs
        for one in (*inputs, *outputs):
            names = [] if callable(one) else PARAMETER.findall(os.fspath(one))
            unknown = [name for name in names if name not in self._signature.parameters]
            if unknown:
                known = ", ".join(self._signature.parameters) or "none"
                raise SettingError(f"{one!r} names {unknown[0]!r}, which is no parameter. There are: {known}.")

    @guarded
    def begun(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The call has begun."""
        for uri in self._named(self._inputs, args, kwargs):
            record_input(uri)

    @guarded
    def succeeded(self, span: OpenSpan | Unmeasured, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The call has succeeded: what it made, unless a measured write has already said so."""
        made = span.made if isinstance(span, OpenSpan) else ()
        for uri in self._named(self._outputs, args, kwargs):
            if uri_of(uri) not in made:
                record_artifact(uri)

    def _named(self, declared: tuple[Declared, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
        if not declared:
            return
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        for one in declared:
            if callable(one):
                found = one(*args, **kwargs)
                yield from found if isinstance(found, list | tuple | set) else [found]
            else:
                yield PARAMETER.sub(lambda match: str(bound.arguments[match[1]]), os.fspath(one))


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
