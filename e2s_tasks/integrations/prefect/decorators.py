"""`@e2s_task` and `@e2s_flow`: Prefect's own tasks and flows, with all their options, measured per attempt."""

import inspect
from collections.abc import Callable
from copy import copy
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

import prefect
from prefect import Flow, Task
from prefect.tasks import MaterializingTask

from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.core.policy_tags import with_policy
from e2s_tasks.errors import SettingError
from e2s_tasks.integrations.prefect.declared import Assets
from e2s_tasks.integrations.prefect.functions import MeasuredFunction, original
from e2s_tasks.integrations.prefect.handed import handing_over
from e2s_tasks.integrations.prefect.publish import e2s_publish_summary
from e2s_tasks.integrations.prefect.quiet import quiet_hooks
from e2s_tasks.integrations.prefect.results import measure_results
from e2s_tasks.integrations.prefect.spans import begin_attempt, begin_flow_run
from e2s_tasks.integrations.prefect.told import Told
from e2s_tasks.settings import settings, switched_on

if TYPE_CHECKING:
    from e2s_tasks.integrations.prefect.gate import Gate

quiet_hooks()
measure_results()
P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W", bound="Task[..., Any] | Flow[..., Any]")
NOTHING = Told()
FLOW_ENDINGS = ("on_completion_hooks", "on_failure_hooks", "on_cancellation_hooks", "on_crashed_hooks")


class E2STask(Task[Any, Any]):
    """A Prefect task whose attempts are measured."""

    told: Told

    def with_options(self, **options: Any) -> "Task[Any, Any]":
        """A new measured task with other options, as `Task.with_options`; those of `e2s_task` too."""
        told = Told.taken(options, self.told)
        return _measured_task(_plain(self, Task).with_options(**options), told)


class E2SMaterializingTask(MaterializingTask[Any, Any]):
    """A Prefect asset-materializing task whose attempts are measured."""

    told: Told

    def with_options(self, assets: Any = None, **options: Any) -> "MaterializingTask[Any, Any]":
        """A new measured task with other options, as `MaterializingTask.with_options`; those of `e2s_task` too."""
        told = Told.taken(options, self.told)
        return cast(
            "MaterializingTask[Any, Any]",
            _measured_task(_plain(self, MaterializingTask).with_options(assets, **options), told),
        )


def _telling_the_policy(make: Callable[..., Any]) -> Callable[..., Any]:
    """`Flow.to_deployment`, with the flow's carbon policy among the deployment's tags."""
    signature = inspect.signature(make)

    @wraps(make)
    def tagged(self: "E2SFlow", *args: Any, **kwargs: Any) -> Any:
        if self.carbon is None:
            return make(self, *args, **kwargs)
        given = signature.bind_partial(self, *args).arguments.get("tags")
        if given is None:
            kwargs["tags"] = with_policy(kwargs.get("tags"), self.carbon)
        return make(self, *args, **kwargs)

    return tagged


class E2SFlow(Flow[Any, Any]):
    """A Prefect flow whose runs are measured, with its carbon policy and solution."""

    carbon: CarbonPolicy | None
    solution: str | None
    told: Told
    __call__ = handing_over(Flow.__call__)
    to_deployment = _telling_the_policy(Flow.to_deployment)
    ato_deployment = _telling_the_policy(Flow.ato_deployment)

    def with_options(self, **options: Any) -> "E2SFlow":
        """A new measured flow with other options, as `Flow.with_options`; those of `e2s_flow` too."""
        carbon = options.pop("carbon", self.carbon)
        solution = options.pop("solution", self.solution)
        _check_solution(solution)
        told = Told.taken(options, self.told)
        return _measured_flow(_plain(self, Flow).with_options(**options), carbon, solution, told)


def _plain(work: Any, cls: type[W]) -> W:
    """The task or flow as it was before it was measured."""
    plain = copy(work)
    plain.__class__ = cls
    plain.fn = original(work.fn)
    return cast("W", plain)


