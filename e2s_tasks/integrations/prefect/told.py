"""What `@e2s_task` and `@e2s_flow` are told of the work beside Prefect's options: stage, outcome, files."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from e2s_tasks.core.remote import ELSEWHERE, REMOTE_WORK
from e2s_tasks.core.stages import stage_of
from e2s_tasks.errors import SettingError
from e2s_tasks.integrations.prefect.declared import (
    Accounts,
    Assets,
    Declared,
    Files,
    checked,
    checked_uses,
    checked_weight,
)
from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.recorder.open_span import OpenSpan
from e2s_tasks.recorder.outcomes import record_outcome
from e2s_tasks.recorder.unmeasured import Unmeasured

COUNTS = {"units", "valid", "accurate", "quality", "name"}
OTHERS = "any of valid, accurate, quality, name"


@dataclass(frozen=True, slots=True)
class Told:
    """stage: of the life cycle. units: the number of units of a result (for example `len`). outcome: a function of the
    result that gives their number, or a mapping with any of record_outcome's arguments. unit: what one is called.
    remote: work is set off elsewhere (True, or who does it) whose energy only record_energy can tell. inputs, outputs:
    what it reads and makes by means that nothing here sees. products, weight: of a flow, what it is run for, and by
    what the energy of shared steps is divided among them. uses: how often what it makes will be used, by path.
    """

    stage: str | None = None
    units: Callable[[Any], float] | None = None
    outcome: Callable[[Any], Any] | None = None
    unit: str | None = None
    remote: bool | str = False
    inputs: tuple[Declared, ...] = ()
    outputs: tuple[Declared, ...] = ()
    products: tuple[Declared, ...] | None = None
    weight: Any = None
    uses: Mapping[Declared, float] = field(default_factory=dict)

    @classmethod
    def taken(cls, options: dict[str, Any], before: "Told | None" = None) -> "Told":
        """What the options tell, taken out of them, else what was told before.

        Raises:
            SettingError: a value cannot be used.
        """
        given = {one.name: options.pop(one.name) for one in fields(cls) if one.name in options}
        for option in given.keys() & {"inputs", "outputs"}:
            given[option] = checked(option, given[option])
        if given.get("products") is not None:
            given["products"] = checked("products", given["products"])
        if "weight" in given:
            given["weight"] = checked_weight(given["weight"])
        if given.get("uses") is not None:
            given["uses"] = checked_uses(given["uses"])
        told = replace(before or cls(), **given)
        told.check()
        return replace(told, stage=stage_of(told.stage)) if told.stage is not None else told

    def check(self) -> None:
        """Whether it can be used.

        Raises:
            SettingError: it cannot; the message names the value and the remedy.
        """
        for name in ("units", "outcome"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise SettingError(f"{name}={value!r}: pass a function of the result, for example {name}=len")
        if self.units is not None and self.outcome is not None:
            raise SettingError("units= and outcome= are both given: pass one, outcome= may return units as well")
        if self.unit is not None and (not isinstance(self.unit, str) or not self.unit.strip()):
            raise SettingError(f"unit={self.unit!r}: name one unit of the outcome, for example 'prediction'")
        if self.unit is not None and self.units is None and self.outcome is None:
            raise SettingError(
                f"unit={self.unit!r} says nothing without units= or outcome=: pass for example units=len"
            )
        if not isinstance(self.remote, bool | str) or (isinstance(self.remote, str) and not self.remote.strip()):
            raise SettingError(f"remote={self.remote!r}: give True, or who does the work, for example 'BigQuery'")

    def facts(self) -> dict[str, Any]:
        """The same as fields of a SpanRecord."""
        found: dict[str, Any] = {"stage": self.stage} if self.stage else {}
        if self.remote:
            found["attributes"] = {REMOTE_WORK: self.remote if isinstance(self.remote, str) else ELSEWHERE}
        return found

    def beside(self, fn: Any, assets: Assets | None = None) -> "Besides | None":
        """What is recorded beside each call of `fn`; None: nothing.

        Raises:
            SettingError: the function yields its results, which nobody keeps; an input or output names a parameter
                that it does not have.
        """
        counts = self.units is not None or self.outcome is not None
        if counts and (inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)):
            raise SettingError(
                f"units= on the generator {getattr(fn, '__name__', fn)!r}: call record_outcome(units=...) inside it"
            )
        inputs = (*self.inputs, *(assets.inputs if assets else ()))
        outputs = (*self.outputs, *(assets.outputs if assets else ()))
        files = Files(fn, inputs, outputs) if inputs or outputs else None
        accounted = self.products is not None or self.weight is not None or bool(self.uses)
        accounts = Accounts(fn, self.products, self.weight, self.uses or {}) if accounted else None
        told = counts or files or assets or accounts
        return Besides(self if counts else None, files, assets, accounts) if told else None

    def record(self, result: Any) -> None:
        """One that cannot be found costs a warning and no outcome, never the work."""
        try:
            found = (self.units or self.outcome)(result)  # type: ignore[misc] # one is there
            if found is None:
                return
            values = _arguments(found)
            if self.unit is not None:
                values.setdefault("name", self.unit)
            record_outcome(**values)
        except Exception as error:  # noqa: BLE001 - law 5
            warn_once("finding the outcome of a result", error)


@dataclass(frozen=True, slots=True)
class Besides:
    """What is recorded beside the calls of a function: its outcome, files and products, and its assets' joules."""

    counted: Told | None
    files: Files | None
    assets: Assets | None
    accounts: Accounts | None

    def begun(self, span: OpenSpan | Unmeasured, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """See Beside."""
        if self.files is not None:
            self.files.begun(span, args, kwargs)
        if self.accounts is not None:
            self.accounts.begun(span, args, kwargs)
        if self.assets is not None:
            self.assets.begun(span)

    def succeeded(
        self, span: OpenSpan | Unmeasured, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """See Beside."""
        if self.counted is not None:
            self.counted.record(result)
        if self.files is not None:
            self.files.succeeded(span, args, kwargs)

    def ended(self, span: OpenSpan | Unmeasured) -> None:
        """See Beside."""
        if self.assets is not None:
            self.assets.ended(span)


def _arguments(found: Any) -> dict[str, Any]:
    """The arguments of record_outcome that an outcome function returned."""
    if not isinstance(found, Mapping):
        return {"units": _plain(found)}
    if "units" not in found or not found.keys() <= COUNTS:
        raise SettingError(f"outcome= returned {found!r}: give a number, or a mapping with units and {OTHERS}")
    return {key: _plain(value) for key, value in found.items()}


def _plain(value: Any) -> Any:
    """A number of an array library as Python's own."""
    return value.item() if hasattr(value, "item") and not isinstance(value, Mapping) else value
