"""What a measured function is declared to read and to make, recorded as it is called and as it returns."""

import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from numbers import Real
from typing import Any

from prefect.context import AssetContext
from prefect.tasks import MaterializingTask, Task

from e2s_tasks.core.products import PRODUCTS, USES, WEIGHT, WEIGHTS
from e2s_tasks.errors import SettingError
from e2s_tasks.io.places import PathLike, uri_of
from e2s_tasks.recorder.artifacts import record_artifact, record_input
from e2s_tasks.recorder.guard import guarded, warn_once
from e2s_tasks.recorder.open_span import OpenSpan
from e2s_tasks.recorder.unmeasured import Unmeasured

Declared = str | os.PathLike[str] | Callable[..., Any]
MOST = 1e15
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


def checked_weight(given: Any) -> Any:
    """What divides energy among products.

    Raises:
        SettingError: neither one of the words nor numbers from 0 on by product.
    """
    if isinstance(given, Mapping) and given:
        return _checked_numbers("weight", given, 0.0)
    if given is not None and given not in WEIGHTS:
        words = ", ".join(map(repr, WEIGHTS))
        raise SettingError(f"weight={given!r}: give one of {words}, or a number for each product: {{'a.parquet': 2}}")
    return given


def checked_uses(given: Any) -> dict[Declared, float]:
    """How often versions will be used.

    Raises:
        SettingError: no mapping of paths or URIs to numbers from 1 on.
    """
    if not isinstance(given, Mapping):
        raise SettingError(f"uses={given!r}: give a number for each version that is used: {{'model.skops': 1000}}")
    return _checked_numbers("uses", given, 1.0)


def _checked_numbers(option: str, given: Mapping[Any, Any], least: float) -> dict[Declared, float]:
    checked(option, list(given))
    for one, number in given.items():
        known = isinstance(number, Real) and not isinstance(number, bool)
        if not known or not least <= number <= MOST:
            raise SettingError(f"{option}={{{one!r}: {number!r}}}: give a number from {least:g} on, {MOST:g} at most")
    return {one: float(number) for one, number in given.items()}


class Names:
    """Names what is declared of a function: paths and URIs in which a call's arguments are filled in.

    Raises:
        SettingError: a name in braces is no parameter of the function.
    """

    def __init__(self, fn: Callable[..., Any], declared: Iterable[Declared]) -> None:
        self._signature, self.name = inspect.signature(fn), getattr(fn, "__name__", "task")
        for one in declared:
            names = [] if callable(one) else PARAMETER.findall(os.fspath(one))
            unknown = [name for name in names if name not in self._signature.parameters]
            if unknown:
                known = ", ".join(self._signature.parameters) or "none"
                raise SettingError(f"{one!r} names {unknown[0]!r}, which is no parameter. There are: {known}.")
            if not callable(one) and set("{}") & set(PARAMETER.sub("", os.fspath(one))):
                raise SettingError(f"{one!r}: in braces stands the name of a parameter alone; else give a function.")

    def of_call(
        self, option: str, declared: Iterable[Declared], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[PathLike | None]:
        """The paths and URIs of a call; None, with a warning, for each declaration that gives none."""
        for one in declared:
            try:
                yield from [*self._of(one, args, kwargs)]
            except Exception as error:  # noqa: BLE001 - law 5
                what = f"{option}={one!r} of {self.name!r} (give paths or URIs, or a function that returns them)"
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


class Files:
    """Records what each call of a function reads (`inputs`) and, once it has succeeded, makes (`outputs`).

    Raises:
        SettingError: a name in braces is no parameter of the function.
    """

    def __init__(self, fn: Callable[..., Any], inputs: tuple[Declared, ...], outputs: tuple[Declared, ...]) -> None:
        self._names, self._inputs, self._outputs = Names(fn, (*inputs, *outputs)), inputs, outputs

    @guarded
    def begun(self, span: OpenSpan | Unmeasured, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The call has begun. An input that cannot be named makes what comes from the call a lower bound."""
        for uri in self._names.of_call("inputs", self._inputs, args, kwargs):
            if uri is None:
                span.read(f"unknown:input-of-{self._names.name}")
            else:
                record_input(uri)

    @guarded
    def succeeded(self, span: OpenSpan | Unmeasured, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The call has succeeded: what it made, unless a measured write has already said so."""
        for uri in self._names.of_call("outputs", self._outputs, args, kwargs):
            if uri is not None and uri_of(uri) not in (span.made if isinstance(span, OpenSpan) else ()):
                record_artifact(uri)


class Accounts:
    """Notes what is declared of the products of a call: which are final, by what energy is divided, their uses.

    products: None where they are to be found. weight: a word, or a number by product. uses: a number by version.

    Raises:
        SettingError: a name in braces is no parameter of the function.
    """

    def __init__(
        self, fn: Callable[..., Any], products: tuple[Declared, ...] | None, weight: Any, uses: Mapping[Any, float]
    ) -> None:
        weights = weight if isinstance(weight, Mapping) else {}
        self._names = Names(fn, (*(products or ()), *weights, *uses))
        self._products, self._weight, self._uses = products, weight, uses

    @guarded
    def begun(self, span: OpenSpan | Unmeasured, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The call has begun."""
        noted: dict[str, Any] = {}
        if self._products is not None:
            named = list(self._names.of_call("products", self._products, args, kwargs))
            if None not in named:  # else those that are found count
                noted[PRODUCTS] = [uri_of(one) for one in named if one is not None]
        if isinstance(self._weight, Mapping):
            noted[WEIGHT] = self._numbers("weight", self._weight, args, kwargs)
        elif self._weight is not None:
            noted[WEIGHT] = self._weight
        if self._uses:
            noted[USES] = self._numbers("uses", self._uses, args, kwargs)
        span.note(noted)

    def _numbers(
        self, option: str, given: Mapping[Any, float], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, float]:
        """The numbers by URI."""
        return {
            uri_of(one): float(number)
            for declared, number in given.items()
            for one in self._names.of_call(option, [declared], args, kwargs)
            if one is not None
        }


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
        joules, provenance = span.recorder.host_energy(span)
        told = {"e2s_host_energy_j": joules, "e2s_provenance": str(provenance), "e2s_run_id": span.run_id}
        for key in self._keys:
            context.add_asset_metadata(key, told)


def _always(uri: str, *_: Any, **__: Any) -> str:
    return uri