def _copied(work: W) -> W:
    """A copy with lists of hooks of its own: a hook that is added to it is none of the original's."""
    copied = copy(work)
    for name, value in vars(work).items():
        if name.endswith("_hooks"):
            setattr(copied, name, list(value or []))
    return copied


def _measured_task(task: "Task[Any, Any]", told: Told = NOTHING) -> "Task[Any, Any]":
    if isinstance(task.fn, MeasuredFunction) and told == NOTHING:
        return task
    measured: Any = _copied(task)
    measured.__class__ = E2SMaterializingTask if isinstance(task, MaterializingTask) else E2STask
    measured.told = told
    measure_task(measured, told)
    return cast("Task[Any, Any]", measured)


def measure_task(task: "Task[Any, Any]", told: Told = NOTHING) -> None:
    """Measure the attempts of a task, in place."""
    for option in ("products", "weight"):
        if getattr(told, option) is not None:
            raise SettingError(f"{option}={getattr(told, option)!r} is for a flow: give it to @e2s_flow.")
    fn, facts = original(task.fn), told.facts()
    begin = partial(begin_attempt, given=facts) if facts else begin_attempt
    task.fn = MeasuredFunction(fn, begin, told.beside(fn, Assets.of(task)))


def _measured_flow(
    flow: "Flow[Any, Any]", carbon: CarbonPolicy | None, solution: str | None, told: Told = NOTHING
) -> E2SFlow:
    measured: Any = _copied(flow)
    measured.__class__ = E2SFlow
    measured.carbon, measured.solution, measured.told = carbon, solution, told
    measure_flow(measured, carbon, solution, told)
    return cast("E2SFlow", measured)


def measure_flow(
    flow: "Flow[Any, Any]", carbon: CarbonPolicy | None = None, solution: str | None = None, told: Told = NOTHING
) -> None:
    """Measure the runs of a flow, in place."""
    fn = original(flow.fn)
    begin = partial(begin_flow_run, solution, carbon, given=told.facts())
    flow.fn = MeasuredFunction(fn, begin, told.beside(fn), _gate(carbon))
    for ending in FLOW_ENDINGS:
        setattr(flow, ending, _with(getattr(flow, ending), e2s_publish_summary))


def _gate(carbon: CarbonPolicy | None) -> "Gate | None":
    """What holds a flow's runs back; flows without a policy are spared the import of all that plans."""
    if carbon is None:
        return None
    from e2s_tasks.integrations.prefect.gate import Gate

    return Gate(carbon)


def _with(hooks: list[Any] | None, ours: Any) -> list[Any]:
    return [hook for hook in hooks or [] if hook is not ours] + [ours]


@overload
def e2s_task(work: Flow[P, R], **options: Any) -> Flow[P, R]: ...  # type: ignore[overload-overlap] # flows are callable
@overload
def e2s_task(work: Task[P, R], **options: Any) -> Task[P, R]: ...
@overload
def e2s_task(work: Callable[P, R]) -> Task[P, R]: ...
@overload
def e2s_task(work: None = None, **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def e2s_task(work: Any = None, **options: Any) -> Any:
    """A Prefect task that measures each of its attempts.

    Use it as `@e2s_task`, as `@e2s_task(retries=2, ...)` with any option of `prefect.task`, on an existing task, or on
    an existing flow (which is then measured as by `e2s_flow`). Further options:

    stage: of the solution's life cycle: data_preparation, training, evaluation, inference or maintenance.
    units: a function of the result that counts the units of the outcome, for example `len`; unit: what one is called.
    outcome: the same where there is more to tell: it returns a number, or a mapping with units, valid, accurate,
    quality, name as for `record_outcome`. One that raises costs a warning and the outcome, never the task.
    remote: True, or who does it: the task sets off work elsewhere, of whose energy only `record_energy` can tell.
    inputs, outputs: paths or URIs that it reads or makes by means that nothing here sees. In "raw/{day}.csv" the
    parameter `day` is filled in; a function is called with the task's arguments. An output is a new version once the
    task has succeeded.
    uses: how often what it makes will be used, {path: number}: amortised figures divide it by that.

    Raises:
        SettingError: what is decorated is neither a function, a task nor a flow, or an option cannot be used.
    """
    if work is None:
        return partial(e2s_task, **options)
    if isinstance(work, Flow):
        return e2s_flow(work, **options)
    if isinstance(work, E2STask | E2SMaterializingTask):
        return work.with_options(**options) if options else work
    told = Told.taken(options)
    if isinstance(work, Task):
        return _measured_task(work.with_options(**options) if options else work, told)
    _check_callable(work, "e2s_task")
    return _measured_task(prefect.task(**options)(work) if options else prefect.task(work), told)


@overload
def e2s_flow(
    work: Flow[P, R], *, carbon: CarbonPolicy | None = None, solution: str | None = None, **options: Any
) -> Flow[P, R]: ...
@overload
def e2s_flow(work: Callable[P, R]) -> Flow[P, R]: ...
@overload
def e2s_flow(
    work: None = None, *, carbon: CarbonPolicy | None = None, solution: str | None = None, **options: Any
) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
def e2s_flow(
    work: Any = None, *, carbon: CarbonPolicy | None = None, solution: str | None = None, **options: Any
) -> Any:
    """A Prefect flow that measures its runs and puts their energy summary on the run's page.

    Use it as `@e2s_flow`, with any option of `prefect.flow`, or on an existing flow. carbon: the policy by which its
    runs wait for a cleaner grid. solution: the name under which outcomes and energy are put together. stage, units,
    unit, outcome, remote, uses: as for `e2s_task`; the stage holds for all that has none of its own.
    products: paths or URIs of what the flow is run for, where that is not what no other product comes from.
    weight: by what the energy of a step that several products need is divided among them: "bytes" (the default),
    "rows", "equal", or {path: number}.

    Raises:
        SettingError: what is decorated is neither a function nor a flow, the policy is no CarbonPolicy, or the
            solution no name.
        ZoneError: nobody knows the policy's zone.
    """
    if work is None:
        return partial(e2s_flow, carbon=carbon, solution=solution, **options)
    _check_policy(carbon)
    _check_solution(solution)
    if isinstance(work, E2SFlow):
        return work.with_options(carbon=carbon or work.carbon, solution=solution or work.solution, **options)
    told = Told.taken(options)
    if isinstance(work, Flow):
        return _measured_flow(work.with_options(**options) if options else work, carbon, solution, told)
    _check_callable(work, "e2s_flow")
    return _measured_flow(prefect.flow(**options)(work) if options else prefect.flow(work), carbon, solution, told)


def _check_solution(solution: str | None) -> None:
    if solution is not None and (not isinstance(solution, str) or not solution.strip()):
        raise SettingError(
            f"solution={solution!r} names nothing: give a name such as 'delay-forecast', or leave it out."
        )


def _check_policy(carbon: CarbonPolicy | None) -> None:
    if carbon is None:
        return
    if not isinstance(carbon, CarbonPolicy):
        raise SettingError(
            f"e2s_flow(carbon={carbon!r}): pass a CarbonPolicy(zone=..., max_delay=..., expected_duration=...)"
        )
    from e2s_tasks.grid.country import country
    from e2s_tasks.grid.services import names_zones_itself

    if switched_on() and settings().trace is None and not names_zones_itself(settings()):  # as a trace does
        country(carbon.zone)


def _check_callable(work: Any, name: str) -> None:
    if not isinstance(work, Callable | classmethod | staticmethod):  # type: ignore[arg-type]
        raise SettingError(f"@{name} on {work!r}: decorate a function, a Prefect task or a Prefect flow")
